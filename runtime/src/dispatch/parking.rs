//! Events of one consumer that wait: for another try, or behind one of their line that does. Pure; the ledger holds the
//! truth, and the events themselves: here is what it takes to know whose turn it is, some tens of bytes for each.

use super::queues::{Line, LineMap, LineSet};
use crate::model::{Micros, Seq};
use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

/// What is known of one that waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    pub seq: Seq,
    /// Not before this.
    pub due: Micros,
    /// Attempts made so far.
    pub attempts: u32,
}

#[derive(Debug, Default)]
pub struct Parking {
    firsts: LineMap<Waiting>,
    /// The others of lines that have more than one, ascending.
    behind: LineMap<VecDeque<Waiting>>,
    /// The first of each line that is not out.
    due: BTreeSet<(Micros, Line)>,
    /// Lines whose first was taken and is at work.
    out: LineSet,
    count: usize,
}

impl Parking {
    /// Adds an event, or replaces what is known of it.
    pub fn park(&mut self, line: Line, waiting: Waiting) {
        match self.firsts.get(&line).copied() {
            Some(first) if waiting.seq > first.seq => return self.park_behind(line, waiting),
            Some(first) if waiting.seq < first.seq => self.behind.entry(line).or_default().push_front(first),
            Some(_) => self.count -= 1,
            None => {}
        }
        self.count += 1;
        self.set_first(line, waiting);
    }

    fn park_behind(&mut self, line: Line, waiting: Waiting) {
        let queue = self.behind.entry(line).or_default();
        match queue.binary_search_by_key(&waiting.seq, |other| other.seq) {
            Ok(at) => queue[at] = waiting,
            Err(at) => {
                queue.insert(at, waiting);
                self.count += 1;
            }
        }
    }

    fn set_first(&mut self, line: Line, waiting: Waiting) {
        if let Some(old) = self.firsts.insert(line, waiting) {
            self.due.remove(&(old.due, line));
        }
        if !self.out.contains(&line) {
            self.due.insert((waiting.due, line));
        }
    }

    /// Forgets one that is settled. Whoever is settled was first in its line.
    pub fn unpark(&mut self, line: &Line, seq: Seq) {
        let Some(first) = self.firsts.get(line).copied().filter(|first| first.seq == seq) else { return };
        self.count -= 1;
        let next = self.behind.get_mut(line).and_then(VecDeque::pop_front);
        if self.behind.get(line).is_some_and(VecDeque::is_empty) {
            self.behind.remove(line);
        }
        match next {
            Some(next) => self.set_first(*line, next),
            None => {
                self.firsts.remove(line);
                self.due.remove(&(first.due, *line));
            }
        }
    }

    pub fn holds(&self, line: &Line) -> bool {
        self.firsts.contains_key(line)
    }

    /// The one that has waited longest of those that may go now. Its line is out until it is given back. Nobody is told to wait
    /// for longer than `wait_max`: a time behind that is of a clock that was ahead, and has come.
    pub fn take_due(&mut self, now: Micros, wait_max: Duration) -> Option<(Line, Waiting)> {
        let latest = now.plus_millis(u64::try_from(wait_max.as_millis()).unwrap_or(u64::MAX));
        let (due, line) = *self.due.first().filter(|(due, _)| *due <= now || *due > latest)?;
        self.due.remove(&(due, line));
        let first = *self.firsts.get(&line)?;
        self.out.insert(line);
        Some((line, first))
    }

    /// What was taken of this line has come to its end.
    pub fn give_back(&mut self, line: &Line) {
        if self.out.remove(line)
            && let Some(first) = self.firsts.get(line)
        {
            self.due.insert((first.due, *line));
        }
    }

    /// When the next one may go.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Events that wait.
    pub fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn waiting(seq: Seq, due: i64) -> Waiting {
        Waiting { seq, due: Micros(due), attempts: 1 }
    }

    fn key(key: &str) -> Line {
        Line::key(key)
    }

    #[test]
    fn lines_go_by_their_time_and_each_in_its_order() {
        let mut parking = Parking::default();
        parking.park(key("slow"), waiting(1, 50));
        parking.park(key("slow"), waiting(2, 0));
        parking.park(key("quick"), waiting(3, 20));
        parking.park(Line::Replay(9), waiting(9, 10));
        assert_eq!(parking.take_due(Micros(5), HOUR), None);
        assert_eq!(parking.next_due(), Some(Micros(10)));
        let taken: Vec<Seq> = std::iter::from_fn(|| parking.take_due(Micros(60), HOUR)).map(|(_, waiting)| waiting.seq).collect();
        assert_eq!(taken, [9, 3, 1], "one of each line, the longest due first");

        // Done: the one behind it goes, whenever it is due itself. Failed: its line waits with it.
        parking.unpark(&key("slow"), 1);
        parking.give_back(&key("slow"));
        parking.park(key("quick"), waiting(3, 90));
        parking.give_back(&key("quick"));
        assert_eq!(parking.take_due(Micros(60), HOUR).map(|(_, waiting)| waiting.seq), Some(2));
        assert_eq!(parking.next_due(), Some(Micros(90)));
        assert_eq!(parking.count(), 3);
    }

    /// The clock was ahead by a day when they failed.
    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let mut parking = Parking::default();
        let hours = |hours: i64| hours * 3_600 * Micros::SECOND;
        for (line, due) in [("a", hours(24)), ("b", hours(24) + 1), ("c", hours(2))] {
            parking.park(key(line), waiting(1, due));
        }
        let mut taken = |now| std::iter::from_fn(|| parking.take_due(now, HOUR)).count();
        assert_eq!(taken(Micros(hours(1))), 0, "the first of them comes in an hour, as it may");
        assert_eq!(taken(Micros(hours(2))), 3);
    }

    #[test]
    fn what_is_known_of_an_event_can_change_and_lines_come_to_an_end() {
        let mut parking = Parking::default();
        parking.park(key("a"), waiting(5, 7));
        parking.park(key("a"), waiting(4, 9));
        parking.park(key("a"), waiting(4, 8));
        parking.park(key("a"), waiting(5, 6));
        assert_eq!((parking.count(), parking.next_due()), (2, Some(Micros(8))));
        for seq in [4, 5] {
            let (line, first) = parking.take_due(Micros(10), HOUR).unwrap_or_else(|| unreachable!("one is due"));
            assert_eq!(first.seq, seq);
            parking.unpark(&line, seq);
            parking.give_back(&line);
        }
        assert!(!parking.holds(&key("a")));
        assert_eq!((parking.count(), parking.next_due()), (0, None));
    }

    /// A device that fails for days must not take the memory of the others.
    #[test]
    fn one_that_waits_takes_some_tens_of_bytes() {
        assert!(size_of::<Waiting>() <= 24);
        assert!(size_of::<(Line, Waiting)>() <= 48, "the first of a line");
    }
}
