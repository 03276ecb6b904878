//! Which partition an event belongs to.

use super::month::Month;
use crate::model::{Event, Kind, Micros};
use std::fmt;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What was measured, published, commanded and logged.
    Events,
    /// How calls went.
    Runs,
}

/// The name of a partition: `2026-01`, or `runs-2026-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    pub class: Class,
    pub month: Month,
}

const RUNS: &str = "runs-";

impl Part {
    pub fn of(event: &Event) -> Part {
        let class = if event.kind == Kind::Run { Class::Runs } else { Class::Events };
        // Of a run it is when the call began.
        Part { class, month: Month::of(event.measured) }
    }

    /// Whether it can hold calls that began in `from..to`.
    pub fn has_runs(self, from: Option<Micros>, to: Option<Micros>) -> bool {
        self.class == Class::Runs && self.month.meets(from, to)
    }

    /// The one that [`Part`]'s `Display` wrote.
    pub fn parse(name: &str) -> Option<Part> {
        let (class, month) = match name.strip_prefix(RUNS) {
            Some(month) => (Class::Runs, month),
            None => (Class::Events, name),
        };
        Some(Part { class, month: Month::parse(month)? })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            Class::Events => write!(f, "{}", self.month),
            Class::Runs => write!(f, "{RUNS}{}", self.month),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_known_by_its_name() {
        for name in ["2026-01", "runs-2026-01"] {
            assert_eq!(Part::parse(name).map(|part| part.to_string()).as_deref(), Some(name));
        }
        for name in ["runs-", "runs-2026-13", "dropped-runs-2026-01", "runs-runs-2026-01"] {
            assert_eq!(Part::parse(name), None, "{name}");
        }
    }
}
