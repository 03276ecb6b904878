//! Where one consumer is in the log: what it has settled, what is open. Pure.

use crate::{
    ledger::{Done, Position},
    model::{FunctionId, Seq},
};
use std::collections::BTreeMap;

/// Everything up to `scanned` was looked at; of that, what is not `done` concerns the consumer and is not durably settled.
#[derive(Debug, Default)]
pub struct Tracker {
    scanned: Seq,
    /// Settled, or of no concern. After a restart it knows of some that were not looked at again yet.
    done: Ranges,
    open: usize,
}

/// A set of sequences that is nearly all of them: what a commit costs depends on its gaps, not on its size.
#[derive(Debug, Default, Clone)]
struct Ranges {
    /// Everything up to here.
    through: Seq,
    /// First and last of what is above. No two touch, and none touches `through`.
    above: BTreeMap<Seq, Seq>,
}

impl Ranges {
    fn holds(&self, seq: Seq) -> bool {
        seq <= self.through || self.above.range(..=seq).next_back().is_some_and(|(_, last)| seq <= *last)
    }

    /// Whether it holds any of these.
    fn touches(&self, first: Seq, last: Seq) -> bool {
        first <= self.through || self.above.range(..=last).next_back().is_some_and(|(_, end)| first <= *end)
    }

    fn add(&mut self, first: Seq, last: Seq) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Those that it touches become one with it.
        while let Some((start, end)) = self.above.range(..=last.saturating_add(1)).next_back().map(|(start, end)| (*start, *end))
            && end.saturating_add(1) >= first
        {
            self.above.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        match first <= self.through + 1 {
            true => self.through = self.through.max(last),
            false => drop(self.above.insert(first, last)),
        }
    }
}

impl Tracker {
    /// Where a consumer goes on after a restart. `above` holds first and last of each settled range.
    pub fn resume(position: &Position) -> Tracker {
        let above = position.above.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Tracker { scanned: position.through, done: Ranges { through: position.through, above }, open: 0 }
    }

    pub fn scanned(&self) -> Seq {
        self.scanned
    }

    /// Everything up to here is durably settled, or of no concern.
    pub fn through(&self) -> Seq {
        self.done.through
    }

    pub fn open(&self) -> usize {
        self.open
    }

    /// Notes that `seq`, which is behind all that were, was looked at. True when it is new to the consumer and now open.
    pub fn scan(&mut self, seq: Seq, concerns: bool) -> bool {
        // What the log has no more of is nobody's.
        self.done.add(self.scanned + 1, seq.saturating_sub(1));
        self.scanned = self.scanned.max(seq);
        let new = concerns && !self.done.holds(seq);
        match new {
            true => self.open += 1,
            false => self.done.add(seq, seq),
        }
        new
    }

    /// Notes that everything up to `seq` was looked at and nothing more of it concerns the consumer.
    pub fn skip_to(&mut self, seq: Seq) {
        self.done.add(self.scanned + 1, seq);
        self.scanned = self.scanned.max(seq);
    }

    /// The position to commit with these settled, which ascend.
    pub fn position(&self, function: &FunctionId, settled: &[Seq]) -> Done {
        let mut done = self.done.clone();
        runs(settled).for_each(|(first, last)| done.add(first, last));
        let above = done.above.iter().flat_map(|(first, last)| [*first, *last]).collect();
        Done { function: function.clone(), through: done.through, above }
    }

    /// A commit has made these durable.
    pub fn settle(&mut self, settled: &[Seq]) {
        for (first, last) in runs(settled) {
            let new = match self.done.touches(first, last) {
                true => (first..=last).filter(|seq| !self.done.holds(*seq)).count(),
                false => usize::try_from(last - first + 1).unwrap_or(usize::MAX),
            };
            self.done.add(first, last);
            self.open = self.open.saturating_sub(new);
        }
    }
}

/// First and last of each run of numbers that follow one another.
fn runs(ascending: &[Seq]) -> impl Iterator<Item = (Seq, Seq)> {
    ascending.chunk_by(|one, next| one + 1 >= *next).map(|run| (run[0], run[run.len() - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, Id, id::default_tenant};
    use std::collections::BTreeSet;

    fn function() -> FunctionId {
        let name = |text| Id::new(text).unwrap_or_else(|e| unreachable!("{e}"));
        FunctionId { app: AppId::new(default_tenant(), name("app")), function: name("f") }
    }

    fn position(tracker: &Tracker, settled: &[Seq]) -> (Seq, Vec<Seq>) {
        let done = tracker.position(&function(), settled);
        (done.through, done.above)
    }

    #[test]
    fn the_watermark_stops_before_the_first_open_event() {
        let mut tracker = Tracker::default();
        for seq in 1..=10 {
            tracker.scan(seq, seq % 2 == 0);
        }
        assert_eq!(position(&tracker, &[]), (1, vec![3, 3, 5, 5, 7, 7, 9, 9]));
        assert_eq!(position(&tracker, &[2, 6]), (3, vec![5, 7, 9, 9]));
        tracker.settle(&[2, 4, 6, 8, 10]);
        assert_eq!(position(&tracker, &[]), (10, vec![]));
    }

    #[test]
    fn a_restart_does_not_run_again_what_was_settled_above_the_watermark() {
        let mut tracker = Tracker::resume(&Position { through: 3, above: vec![5, 7, 9, 9] });
        let fresh: Vec<Seq> = (4..=10).filter(|seq| tracker.scan(*seq, true)).collect();
        assert_eq!(fresh, [4, 8, 10]);
        assert_eq!(position(&tracker, &[4, 8, 10]), (10, vec![]));
    }

    #[test]
    fn a_commit_before_the_scan_has_caught_up_keeps_what_was_settled() {
        let mut tracker = Tracker::resume(&Position { through: 3, above: vec![5, 7] });
        assert!(tracker.scan(4, true));
        assert_eq!(position(&tracker, &[4]), (7, vec![]));
        assert_eq!(position(&tracker, &[]), (3, vec![5, 7]));
    }

    #[test]
    fn whatever_the_order_in_which_events_are_settled_the_position_holds_them_and_no_other() {
        // Each number in an order of its own: multiplied by a generator of the numbers below a prime.
        for (step, every) in [(1, 1), (5, 2), (46, 3), (96, 1)] {
            let mut tracker = Tracker::resume(&Position { through: 2, above: vec![10, 20, 50, 50] });
            let open: BTreeSet<Seq> = (3..=96).filter(|seq| tracker.scan(*seq, seq % every == 0)).collect();
            assert_eq!(tracker.open(), open.len());
            let order: Vec<Seq> = (1..97).map(|n| n * step % 97).filter(|seq| open.contains(seq)).collect();
            for (n, seq) in order.iter().enumerate() {
                let left: Vec<Seq> = order[n..].to_vec();
                let (through, above) = position(&tracker, &[*seq]);
                let holds = |seq: Seq| seq <= through || above.chunks(2).any(|range| (range[0]..=range[1]).contains(&seq));
                assert!((1..=96).all(|other| holds(other) == (other == *seq || !left.contains(&other))), "{through} {above:?}");
                tracker.settle(&[*seq]);
            }
            assert_eq!((position(&tracker, &[]), tracker.open()), ((96, vec![]), 0));
        }
    }
}
