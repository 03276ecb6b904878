//! What a consumer's task shares with its runs, the committer, and whoever asks how it is doing.

use super::{run::Ran, stats::Stats, tracker::Tracker, work::Work};
use crate::model::{FunctionId, Seq};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// What a consumer's task shares with its runs and the committer.
pub struct Shared {
    pub id: FunctionId,
    pub(super) tracker: Mutex<Tracker>,
    pub stats: Stats,
    /// How many events it has parked, as its task last knew.
    parked: AtomicUsize,
    reports: Mutex<Reports>,
    pub(super) work: Work,
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct Reports {
    pub ran: Vec<Ran>,
    /// The lane's epoch that began with a loss; 0 for none.
    pub lost: u64,
    /// Dead letters that are parked events again.
    pub replayed: Vec<Seq>,
    /// Something of it was committed.
    pub committed: bool,
    /// It was paused, or is to go on.
    pub moved: bool,
}

impl Shared {
    /// `workers`: how many are active on the node.
    pub fn new(id: FunctionId, workers: Arc<AtomicUsize>) -> Arc<Shared> {
        let (tracker, stats, parked) = (Mutex::default(), Stats::default(), AtomicUsize::new(0));
        Arc::new(Shared { id, tracker, stats, parked, reports: Mutex::default(), work: Work::new(workers), wake: Notify::new() })
    }

    /// A commit with some of its events is durable.
    pub(super) fn committed(&self) {
        self.reports.lock().committed = true;
        self.wake.notify_one();
    }

    /// What it folded since the last commit is gone; the lane is in `epoch` now.
    pub(super) fn lost(&self, epoch: u64) {
        self.reports.lock().lost = epoch;
        self.wake.notify_one();
    }

    /// A dead letter was made a parked event again, durably.
    pub fn replayed(&self, seq: Seq) {
        self.reports.lock().replayed.push(seq);
        self.wake.notify_one();
    }

    /// It was paused, or is to go on: durably.
    pub(super) fn moved(&self) {
        self.reports.lock().moved = true;
        self.wake.notify_one();
    }

    pub(super) fn reports(&self) -> Reports {
        std::mem::take(&mut *self.reports.lock())
    }

    /// Without waking the consumer: a worker tells it when there is enough of this.
    pub(super) fn ran(&self, ran: Ran) {
        self.reports.lock().ran.push(ran);
    }

    /// The last event looked at; what is after it in the log is the function's lag.
    pub fn scanned(&self) -> Seq {
        self.tracker.lock().scanned()
    }

    pub(super) fn set_parked(&self, count: usize) {
        self.parked.store(count, Ordering::Relaxed);
    }

    /// Events that wait to be tried again, or behind one that does.
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Relaxed)
    }

    /// Events begun or waiting in memory.
    pub fn open(&self) -> usize {
        self.tracker.lock().open()
    }
}
