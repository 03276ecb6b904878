//! Values that change: a door, a state, a temperature that has moved by half a degree.
//!
//! ```toml
//! [[on]]
//! name = "moved"
//! subject = "reading.*.temp"
//! change = { by = 0.5 }
//! ```
//!
//! ```
//! use tawi::{Change, json, publish};
//!
//! #[tawi::change]
//! fn moved(change: Change) -> tawi::Result {
//!     match change.difference() {
//!         Some(by) => publish("moves", &json!({ "device": change.reading.device()?, "by": by })),
//!         // The first reading of a sensor, or a value that is no number.
//!         None => Ok(()),
//!     }
//! }
//!
//! let host = tawi::testing::Host::new();
//! host.run(moved, host.change(host.event("reading.fridge1.temp", 4.0)))?;
//! host.run(moved, host.change(host.event("reading.fridge1.temp", 5.5)).after(host.event("reading.fridge1.temp", 4.0)))?;
//! assert_eq!(host.published().len(), 1);
//! assert_eq!(host.published()[0].json()["by"], 1.5);
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::trigger::{Delivery, Reading};

/// A value that differs enough from the one that the function was told of last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which call this is.
    pub delivery: Delivery,
    /// The value now.
    pub reading: Reading,
    /// The one that the function was told of last; none for the first reading of a sensor.
    pub previous: Option<Reading>,
}

impl Change {
    /// By how much it changed, where both are numbers.
    pub fn difference(&self) -> Option<f64> {
        Some(self.reading.number()? - self.previous.as_ref()?.number()?)
    }
}

/// What `#[tawi::change]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __change {
    ($handler:ident) => {
        $crate::__trigger! { change change_handler export_change Change __an_app_has_one_change_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
impl crate::trigger::Told<crate::bindings::change::exports::tawi::app::change_handler::Change> for Change {
    fn told(delivery: Delivery, change: crate::bindings::change::exports::tawi::app::change_handler::Change) -> Change {
        Change { delivery, reading: change.reading.into(), previous: change.previous.map(Reading::from) }
    }
}
