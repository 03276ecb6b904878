//! Sensors whose readings are made of another's: without gaps, or what a time comes to. No function is called for them: what fires
//! becomes a reading.

use super::{id::Id, manifest::Rule, trigger::Aggregate};
use serde::{Deserialize, Serialize};

/// What stands for the name of the sensor that readings are made of.
pub const SENSOR: &str = "{sensor}";

/// How readings of one sensor become those of another of the same device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Derive {
    /// A fill, or a window.
    pub rule: Rule,
    /// The other sensor; `{sensor}` in it is the first one's name.
    pub into: Id,
    pub what: What,
}

/// What of a result becomes the value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Of a fill: there is nothing else.
    Value,
    Min,
    Max,
    Mean,
    Sum,
    /// How many numbers there are.
    Count,
    /// The one that the window was asked for.
    Percentile,
}

impl Derive {
    /// The sensor that the readings of another become; none where its name would be too long.
    pub fn sensor(&self, of: &Id) -> Option<Id> {
        Id::new(&self.into.as_str().replace(SENSOR, of.as_str())).ok()
    }
}

impl What {
    pub fn of(self, aggregate: &Aggregate) -> Option<f64> {
        match self {
            What::Value => None,
            What::Min => aggregate.min,
            What::Max => aggregate.max,
            What::Mean => aggregate.mean,
            What::Sum => aggregate.sum,
            What::Count => Some(aggregate.count as f64),
            What::Percentile => aggregate.percentiles.first().map(|percentile| percentile.value),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            What::Value => "value",
            What::Min => "min",
            What::Max => "max",
            What::Mean => "mean",
            What::Sum => "sum",
            What::Count => "count",
            What::Percentile => "percentile",
        }
    }
}
