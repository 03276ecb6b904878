//! Moments of the clock at which a function is called.

use super::Refused;
use crate::model::{Micros, manifest::Schedule, trigger::Tick};

/// The schedule of one function at work. It keeps nothing: `last`, which the caller stores, is all there is.
pub struct Ticks {}

/// What is due, and what is stored as `last` together with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub ticks: Vec<Tick>,
    pub last: Micros,
}

impl Ticks {
    /// Whether there can be such a schedule.
    pub fn check(schedule: &Schedule) -> Result<(), Refused> {
        Ticks::new(schedule, "").map(drop)
    }

    /// `function`: its full name, which decides the jitter together with the moment.
    pub fn new(_schedule: &Schedule, _function: &str) -> Result<Ticks, Refused> {
        Ok(Ticks {})
    }

    /// The calls that are due at `now`. Without a `last` there are none: a schedule begins with its first deployment.
    pub fn due(&self, last: Option<Micros>, now: Micros) -> Due {
        Due { ticks: Vec::new(), last: last.unwrap_or(now) }
    }

    /// When [`Ticks::due`] comes to something next. None: never again.
    pub fn next(&self, _last: Option<Micros>, _now: Micros) -> Option<Micros> {
        None
    }
}
