//! The same value measured at the same time is the same reading, sent again.

use super::{Held, Out, Reason, latest::Ring};
use serde::{Deserialize, Serialize};

/// Readings are compared with so many before them: a device that was not answered sends its last few again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    pub last: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    size: usize,
    readings: Ring<(i64, Held)>,
}

impl Duplicate {
    pub(super) fn start(self) -> Seen {
        Seen { size: self.last, readings: Ring::new(self.last) }
    }
}

impl Seen {
    pub fn fits(&self, duplicate: &Duplicate) -> bool {
        self.size == duplicate.last && self.readings.len() <= self.size
    }

    pub fn apply(&mut self, measured: i64, value: Held) -> Out {
        self.readings.resize(self.size);
        if self.readings.iter().any(|seen| *seen == (measured, value)) {
            return Out::Drop(Reason::Duplicate);
        }
        self.readings.push((measured, value));
        Out::Value(value)
    }
}
