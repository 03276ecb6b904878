//! Messages for other apps and for whoever subscribes. Granted by `[grant] publish = ["alerts.>"]`.
//!
//! A message is in the log if and only if the call succeeds, in the order of the calls. `reading`, `command`, `log`, `registry` and `tawi` are
//! first tokens that only the node itself writes.
//!
//! ```
//! use tawi::{json, publish};
//!
//! let host = tawi::testing::Host::new();
//! publish("alerts.fridge1", &json!({ "value": 9.5 }))?;
//! publish::bytes("frames.fridge1", &[0x01, 0x67])?;
//! assert!(publish("reading.fridge1.temp", &4.0).is_err());
//! assert_eq!(publish::token("gateway.7"), "gateway%2E7");
//! assert_eq!(host.published().len(), 2);
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Result, Value, host};
use serde::Serialize;

/// Publishes anything that serde knows, as JSON.
pub fn publish<T: Serialize + ?Sized>(subject: &str, value: &T) -> Result {
    host::publish(subject, Value::of(value)?)
}

/// Publishes bytes as they are.
pub fn bytes(subject: &str, bytes: &[u8]) -> Result {
    host::publish(subject, Value::Bytes(bytes.to_vec()))
}

/// Publishes what is JSON, or bytes, already; an event's own payload, for one.
pub fn value(subject: &str, value: Value) -> Result {
    host::publish(subject, value)
}

/// An id as one token of a subject: a dot in it would begin the next one.
pub fn token(id: &str) -> String {
    id.replace('%', "%25").replace('.', "%2E")
}
