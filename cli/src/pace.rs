//! When what was recorded is sent again, and how much at once. Nothing here looks at a clock: what time it is, it is told.

use crate::failure::Done;
use std::{str::FromStr, time::Duration};
use tawi_runtime::model::Micros;

/// Readings that are due within so much of each other go in one request: nobody sees the difference, and a trace of a thousand sensors
/// takes a hundred requests a second at most.
const TOGETHER: Duration = Duration::from_millis(10);
/// A quarter of what the node takes in one request.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// Without pauses.
    Max,
    /// So many times as fast as it came.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let times = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok().filter(|times| times.is_finite() && *times > 0.0);
        times.map(Speed::Times).ok_or_else(|| format!("`{text}` is no speed such as `10x`, `0.5x` or `max`"))
    }
}

/// The schedule of a trace.
#[derive(Debug)]
pub struct Pace {
    speed: Speed,
    last: Option<Micros>,
    /// Between the first event and the last, as it was recorded. It is added up in whole microseconds and divided once, so nothing is
    /// lost over a million events.
    recorded: u64,
}

impl Pace {
    pub fn new(speed: Speed) -> Pace {
        Pace { speed, last: None, recorded: 0 }
    }

    /// When the next event is due, counted from the first. A clock that was set back in between makes no pause.
    pub fn due(&mut self, received: Micros) -> Duration {
        let step = self.last.replace(received).map_or(0, |last| received.0.saturating_sub(last.0));
        self.recorded = self.recorded.saturating_add(u64::try_from(step).unwrap_or(0));
        match self.speed {
            Speed::Max => Duration::ZERO,
            Speed::Times(times) => Duration::from_micros((self.recorded as f64 / times) as u64),
        }
    }
}

/// What goes in one request.
#[derive(Debug, PartialEq)]
pub struct Group {
    /// When its last reading is due: nothing is sent before its time.
    pub due: Duration,
    pub readings: usize,
    /// One object a line.
    pub body: String,
}

/// Puts readings together. The groups follow from the file alone, so that a repeat sends the same ones.
#[derive(Debug)]
pub struct Grouping {
    readings_max: usize,
    open: Option<(Duration, Group)>,
}

impl Grouping {
    pub fn of(readings_max: usize) -> Grouping {
        Grouping { readings_max, open: None }
    }

    /// Takes one more line; gives the group that it did not fit into.
    pub fn add(&mut self, due: Duration, line: &str) -> Option<Group> {
        if let Some((first, group)) = &mut self.open
            && group.readings < self.readings_max
            && group.body.len() + line.len() < GROUP_BYTES_MAX
            && due.saturating_sub(*first) <= TOGETHER
        {
            group.due = due;
            group.readings += 1;
            group.body.push_str(line);
            group.body.push('\n');
            return None;
        }
        self.open.replace((due, Group { due, readings: 1, body: format!("{line}\n") })).map(|(_, group)| group)
    }

    /// What is left.
    pub fn end(&mut self) -> Option<Group> {
        self.open.take().map(|(_, group)| group)
    }
}

/// Sends each group when it is due. A wait is up to a moment of the schedule, so that what sending and waking up take is never added up; what
/// is late goes out at once.
pub fn keep(
    groups: impl Iterator<Item = Done<Group>>,
    elapsed: impl Fn() -> Duration,
    mut wait: impl FnMut(Duration),
    mut send: impl FnMut(Group) -> Done,
) -> Done {
    for group in groups {
        let group = group?;
        if let Some(left) = group.due.checked_sub(elapsed()).filter(|left| !left.is_zero()) {
            wait(left);
        }
        send(group)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_speed_is_a_factor_or_as_fast_as_it_goes() {
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for wrong in ["", "x", "0x", "-1x", "fast", "infx", "NaN"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn distances_are_divided_by_the_speed_and_nothing_is_lost_over_a_million_events() {
        let mut pace = Pace::new(Speed::Times(3.0));
        // Every 1,000,001 microseconds: a third of that is no whole number, and a million of what is cut off would be a third of a second.
        let last = (0..=1_000_000).map(|n| pace.due(Micros(5 + n * 1_000_001))).last().unwrap();
        assert_eq!(last.as_micros(), 1_000_001_000_000 / 3);
        let mut pace = Pace::new(Speed::Max);
        assert!([0, 50, 5_000_000_000].into_iter().all(|at| pace.due(Micros(at)).is_zero()));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_pause_and_what_comes_after_keeps_its_distance() {
        let mut pace = Pace::new(Speed::Times(2.0));
        let due: Vec<u128> = [10_000, 12_000, 2_000, 2_500, 4_000].map(|at| pace.due(Micros(at * 1_000)).as_millis()).to_vec();
        assert_eq!(due, [0, 1_000, 1_000, 1_250, 2_000]);
    }

    #[test]
    fn what_is_due_together_goes_together_and_never_early() {
        let mut grouping = Grouping::of(3);
        let mut groups = Vec::new();
        for (at, line) in [(0, "a"), (4, "b"), (10, "c"), (10, "d"), (21, "e"), (500, "f")] {
            groups.extend(grouping.add(ms(at), line));
        }
        groups.extend(grouping.end());
        let seen: Vec<(u128, usize, &str)> = groups.iter().map(|it| (it.due.as_millis(), it.readings, it.body.as_str())).collect();
        assert_eq!(seen, [(10, 3, "a\nb\nc\n"), (10, 1, "d\n"), (21, 1, "e\n"), (500, 1, "f\n")]);
        assert_eq!(grouping.end(), None);
        let large = "x".repeat(600 * 1024);
        assert!(grouping.add(ms(0), &large).is_none() && grouping.add(ms(0), &large).is_some(), "a request has a size");
    }

    /// Every request takes 3 ms and every wait a millisecond too long, ten thousand times: none is early, and the last is as late as the first.
    #[test]
    fn a_pace_that_is_kept_does_not_drift() {
        let (now, sent) = (Cell::new(Duration::ZERO), RefCell::new(Vec::new()));
        let mut pace = Pace::new(Speed::Times(10.0));
        let groups = (0..10_000).map(|n| Ok(Group { due: pace.due(Micros(n * 100_000)), readings: 1, body: String::new() }));
        let send = |group: Group| {
            sent.borrow_mut().push((group.due, now.get()));
            // Once a request takes a second.
            now.set(now.get() + if group.due == ms(50_000) { ms(1_000) } else { ms(3) });
            Ok(())
        };
        keep(groups, || now.get(), |left| now.set(now.get() + left + ms(1)), send).unwrap();
        let late: Vec<Duration> = sent.borrow().iter().map(|(due, at)| at.checked_sub(*due).unwrap()).collect();
        assert_eq!((late.len(), late[1], late[9_999]), (10_000, ms(1), ms(1)));
        let caught_up = late.iter().filter(|late| **late > ms(1)).count();
        assert!((1..200).contains(&caught_up), "after a second without an answer it catches up and goes on: {caught_up}");
    }
}
