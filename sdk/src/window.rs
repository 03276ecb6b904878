//! Stretches of measured time: the mean of each hour, the highest of each day, however late a reading comes in.
//!
//! ```toml
//! [[on]]
//! name = "daily"
//! subject = "reading.*.oxygen"
//! window = { tumbling = "1d", lateness = "2d" }
//! ```
//!
//! ```
//! use tawi::{Window, json, state};
//!
//! #[tawi::window]
//! fn daily(window: Window) -> tawi::Result {
//!     let key = format!("{}/{}", window.device()?, window.start.day());
//!     // The same key for a correction: it takes the place of what was there.
//!     state::set(&key, &json!({ "mean": window.aggregate.mean, "of": window.aggregate.count }))
//! }
//!
//! let host = tawi::testing::Host::new();
//! let readings = [host.event("reading.pond1.oxygen", 7.0), host.event("reading.pond1.oxygen", 8.0)];
//! host.run(daily, host.window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", readings))?;
//! assert_eq!(host.state("pond1/2026-01-01"), Some(json!({ "mean": 7.5, "of": 2 })));
//! # Ok::<(), tawi::Error>(())
//! ```
//!
//! A window has a result when its end is past, by the times at which its readings were measured. A reading that comes in later, but
//! within `lateness`, makes a further result of the same window, with all its readings and a higher [`revision`](Window::revision).

use crate::{
    Result, Timestamp,
    trigger::{Delivery, Reading, named},
};
use std::time::Duration;

/// What was measured in a stretch of time, by one sensor or by one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Which call this is.
    pub delivery: Delivery,
    /// The device that measured.
    pub device: Option<String>,
    /// The sensor that measured; none where a window holds all sensors of its device.
    pub sensor: Option<String>,
    /// The first moment of the window.
    pub start: Timestamp,
    /// The first moment that is not of it.
    pub end: Timestamp,
    /// 0 for the first result; one more each time that late readings correct it.
    pub revision: u32,
    /// Sessions that this one has swallowed, by their start: their results count no more.
    pub replaces: Vec<Timestamp>,
    /// Numbers over the readings.
    pub aggregate: Aggregate,
    /// All of them by measured time; none where `tawi.toml` does not say `readings = true`.
    pub readings: Option<Vec<Reading>>,
}

/// Numbers over the readings of a window. Values that are no number count in `readings` alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aggregate {
    /// How many readings there are.
    pub readings: u64,
    /// How many of them are numbers. With none of these the others are none.
    pub count: u64,
    /// All numbers together.
    pub sum: Option<f64>,
    /// Their average.
    pub mean: Option<f64>,
    /// The lowest.
    pub min: Option<f64>,
    /// The highest.
    pub max: Option<f64>,
    /// The number measured first.
    pub first: Option<f64>,
    /// The number measured last.
    pub last: Option<f64>,
    /// Those that `percentiles` in `tawi.toml` asks for.
    pub percentiles: Vec<Percentile>,
}

/// The number that so many percent of the numbers do not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// From 0 to 100.
    pub percent: f64,
    /// By linear interpolation between the closest ranks.
    pub value: f64,
}

impl Window {
    /// The device's id. A window of messages that no device caused is rejected.
    pub fn device(&self) -> Result<&str> {
        named(self.device.as_deref(), "device")
    }

    /// The sensor's id. A window over all sensors of a device is rejected.
    pub fn sensor(&self) -> Result<&str> {
        named(self.sensor.as_deref(), "sensor")
    }

    /// From its start to its end.
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }

    /// Whether it corrects an earlier result of the same window.
    pub fn is_correction(&self) -> bool {
        self.revision > 0
    }
}

impl Aggregate {
    /// One of those that `percentiles` in `tawi.toml` asks for; none for another, or where there is no number.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        self.percentiles.iter().find(|it| it.percent == percent).map(|it| it.value)
    }
}

/// What `#[tawi::window]` puts beside the handler.
#[doc(hidden)]
#[macro_export]
macro_rules! __window {
    ($handler:ident) => {
        $crate::__trigger! { window window_handler export_window Window __an_app_has_one_window_handler $handler }
    };
}

#[cfg(target_arch = "wasm32")]
mod export {
    use super::{Aggregate, Delivery, Percentile, Reading, Timestamp, Window};
    use crate::bindings::window::exports::tawi::app::window_handler as wit;

    impl crate::trigger::Told<wit::Window> for Window {
        fn told(delivery: Delivery, window: wit::Window) -> Window {
            Window {
                delivery,
                device: window.device,
                sensor: window.sensor,
                start: Timestamp::from_micros(window.start),
                end: Timestamp::from_micros(window.end),
                revision: window.revision,
                replaces: window.replaces.into_iter().map(Timestamp::from_micros).collect(),
                aggregate: window.aggregate.into(),
                readings: window.readings.map(|readings| readings.into_iter().map(Reading::from).collect()),
            }
        }
    }

    impl From<wit::Aggregate> for Aggregate {
        fn from(aggregate: wit::Aggregate) -> Aggregate {
            let wit::Aggregate { readings, count, sum, mean, min, max, first, last, percentiles } = aggregate;
            let percentiles = percentiles.into_iter().map(|it| Percentile { percent: it.percent, value: it.value });
            Aggregate { readings, count, sum, mean, min, max, first, last, percentiles: percentiles.collect() }
        }
    }
}
