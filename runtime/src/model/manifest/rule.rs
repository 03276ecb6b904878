//! Triggers that time makes: what stands in `tawi.toml` of a schedule, and of the rules over readings.

use super::{quantity, schedule::Unkept};
use crate::model::limit::{WINDOW_PANES_MAX, WINDOWS_KEPT_MAX};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// `schedule = "0 6 * * *"`: called at moments of the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields, or six with seconds in front and with a year behind, or `@hourly` and the like.
    pub cron: String,
    /// A name of the time zone database. The moments follow its clocks.
    pub zone: String,
    /// Each call begins up to so much later: how much is decided by the function and the moment, the same on every node.
    #[serde(rename = "jitter_ms", with = "quantity::millis")]
    pub jitter: Duration,
    pub missed: Missed,
}

/// What becomes of moments that passed while no node ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing: the next one is the next one.
    Skip,
    /// One call for all of them.
    Once,
    /// A call for each, the newest [`MISSED_ALL_MAX`] of them.
    All,
}

/// When a function is called for readings, instead of for each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// As soon as there are `max`, or `within` after the first.
    Batch {
        max: u32,
        #[serde(rename = "within_ms", with = "quantity::millis")]
        within: Duration,
    },
    Window(Window),
    /// When a sensor has sent nothing for so long, and when it is back.
    Silence {
        #[serde(rename = "after_ms", with = "quantity::millis")]
        after: Duration,
    },
    Change(Difference),
    Threshold(Threshold),
    /// Every Nth reading of a sensor.
    Every {
        n: u32,
    },
    /// Values where a sensor left a gap. Of a derived sensor: no function is called for them.
    Fill(Fill),
}

/// How the gaps of a sensor are filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// From one reading to the next, where there is no gap.
    #[serde(rename = "every_ms", with = "quantity::millis")]
    pub every: Duration,
    pub method: Method,
    /// What is longer stays a gap.
    #[serde(rename = "max_gap_ms", with = "quantity::millis")]
    pub max_gap: Duration,
    /// As of a window.
    #[serde(rename = "ahead_ms", with = "quantity::millis")]
    pub ahead: Duration,
}

/// What a sensor would have said in a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The last value goes on.
    Hold,
    /// On the line from the last value to the next one.
    Linear,
    /// On the line that the values before the gap are nearest to (least squares); with one of them, as `Hold`.
    Trend,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Hold => "hold",
            Method::Linear => "linear",
            Method::Trend => "trend",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub shape: Shape,
    pub per: Per,
    /// How long after its end, by measured time, a window takes late readings and corrects its result.
    #[serde(rename = "lateness_ms", with = "quantity::millis")]
    pub lateness: Duration,
    /// A measured time that is further ahead of the received one is a wrong clock's: the received one counts.
    #[serde(rename = "ahead_ms", with = "quantity::millis")]
    pub ahead: Duration,
    /// A window whose end has passed by our clock is closed when its sensor has sent nothing for so long.
    #[serde(rename = "idle_ms", with = "quantity::millis")]
    pub idle: Duration,
    /// The function gets the readings too.
    pub readings: bool,
    /// From 0 to 100 each.
    pub percentiles: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One after another, from 1970-01-01T00:00Z on.
    Tumbling {
        #[serde(rename = "length_ms", with = "quantity::millis")]
        length: Duration,
    },
    /// One begins each `every`.
    Sliding {
        #[serde(rename = "length_ms", with = "quantity::millis")]
        length: Duration,
        #[serde(rename = "every_ms", with = "quantity::millis")]
        every: Duration,
    },
    /// Ends when nothing was measured for `gap`.
    Session {
        #[serde(rename = "gap_ms", with = "quantity::millis")]
        gap: Duration,
    },
}

/// Whose readings a window, a batch or a silence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    Sensor,
    Device,
}

/// How much a value must differ from the last one that the function was told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// At all: for states, words, switches. Numbers are compared as numbers.
    Any,
    Absolute(f64),
    /// In parts of the last one: 0.1 is ten percent.
    Relative(f64),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Beyond is above the limit; else it is below.
    pub above: bool,
    pub limit: f64,
    /// It has come back only when it is so far on the other side.
    pub hysteresis: f64,
    /// It has gone there only when it has been there for so long, by measured time.
    #[serde(rename = "hold_ms", with = "quantity::millis")]
    pub hold: Duration,
}

/// Calls for missed moments: a schedule of each minute, and a night.
pub const MISSED_ALL_MAX: u64 = 1_000;

/// What a function is called for, as in "windows of 1h of reading.>".
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = quantity::duration_text;
        match self {
            Rule::Batch { max, within } => write!(f, "batches of {max} or {}", text(*within)),
            Rule::Window(Window { shape, per, .. }) => {
                match shape {
                    Shape::Tumbling { length } => write!(f, "windows of {}", text(*length))?,
                    Shape::Sliding { length, every } => write!(f, "windows of {} each {}", text(*length), text(*every))?,
                    Shape::Session { gap } => write!(f, "sessions with gaps of {}", text(*gap))?,
                }
                if *per == Per::Device { f.write_str(" per device") } else { Ok(()) }
            }
            Rule::Silence { after } => write!(f, "silences of {}", text(*after)),
            Rule::Change(Difference::Any) => f.write_str("changes"),
            Rule::Change(Difference::Absolute(by)) => write!(f, "changes by {by}"),
            Rule::Change(Difference::Relative(part)) => write!(f, "changes by {}%", part * 100.0),
            Rule::Threshold(Threshold { above, limit, .. }) => write!(f, "crossings of {} {limit}", if *above { "above" } else { "below" }),
            Rule::Every { n } => write!(f, "one in {n}"),
            Rule::Fill(Fill { every, method, .. }) => write!(f, "gaps filled each {} ({})", text(*every), method.name()),
        }
    }
}

impl Window {
    /// Whether so much can be kept. What is said of it is checked where it is read.
    pub fn check(&self) -> Result<(), Unkept> {
        let (length, every) = match self.shape {
            Shape::Tumbling { length } => (length, length),
            Shape::Sliding { length, every } => (length, every),
            Shape::Session { .. } => return Ok(()),
        };
        let unkept = |what: String, hint: String| Err(Unkept { zone: false, what, hint });
        let pane = greatest_measure(length, every).as_micros().max(1);
        let panes = length.as_micros() / pane;
        if panes > u128::from(WINDOW_PANES_MAX) {
            let what = format!("a window of {length:?} every {every:?} is made of {panes} parts, of {WINDOW_PANES_MAX} at most");
            return unkept(what, "let its length be a multiple of `every`, or have a large common measure with it".to_owned());
        }
        let kept = (length + self.lateness).as_micros() / pane;
        if kept > u128::from(WINDOWS_KEPT_MAX) {
            let what = format!(
                "with a lateness of {:?}, {kept} windows of each sensor would be kept, {WINDOWS_KEPT_MAX} are allowed",
                self.lateness
            );
            return unkept(what, "a shorter `lateness`, or longer windows".to_owned());
        }
        Ok(())
    }
}

/// The longest duration of which both are multiples.
pub fn greatest_measure(one: Duration, other: Duration) -> Duration {
    let (mut a, mut b) = (one.as_micros(), other.as_micros());
    while b > 0 {
        (a, b) = (b, a % b);
    }
    Duration::from_micros(u64::try_from(a).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn check(shape: Shape, lateness: Duration) -> Result<(), Unkept> {
        Window { shape, per: Per::Sensor, lateness, ahead: SECOND, idle: SECOND, readings: false, percentiles: vec![] }.check()
    }

    #[test]
    fn a_sliding_window_has_only_so_many_parts() {
        let sliding = |length, every| check(Shape::Sliding { length, every }, SECOND);
        assert_eq!(sliding(DAY, SECOND * 60), Ok(()));
        assert_eq!(sliding(SECOND * 100, SECOND * 60), Ok(()), "parts of twenty seconds");
        assert!(sliding(DAY, SECOND * 59).unwrap_err().what.contains("86400 parts"));
        assert!(sliding(DAY * 366, DAY * 30 + Duration::from_millis(1)).is_err());
    }

    #[test]
    fn a_window_takes_late_readings_for_so_many_of_its_kind() {
        let tumbling = |length| check(Shape::Tumbling { length }, DAY * 31);
        assert_eq!(tumbling(SECOND * 60), Ok(()));
        assert!(tumbling(SECOND).unwrap_err().what.contains("windows of each sensor"));
        assert_eq!(check(Shape::Session { gap: SECOND }, DAY * 31), Ok(()));
    }
}
