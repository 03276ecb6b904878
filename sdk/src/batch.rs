//! Many readings at once: for what costs as much for one as for a hundred, a request to another server say.
//!
//! ```toml
//! [[on]]
//! name = "forward"
//! subject = "reading.>"
//! batch = { max = 100, within = "10s" }
//! ```
//!
//! ```
//! use tawi::{Batch, Json, json, publish};
//!
//! #[tawi::batch]
//! fn forward(batch: Batch) -> tawi::Result {
//!     let rows: Vec<Json> = batch.readings.iter().map(|it| json!([it.device, it.sensor, it.number()])).collect();
//!     publish("rows", &rows)
//! }
//!
//! let host = tawi::testing::Host::new();
//! host.run(forward, host.batch([host.event("reading.a.temp", 4), host.event("reading.b.temp", 6)]))?;
//! assert_eq!(host.published()[0].json()[1], json!(["b", "temp", 6.0]));
//! # Ok::<(), tawi::Error>(())
//! ```
//!
//! All of a batch is handled, or none of it: a call that fails is tried again with the same readings. Where one of them may be bad and
//! the others must go on, say so in a log line and leave it out.

use crate::trigger::{Delivery, Reading};

/// Readings that were collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which call this is.
    pub delivery: Delivery,
    /// In the order in which they came in; at least one.
    pub readings: Vec<Reading>,
}

/// What `#[tawi::batch]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch {
    ($handler:ident) => {
        $crate::__trigger! { batch batch_handler export_batch Batch __an_app_has_one_batch_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
impl crate::trigger::Told<crate::bindings::batch::exports::tawi::app::batch_handler::Batch> for Batch {
    fn told(delivery: Delivery, batch: crate::bindings::batch::exports::tawi::app::batch_handler::Batch) -> Batch {
        Batch { delivery, readings: batch.readings.into_iter().map(Reading::from).collect() }
    }
}
