//! Where one consumer is in the log: what it has settled, what is open. Pure.

use crate::{
    ledger::{Done, Position},
    model::{FunctionId, Seq},
};
use std::collections::BTreeSet;

/// Everything up to `scanned` was looked at; of that, `open` concerns the consumer and is not durably settled.
#[derive(Debug, Default)]
pub struct Tracker {
    scanned: Seq,
    open: BTreeSet<Seq>,
    /// Settled before the last restart, above what is known by `scanned`: ranges, both ends included, ascending.
    settled: Vec<(Seq, Seq)>,
}

impl Tracker {
    /// Where a consumer goes on after a restart. `above` holds first and last of each settled range.
    pub fn resume(position: &Position) -> Tracker {
        let settled = position.above.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Tracker { scanned: position.through, open: BTreeSet::new(), settled }
    }

    pub fn scanned(&self) -> Seq {
        self.scanned
    }

    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Notes that `seq` was looked at. True when it is new to the consumer and now open.
    pub fn scan(&mut self, seq: Seq, concerns: bool) -> bool {
        self.scanned = self.scanned.max(seq);
        let done = self.settled.iter().any(|(first, last)| (*first..=*last).contains(&seq));
        if self.settled.last().is_some_and(|(_, last)| *last <= seq) {
            self.settled.clear();
        }
        concerns && !done && self.open.insert(seq)
    }

    /// Notes that everything up to `seq` was looked at and nothing more of it concerns the consumer.
    pub fn skip_to(&mut self, seq: Seq) {
        self.scanned = self.scanned.max(seq);
    }

    /// The position to commit with these settled.
    pub fn position(&self, function: &FunctionId, settled: &BTreeSet<Seq>) -> Done {
        let mut left = self.open.iter().filter(|seq| !settled.contains(seq)).copied().peekable();
        let Some(first) = left.peek().copied() else {
            return Done { function: function.clone(), through: self.scanned, above: self.resumed_above(self.scanned) };
        };
        let mut above = Vec::new();
        let mut range = |from: Seq, to: Seq| {
            if from <= to {
                above.extend([from, to]);
            }
        };
        let mut before = first;
        for seq in left.skip(1) {
            range(before + 1, seq - 1);
            before = seq;
        }
        range(before + 1, self.scanned);
        above.extend(self.resumed_above(self.scanned));
        Done { function: function.clone(), through: first - 1, above }
    }

    /// Ranges settled in an earlier life that this one has not come to yet.
    fn resumed_above(&self, scanned: Seq) -> Vec<Seq> {
        let beyond = self.settled.iter().filter(|(_, last)| *last > scanned);
        beyond.flat_map(|(first, last)| [(*first).max(scanned + 1), *last]).collect()
    }

    /// A commit has made these durable.
    pub fn settle(&mut self, settled: &BTreeSet<Seq>) {
        for seq in settled {
            self.open.remove(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppId, Id, id::default_tenant};

    fn function() -> FunctionId {
        let name = |text| Id::new(text).unwrap_or_else(|e| unreachable!("{e}"));
        FunctionId { app: AppId::new(default_tenant(), name("app")), function: name("f") }
    }

    fn position(tracker: &Tracker, settled: &[Seq]) -> (Seq, Vec<Seq>) {
        let done = tracker.position(&function(), &settled.iter().copied().collect());
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
        tracker.settle(&BTreeSet::from([2, 4, 6, 8, 10]));
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
        assert_eq!(position(&tracker, &[4]), (4, vec![5, 7]));
        assert_eq!(position(&tracker, &[]), (3, vec![5, 7]));
    }
}
