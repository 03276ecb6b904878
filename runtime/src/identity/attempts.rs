//! How often somebody may try: counted by name within a window.
//!
//! No window is let go before its time is over, or a flood of names would wash out those of who is being guessed. So who counts sees to it
//! that there is no end of names.

use crate::model::Micros;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Fewer are not looked through.
const SWEEP_MIN: usize = 1_000;

/// Counts tries. Cheap to clone.
#[derive(Clone)]
pub struct Attempts {
    tries_max: usize,
    window_seconds: u64,
    windows: Arc<Mutex<Windows>>,
}

#[derive(Default)]
struct Windows {
    of: HashMap<String, Window>,
    /// So many are looked through for those that have ended; each time there are twice as many, so that it costs nothing to speak of.
    sweep_at: usize,
}

#[derive(Clone, Copy)]
struct Window {
    began: Micros,
    tries: usize,
}

impl Attempts {
    pub fn new(tries_max: usize, window_seconds: u64) -> Attempts {
        Attempts { tries_max, window_seconds, windows: Arc::default() }
    }

    /// Counts a try before it is made, so that many at once are many. Too many: how many seconds to wait.
    pub fn begin(&self, name: &str, now: Micros) -> Result<(), u64> {
        let mut windows = self.windows.lock();
        if windows.of.len() >= windows.sweep_at.max(SWEEP_MIN) {
            windows.of.retain(|_, window| self.left(window, now).is_some());
            windows.sweep_at = windows.of.len() * 2;
        }
        let window = windows.of.entry(name.to_owned()).or_insert(Window { began: now, tries: 0 });
        if self.left(window, now).is_none() {
            *window = Window { began: now, tries: 0 };
        }
        if window.tries >= self.tries_max {
            return Err(self.left(window, now).unwrap_or(0).max(1));
        }
        window.tries += 1;
        Ok(())
    }

    /// It was right: what was tried before is forgotten.
    pub fn succeeded(&self, name: &str) {
        self.windows.lock().of.remove(name);
    }

    /// Takes a try back: it was decided by something else.
    pub fn undo(&self, name: &str) {
        let mut windows = self.windows.lock();
        let Some(window) = windows.of.get_mut(name) else { return };
        window.tries = window.tries.saturating_sub(1);
        if window.tries == 0 {
            windows.of.remove(name);
        }
    }

    /// Seconds until a window ends; none when it has. One that begins later than now is of a clock that was set back.
    fn left(&self, window: &Window, now: Micros) -> Option<u64> {
        let passed = now.millis_since(window.began) / 1_000;
        (window.began <= now && passed < self.window_seconds).then(|| self.window_seconds - passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = Micros::SECOND;

    #[test]
    fn after_too_many_tries_a_name_waits_for_the_end_of_its_window_and_others_do_not() {
        let attempts = Attempts::new(3, 60);
        for _ in 0..3 {
            assert_eq!(attempts.begin("ada", Micros(0)), Ok(()));
        }
        assert_eq!(attempts.begin("ada", Micros(20 * SECOND)), Err(40));
        assert_eq!(attempts.begin("bob", Micros(20 * SECOND)), Ok(()));
        assert_eq!(attempts.begin("ada", Micros(60 * SECOND)), Ok(()));
        attempts.succeeded("ada");
        for _ in 0..3 {
            assert_eq!(attempts.begin("ada", Micros(61 * SECOND)), Ok(()));
        }
        assert!(attempts.begin("ada", Micros(61 * SECOND)).is_err());
        attempts.undo("ada");
        assert_eq!(attempts.begin("ada", Micros(61 * SECOND)), Ok(()));
        assert_eq!(attempts.begin("ada", Micros(0)), Ok(()), "the clock was set back");
    }

    #[test]
    fn a_flood_of_names_washes_nobody_out_and_what_is_over_is_forgotten() {
        let attempts = Attempts::new(1, 60);
        assert_eq!(attempts.begin("ada", Micros(0)), Ok(()));
        for n in 0..10 * SWEEP_MIN {
            assert_eq!(attempts.begin(&format!("user{n}"), Micros(1)), Ok(()));
        }
        assert!(attempts.begin("ada", Micros(2)).is_err());
        for n in 0..10 * SWEEP_MIN {
            assert_eq!(attempts.begin(&format!("later{n}"), Micros(61 * SECOND)), Ok(()));
        }
        assert!(attempts.windows.lock().of.len() <= 10 * SWEEP_MIN);
        attempts.undo("later0");
        assert!(!attempts.windows.lock().of.contains_key("later0"), "nothing is left of what was taken back");
    }
}
