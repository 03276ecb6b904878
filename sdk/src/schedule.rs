//! Moments of the clock: a function that is called when a schedule says so.
//!
//! ```toml
//! [[on]]
//! name = "report"
//! schedule = "0 6 * * *"
//! zone = "Africa/Nairobi"
//! ```
//!
//! ```
//! use tawi::{Tick, json, publish};
//!
//! #[tawi::schedule]
//! fn report(tick: Tick) -> tawi::Result {
//!     publish("reports.due", &json!({ "day": tick.scheduled.day() }))
//! }
//!
//! let host = tawi::testing::Host::new();
//! host.run(report, host.tick("2026-05-01T03:00:00Z"))?;
//! assert_eq!(host.published()[0].json()["day"], "2026-05-01");
//! # Ok::<(), tawi::Error>(())
//! ```

use crate::{Timestamp, trigger::Delivery};

/// A moment of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Which call this is.
    pub delivery: Delivery,
    /// The moment that the schedule names, not the one at which the call begins. It is the same in every attempt.
    pub scheduled: Timestamp,
    /// Moments since the last call that passed while no node ran, and were let go as `missed` in `tawi.toml` says.
    pub missed: u64,
}

/// What `#[tawi::schedule]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __schedule {
    ($handler:ident) => {
        $crate::__trigger! { schedule schedule_handler export_schedule Tick __an_app_has_one_schedule_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
impl crate::trigger::Told<crate::bindings::schedule::exports::tawi::app::schedule_handler::Tick> for Tick {
    fn told(delivery: Delivery, tick: crate::bindings::schedule::exports::tawi::app::schedule_handler::Tick) -> Tick {
        Tick { delivery, scheduled: Timestamp::from_micros(tick.scheduled), missed: tick.missed }
    }
}
