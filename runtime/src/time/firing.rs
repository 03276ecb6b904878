//! What comes out of a rule.

use crate::model::{Id, Micros, event::Seq, trigger::Fired};
use std::fmt;

/// One call that a rule asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    pub fired: Fired,
    /// What order is kept for: the device, where there is one.
    pub key: String,
    pub device: Option<Id>,
    pub sensor: Option<Id>,
    /// The moment it is about: a reading's measured time, the end of a window, the moment from which a silence counts.
    pub measured: Micros,
    /// The event that led to it; where a timer did, the last one that was taken into it.
    pub source: Seq,
    /// Of that event, or the most of those that are in it, so that functions which feed themselves by way of a rule come to their end.
    pub hops: u16,
}

/// What nobody is told of otherwise: a line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Readings that came too late for a window that they belong to.
    Late { device: Option<Id>, sensor: Option<Id>, readings: u64, latest: Micros },
    /// Readings of sensors that are not followed, because there are too many of them.
    Full { readings: u64 },
    /// Gaps of a sensor that are longer than is filled, and the last of them.
    Gaps { device: Option<Id>, sensor: Option<Id>, gaps: u64, from: Micros, to: Micros, values: i64 },
    /// What was kept can't be read; its sensor begins anew.
    Unreadable { part: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Late { device, sensor, readings, latest } => {
                let of = |id: &Option<Id>| id.as_ref().map_or_else(|| "-".to_owned(), Id::to_string);
                let (device, sensor) = (of(device), of(sensor));
                write!(f, "{readings} readings of `{device}/{sensor}` came later than `lateness` allows, the last one measured at {latest}")
            }
            Trouble::Gaps { device, sensor, gaps, from, to, values } => {
                let of = |id: &Option<Id>| id.as_ref().map_or_else(|| "-".to_owned(), Id::to_string);
                let (device, sensor) = (of(device), of(sensor));
                let times = if *gaps == 1 { "once".to_owned() } else { format!("{gaps} times") };
                let last = format!("the last gap is from {from} to {to}, where {values} values are missing");
                write!(f, "`{device}/{sensor}` was away for longer than `max_gap`, {times}, and nothing fills that: {last}")
            }
            Trouble::Full { readings } => write!(f, "{readings} readings of sensors that are too many to be followed"),
            Trouble::Unreadable { part } => write!(f, "what was kept in `{part}` can't be read; its sensor begins anew"),
        }
    }
}
