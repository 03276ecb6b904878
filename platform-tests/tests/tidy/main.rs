//! Rules of the house that a machine can check. Each failure names the place and the rule.
#![allow(clippy::unwrap_used)]

mod crates;
mod files;
mod floors;
mod limits;
mod rooms;
mod source;
mod tables;

use std::fmt::Display;

/// What is wrong, all of it: one run should be enough to know what to mend.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, place: impl Display, rule: impl Display) {
        self.0.push(format!("{place}: {rule}"));
    }

    #[track_caller]
    fn none(self) {
        assert!(
            self.0.is_empty(),
            "{} against the rules of the house (docs/STYLE.md, docs/ARCHITECTURE.md):\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}
