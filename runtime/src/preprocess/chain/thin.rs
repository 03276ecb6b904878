//! Fewer readings than the sensor sends: one in each interval, or those that say something new.

use super::{Held, Out, Reason};
use serde::{Deserialize, Serialize};

/// A reading is kept for either of the two that is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thin {
    /// The first one measured in each interval of so many microseconds, which begin at 1970.
    pub every: Option<i64>,
    /// One that is further than this from the last one kept.
    pub change: Option<f64>,
}

/// What was kept last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Last {
    value: Option<Held>,
    interval: i64,
}

impl Thin {
    pub(super) fn apply(self, last: &mut Last, measured: i64, value: Held) -> Out {
        let interval = self.every.map_or(0, |every| measured.div_euclid(every));
        let Some(before) = last.value else {
            *last = Last { value: Some(value), interval };
            return Out::Value(value);
        };
        // It comes late, and whether its interval has one is not known any more: rather two than none.
        if interval < last.interval {
            return Out::Value(value);
        }
        if interval > last.interval || self.change.is_some_and(|change| is_further(before, value, change)) {
            *last = Last { value: Some(value), interval };
            return Out::Value(value);
        }
        Out::Drop(match self.change {
            Some(change) => Reason::Unchanged { change },
            None => Reason::Thinned { every: self.every.unwrap_or_default() },
        })
    }
}

fn is_further(before: Held, value: Held, change: f64) -> bool {
    match (before, value) {
        (Held::Number(before), Held::Number(number)) => (number - before).abs() > change,
        (before, other) => before != other,
    }
}
