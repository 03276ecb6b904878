//! The node's clock, read in one place: rooms are told the time, except where a wait begins here.

use crate::model::Micros;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now() -> Micros {
    #[cfg(test)]
    if let Some(time) = simulated() {
        return time;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
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
