//! What a sensor can't have measured.

use super::{Held, Out, Reason};

/// Both ends are inside; infinite where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub min: f64,
    pub max: f64,
    pub outside: Outside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outside {
    #[default]
    Drop,
    /// The nearest end is meant.
    Clamp,
}

impl Range {
    pub(super) fn apply(self, number: f64) -> Out {
        let Range { min, max, outside } = self;
        let (end, reason) = match number {
            below if below < min => (min, Reason::Below { value: number, min }),
            above if above > max => (max, Reason::Above { value: number, max }),
            inside => return Out::Value(Held::Number(inside)),
        };
        match outside {
            Outside::Drop => Out::Drop(reason),
            Outside::Clamp => Out::Value(Held::Number(end)),
        }
    }
}
