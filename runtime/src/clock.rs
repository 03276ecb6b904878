//! The node's clock, read in one place: rooms are told the time, except where a wait begins here.
//!
//! For tests of a clock that is set: `TAWI_CLOCK=FILE` in the environment names a file with the microseconds by which this clock is
//! ahead of the system's. Without it that costs one load.

use crate::model::Micros;
use std::{
    path::PathBuf,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

static AHEAD: OnceLock<Option<PathBuf>> = OnceLock::new();

pub fn now() -> Micros {
    #[cfg(test)]
    if let Some(time) = simulated() {
        return time;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    Micros(now.saturating_add(ahead()))
}

/// A file that is not there, or is being written, says nothing.
fn ahead() -> i64 {
    let file = AHEAD.get_or_init(|| std::env::var_os("TAWI_CLOCK").map(PathBuf::from));
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
thread_local! {
    static SIMULATED: std::cell::Cell<Option<Micros>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn simulated() -> Option<Micros> {
    SIMULATED.get()
}

/// What time it is on this thread from here on; none for what the system says.
#[cfg(test)]
pub fn set(time: Option<Micros>) {
    SIMULATED.set(time);
}
