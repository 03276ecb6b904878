//! How often somebody may try: counted by name within a window, for a number of names at a time.

use crate::model::Micros;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Counts tries. Cheap to clone.
#[derive(Clone)]
pub struct Attempts {
    tries_max: usize,
    window_seconds: u64,
    names_max: usize,
    windows: Arc<Mutex<HashMap<String, Window>>>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Micros,
    tries: usize,
}

impl Attempts {
    pub fn new(tries_max: usize, window_seconds: u64, names_max: usize) -> Attempts {
        Attempts { tries_max, window_seconds, names_max, windows: Arc::default() }
    }

    /// Counts a try before it is made, so that many at once are many. Too many: how many seconds to wait.
    pub fn begin(&self, name: &str, now: Micros) -> Result<(), u64> {
        let mut windows = self.windows.lock();
        if !windows.contains_key(name) && windows.len() >= self.names_max {
            self.make_room(&mut windows, now);
        }
        let window = windows.entry(name.to_owned()).or_insert(Window { began: now, tries: 0 });
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
        self.windows.lock().remove(name);
    }

    /// Takes a try back: it was decided by something else.
    pub fn undo(&self, name: &str) {
        if let Some(window) = self.windows.lock().get_mut(name) {
            window.tries = window.tries.saturating_sub(1);
        }
    }

    /// Seconds until a window ends; none when it has. One that begins later than now is of a clock that was set back.
    fn left(&self, window: &Window, now: Micros) -> Option<u64> {
        let passed = now.millis_since(window.began) / 1_000;
        (window.began <= now && passed < self.window_seconds).then(|| self.window_seconds - passed)
    }

    /// Forgets what has ended, and else the oldest half: a flood of names makes guessing no faster than it has names.
    fn make_room(&self, windows: &mut HashMap<String, Window>, now: Micros) {
        windows.retain(|_, window| self.left(window, now).is_some());
        if windows.len() >= self.names_max {
            let mut begun: Vec<Micros> = windows.values().map(|window| window.began).collect();
            let middle = begun.len() / 2;
            let (_, half, _) = begun.select_nth_unstable(middle);
            let half = *half;
            windows.retain(|_, window| window.began > half);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = Micros::SECOND;

    #[test]
    fn after_too_many_tries_a_name_waits_for_the_end_of_its_window_and_others_do_not() {
        let attempts = Attempts::new(3, 60, 100);
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
    fn only_so_many_names_are_remembered() {
        let attempts = Attempts::new(1, 60, 10);
        for n in 0..1_000 {
            assert_eq!(attempts.begin(&format!("user{n}"), Micros(n)), Ok(()));
            assert!(attempts.windows.lock().len() <= 10);
        }
        assert!(attempts.begin("user999", Micros(1_000)).is_err(), "the last ones are known");
    }
}
