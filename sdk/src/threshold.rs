//! Thresholds: a function that is told when a value goes beyond its limit, and when it is back, once each.
//!
//! ```toml
//! [[on]]
//! name = "low"
//! subject = "reading.*.oxygen"
//! threshold = { below = 4.0, hysteresis = 0.5, hold = "5m" }
//! ```
//!
//! ```
//! use tawi::{Crossing, command};
//!
//! #[tawi::threshold]
//! fn low(crossing: Crossing) -> tawi::Result {
//!     let aerator = if crossing.beyond { "on" } else { "off" };
//!     command::send(crossing.reading.device()?, "aerator", &aerator)?;
//!     Ok(())
//! }
//!
//! let host = tawi::testing::Host::new();
//! host.run(low, host.crossing(host.event("reading.pond1.oxygen", 3.9)))?;
//! host.run(low, host.crossing(host.event("reading.pond1.oxygen", 4.6)).and_back())?;
//! assert_eq!(host.commands()[0].json(), "on");
//! assert_eq!(host.commands()[1].json(), "off");
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{
    Timestamp,
    trigger::{Delivery, Reading},
};

/// A value that has gone beyond its threshold, or come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// Which call this is.
    pub delivery: Delivery,
    /// The reading by which it is known.
    pub reading: Reading,
    /// Whether it is beyond the threshold now.
    pub beyond: bool,
    /// The measured time at which it went there; earlier than the reading's where `tawi.toml` says `hold`.
    pub since: Timestamp,
}

/// What `#[tawi::threshold]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __threshold {
    ($handler:ident) => {
        $crate::__trigger! { threshold threshold_handler export_threshold Crossing __an_app_has_one_threshold_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
impl crate::trigger::Told<crate::bindings::threshold::exports::tawi::app::threshold_handler::Crossing> for Crossing {
    fn told(delivery: Delivery, crossing: crate::bindings::threshold::exports::tawi::app::threshold_handler::Crossing) -> Crossing {
        let since = Timestamp::from_micros(crossing.since);
        Crossing { delivery, reading: crossing.reading.into(), beyond: crossing.beyond, since }
    }
}
