//! Commands for actuators. Granted by device: `[grant] command = ["pump7"]`, or `["*"]`.
//!
//! A command is queued if and only if the call succeeds. On its last hop, to the device, it is delivered at least once.
//!
//! ```
//! use tawi::command;
//!
//! let host = tawi::testing::Host::new();
//! let id = command::send("pump7", "valve", &"open")?;
//! assert_eq!(host.commands()[0].actuator, "valve");
//! assert_eq!(host.commands()[0].id, id);
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Result, Value, host};
use serde::Serialize;

/// Queues a command, and returns its id, which is the same in every attempt: a device that keeps the last one does nothing twice.
pub fn send<T: Serialize + ?Sized>(device: &str, actuator: &str, value: &T) -> Result<String> {
    host::command(device, actuator, Value::of(value)?)
}
