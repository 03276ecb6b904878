//! Waiting for facts. The only file of the tests that sleeps: between two looks, never instead of one.

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant},
};

/// For what happens within a call or two. Generous: a test must not fail because the machine is busy.
pub const SOON: Duration = Duration::from_secs(30);
/// For a build, a restart with repair, a back-off that has grown.
pub const LATER: Duration = Duration::from_secs(180);

const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Looks until `probe` finds what it wants; its error says what it saw instead, and the last one is shown when time is up.
#[track_caller]
pub fn wait_until<T, E: Display>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() >= deadline => {
                panic!("waited {:.1?} for {what}; last seen: {seen}", start.elapsed())
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// [`wait_until`] `look` returns something that `wanted` accepts; what it returned last is shown otherwise.
#[track_caller]
pub fn wait_for<T: std::fmt::Debug>(what: &str, deadline: Duration, mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    wait_until(what, deadline, || {
        let seen = look();
        if wanted(&seen) { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "for three; last seen: 2")]
    fn a_wait_in_vain_says_what_it_last_saw() {
        let mut n = 0;
        wait_until("three", Duration::ZERO, || {
            n = 2;
            Err::<(), _>(n)
        });
    }
}
