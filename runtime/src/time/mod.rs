//! In: what a schedule or a rule over readings says, readings, what the time is. Out: what a function is told and when, and what
//! must be kept for it. Never: IO, a clock, a look at the ledger.
//!
//! The one model of event time (`docs/decisions/0026`): a reading counts at its measured time, unless that is too far ahead; timers run
//! by the receive clock, which readings carry with them.

mod batch;
mod change;
mod desk;
mod every;
mod fill;
mod firing;
mod gap;
mod name;
mod rules;
mod sample;
mod schedule;
mod series;
mod shelf;
mod silence;
mod span;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod threshold;
mod window;

pub use firing::{Firing, Trouble};
pub use rules::Rules;
pub use schedule::{Due, Refused, Ticks};
pub use shelf::{Shelf, ShelfError};
