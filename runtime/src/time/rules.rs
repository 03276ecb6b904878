//! One rule at work for one function.

use super::{Firing, Refused, Shelf, ShelfError, Trouble};
use crate::model::{Event, Micros, manifest::Rule};

/// One rule at work for one function: the same events and ticks give the same firings, however often it was restored in between.
pub struct Rules {}

impl Rules {
    /// Whether there can be such a rule.
    pub fn check(_rule: &Rule) -> Result<(), Refused> {
        Ok(())
    }

    pub fn new(_rule: &Rule) -> Rules {
        Rules {}
    }

    /// After a start: takes in what was kept. From `now` on, silences have a grace in which devices can come back to a node that was away.
    /// What another kind of rule kept is forgotten.
    pub fn restore(&mut self, _shelf: &mut dyn Shelf, _now: Micros) -> Result<(), ShelfError> {
        Ok(())
    }

    /// After a commit that was refused: takes in what was kept, as if nothing had been taken since; a grace goes on as it was.
    pub fn reload(&mut self, _shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        Ok(())
    }

    /// One reading, in the order of the log; what is due by its receive time, of any sensor, fires before it.
    pub fn take(&mut self, _event: &Event, _shelf: &mut dyn Shelf, _out: &mut Vec<Firing>) {}

    /// The receive clock has come to `now`, and everything before it was taken.
    pub fn tick(&mut self, _now: Micros, _shelf: &mut dyn Shelf, _out: &mut Vec<Firing>) {}

    /// When [`Rules::tick`] is wanted next; it may come to nothing.
    pub fn next(&self) -> Option<Micros> {
        None
    }

    /// What there was to say since it was asked last; readings too late once for each sensor, with their number.
    pub fn trouble(&mut self) -> Vec<Trouble> {
        Vec::new()
    }
}
