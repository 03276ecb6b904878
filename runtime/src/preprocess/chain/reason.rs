//! Why a reading was taken out.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    Below { value: f64, min: f64 },
    Above { value: f64, max: f64 },
    OffTable { value: f64, from: f64, to: f64 },
    Spike { value: f64, median: f64, allowed: f64 },
    Stuck { readings: u32, micros: i64 },
    Duplicate,
    Thinned { every: i64 },
    Unchanged { change: f64 },
    NotFinite,
}

impl Reason {
    /// A word to search for, which stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Below { .. } => "below",
            Reason::Above { .. } => "above",
            Reason::OffTable { .. } => "beyond",
            Reason::Spike { .. } => "spike",
            Reason::Stuck { .. } => "stuck",
            Reason::Duplicate => "duplicate",
            Reason::Thinned { .. } => "thinned",
            Reason::Unchanged { .. } => "unchanged",
            Reason::NotFinite => "overflow",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Below { value, min } => write!(f, "{value} is below {min}"),
            Reason::Above { value, max } => write!(f, "{value} is above {max}"),
            Reason::OffTable { value, from, to } => write!(f, "{value} is not on the table, which goes from {from} to {to}"),
            Reason::Spike { value, median, allowed } => {
                write!(f, "{value} is more than {allowed} from {median}, the median of the readings before it")
            }
            Reason::Stuck { readings, micros } => {
                write!(f, "the sensor has said the same for {readings} readings, {} s", micros / 1_000_000)
            }
            Reason::Duplicate => write!(f, "the same value of the same time has come before"),
            Reason::Thinned { every } => write!(f, "there is one of these {} s", *every as f64 / 1e6),
            Reason::Unchanged { change } => write!(f, "it is within {change} of the last one kept"),
            Reason::NotFinite => write!(f, "what comes out is larger than a number can be"),
        }
    }
}
