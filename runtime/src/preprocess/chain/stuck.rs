//! A sensor that says the same all the time says nothing.

use super::{Held, Out, Reason};
use serde::{Deserialize, Serialize};

/// Either is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// That many of the same in a row: the last of them, and all behind it, are dropped.
    pub readings: Option<u32>,
    /// Microseconds from the first of the same in a row.
    pub micros: Option<i64>,
}

/// The same, so often, measured first at.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Run {
    value: Option<Held>,
    count: u32,
    since: i64,
}

impl Stuck {
    pub(super) fn apply(self, run: &mut Run, measured: i64, value: Held) -> Out {
        if run.value == Some(value) {
            run.count = run.count.saturating_add(1);
        } else {
            *run = Run { value: Some(value), count: 1, since: measured };
        }
        let micros = measured.saturating_sub(run.since);
        if self.readings.is_some_and(|readings| run.count >= readings) || self.micros.is_some_and(|longest| micros > longest) {
            return Out::Drop(Reason::Stuck { readings: run.count, micros });
        }
        Out::Value(value)
    }
}
