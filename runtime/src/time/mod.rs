//! In: what a schedule or a rule over readings says, readings, what the time is. Out: what a function is told and when, and what
//! must be kept for it. Never: IO, a clock, a look at the ledger.
//!
//! The one model of event time ([0026](../../../docs/decisions/0026-one-model-of-event-time.md)): a reading counts at its measured
//! time, unless that is too far ahead; timers run by the receive clock, which readings carry with them.

mod firing;
mod rules;
mod schedule;
mod shelf;

pub use firing::{Firing, Trouble};
pub use rules::Rules;
pub use schedule::{Due, Ticks};
pub use shelf::{Shelf, ShelfError};

/// Why a rule or a schedule can't be, for the author who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    pub reason: String,
    pub hint: String,
}
