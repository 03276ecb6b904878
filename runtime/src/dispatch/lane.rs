//! The calls of one app, made serializable: what was read is checked against what was written since, before it counts.
//!
//! A call that ends is *folded*: its writes go over the ledger's state at once, where later calls see them, and into the batch
//! that the committer (`commit.rs`) makes durable next. So the calls of an app don't wait for each other's syncs, and what
//! waits outside (a client, a subscriber) sees nothing that is not durable.

use crate::{
    host::{Read, Seen},
    ledger::{Dedup, Ledger, LedgerError, Version},
    model::{AppId, Write},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};

use super::batch::{Batch, Durable, Fold, Lost};

/// Bytes of one commit: well under what one message of a log may hold.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Calls of one commit: a commit is one step, and one step must not take long.
const BATCH_CALLS_MAX: usize = 1_024;
/// Bytes folded and not durable, over which an app's functions wait.
const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Written keys of an app among which nobody looks for old ones.
const WRITTEN_FEW: usize = 1_024;
/// Written keys that an app remembers for a call that runs for long, one that streams to a slow client say: some MB. Only a call
/// during which more were written has to run again without a reason.
const WRITTEN_MAX: usize = 1 << 16;
/// How many calls run alone after one conflict, at most.
const HEAT_MAX: u32 = 256;

pub struct Lane {
    pub app: AppId,
    pub(super) ledger: Ledger,
    pub(super) inner: Mutex<Inner>,
    /// Room again, or a reset is over.
    pub(super) room: Notify,
    /// Somebody waits for the next commit, or it is full.
    pub(super) hurry: Notify,
    /// Calls share it; a call that keeps losing takes it alone.
    turns: Arc<RwLock<()>>,
    heat: AtomicU32,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Counts folds; a read notes it, a write is stamped with it.
    clock: u64,
    /// Grows when everything folded and not durable was lost; a call from before can't count any more.
    pub(super) epoch: u64,
    /// Everything folded up to this moment is durable, or lost.
    pub(super) settled: u64,
    /// The state version the next commit builds on. Read before anything of the epoch was, so that whatever another node
    /// commits since then is a conflict.
    pub(super) base: Version,
    /// Written and not yet visible in the ledger.
    overlay: BTreeMap<String, (Option<Bytes>, u64)>,
    /// When keys were last written, as far back as a running call can have read.
    written: BTreeMap<String, u64>,
    /// How many of them there were after the last time that old ones were looked for.
    written_kept: usize,
    /// Of what was written up to this moment, some is not known any more.
    forgotten: u64,
    /// Idempotency keys of calls that are folded and not durable.
    keys: HashSet<String>,
    /// Running calls by the clock they began at.
    running: BTreeMap<u64, u32>,
    pub(super) batches: VecDeque<Batch>,
    pub(super) pending_bytes: usize,
    pub(super) stopped: bool,
    /// A committer runs while there is something to commit.
    pub(super) committing: bool,
}

/// A call that counts.
pub struct Folded {
    /// Tells when it is durable, to who asked to wait.
    pub durable: Option<oneshot::Receiver<Result<Durable, Lost>>>,
    /// The moment at which all it read was still so.
    pub at: u64,
    /// A call with its idempotency key came before it; what it asked for was dropped.
    pub repeat: bool,
    /// Another call may follow in the same turn: nobody is to run alone, and there is room for what it wants done.
    pub goes_on: bool,
}

/// Why a fold was refused. The call runs again, which is not an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// What it read was written since.
    Stale,
    /// It began before a reset.
    Reset,
}

/// A call's place among the running ones; gone when dropped.
pub struct Mark {
    lane: Arc<Lane>,
    began: u64,
}

/// A call that runs, or some one after another, and whether others may meanwhile.
pub struct Turn {
    mark: Arc<Mark>,
    pub epoch: u64,
    _shared: Option<OwnedRwLockReadGuard<()>>,
    _alone: Option<OwnedRwLockWriteGuard<()>>,
}

impl Lane {
    pub fn new(app: AppId, ledger: Ledger) -> Result<Arc<Lane>, LedgerError> {
        let inner = Mutex::new(Inner { base: ledger.version(&app)?, ..Inner::default() });
        Ok(Arc::new(Lane { app, ledger, inner, room: Notify::new(), hurry: Notify::new(), turns: Arc::default(), heat: AtomicU32::new(0) }))
    }

    /// Begins a call, alone when `alone` or while keys are hot; waits while too much is not durable yet.
    pub async fn begin(self: &Arc<Lane>, alone: bool) -> Turn {
        let alone = alone || self.heat.load(Ordering::Relaxed) > 0;
        if !alone
            && let Ok(shared) = self.turns.clone().try_read_owned()
            && let Some(turn) = self.turn(Some(shared), None)
        {
            return turn;
        }
        loop {
            let room = self.room.notified();
            if self.has_room() {
                let (shared, whole) = match alone {
                    true => (None, Some(self.turns.clone().write_owned().await)),
                    false => (Some(self.turns.clone().read_owned().await), None),
                };
                if let Some(turn) = self.turn(shared, whole) {
                    return turn;
                }
            }
            room.await;
        }
    }

    /// None while too much is not durable yet.
    fn turn(self: &Arc<Lane>, shared: Option<OwnedRwLockReadGuard<()>>, alone: Option<OwnedRwLockWriteGuard<()>>) -> Option<Turn> {
        let mut inner = self.inner.lock();
        if inner.pending_bytes >= PENDING_BYTES_MAX {
            return None;
        }
        let (epoch, began) = (inner.epoch, inner.clock);
        *inner.running.entry(began).or_default() += 1;
        drop(inner);
        let mark = Arc::new(Mark { lane: self.clone(), began });
        Some(Turn { mark, epoch, _shared: shared, _alone: alone })
    }

    /// False while too much is not durable yet.
    pub fn has_room(&self) -> bool {
        self.inner.lock().pending_bytes < PENDING_BYTES_MAX
    }

    /// The moment up to which everything folded is durable, or lost.
    pub fn settled_at(&self) -> u64 {
        self.inner.lock().settled
    }

    /// Makes a call count, if nothing it read was written since. Visible to later calls at once, durable with the next commit.
    pub fn fold(self: &Arc<Lane>, epoch: u64, fold: Fold, wait: bool) -> Result<Folded, Refused> {
        let mut inner = self.inner.lock();
        // What rests on nothing of its epoch is not lost with it.
        if inner.stopped || (inner.epoch != epoch && fold.rests_on_epoch()) {
            return Err(Refused::Reset);
        }
        if fold.reads.iter().any(|(read, at)| inner.written_since(read, *at)) {
            self.heat.store((self.heat.load(Ordering::Relaxed) + 16).min(HEAT_MAX), Ordering::Relaxed);
            return Err(Refused::Stale);
        }
        let heat = self.heat.load(Ordering::Relaxed);
        if heat > 0 {
            self.heat.store(heat - 1, Ordering::Relaxed);
        }
        let repeat = fold.dedup.as_ref().is_some_and(|dedup| self.is_repeat(&inner, dedup));
        // It has its answer when the first one has: batches become durable in their order, or are lost together.
        let fold = if repeat { Fold::default() } else { fold };
        let now = inner.write(&fold.writes);
        let durable = inner.enqueue(fold, now, wait);
        if !inner.committing {
            inner.committing = true;
            tokio::spawn(super::commit::run(self.clone()));
        } else if wait || inner.is_urgent() {
            self.hurry.notify_one();
        }
        let goes_on = heat == 0 && inner.pending_bytes < PENDING_BYTES_MAX;
        Ok(Folded { durable, at: now, repeat, goes_on })
    }

    /// Whether the next commit is to be made at once.
    pub(super) fn hurries(&self) -> bool {
        self.inner.lock().is_urgent()
    }

    /// Whether a call with this key counts already. What is not pending any more is in the ledger, so it is asked second.
    fn is_repeat(&self, inner: &Inner, dedup: &Dedup) -> bool {
        // Not knowing is no reason to refuse: the commit finds out.
        inner.keys.contains(&dedup.key) || self.ledger.is_repeat(&self.app, &dedup.key, dedup.now).unwrap_or(false)
    }

    /// Folds; or, for a call with nothing to store that saw nothing but what is durable, only checks its reads.
    pub fn fold_or_check(self: &Arc<Lane>, epoch: u64, fold: Fold) -> Result<Folded, Refused> {
        if fold.is_empty() {
            let inner = self.inner.lock();
            if fold.reads.is_empty() {
                return Ok(Folded { durable: None, at: inner.clock, repeat: false, goes_on: false });
            }
            if inner.epoch != epoch || inner.stopped {
                return Err(Refused::Reset);
            }
            if fold.reads.iter().any(|(read, at)| inner.written_since(read, *at)) {
                return Err(Refused::Stale);
            }
            if !inner.committing {
                return Ok(Folded { durable: None, at: inner.clock, repeat: false, goes_on: false });
            }
        }
        // What it read may not be durable yet: its answer waits behind that.
        self.fold(epoch, fold, true)
    }

    /// Waits until everything folded so far is durable or lost: only then does the ledger say what a consumer has done.
    pub async fn settled(&self) {
        let folded = self.inner.lock().clock;
        loop {
            let room = self.room.notified();
            if self.inner.lock().settled >= folded {
                return;
            }
            room.await;
        }
    }

    /// Nothing of any call is left in memory.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        let inner = self.inner.lock();
        let empty = inner.overlay.is_empty() && inner.keys.is_empty() && inner.running.is_empty() && inner.batches.is_empty();
        empty && inner.pending_bytes == 0 && inner.settled == inner.clock
    }

    pub fn is_stopped(&self) -> bool {
        self.inner.lock().stopped
    }

    pub fn state(&self, key: &str) -> Result<Seen<Option<Bytes>>, LedgerError> {
        let at = {
            let inner = self.inner.lock();
            if let Some((value, _)) = inner.overlay.get(key) {
                return Ok(Seen { value: value.clone(), at: inner.clock });
            }
            inner.clock
        };
        Ok(Seen { value: self.ledger.state(&self.app, key)?, at })
    }

    pub fn state_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Seen<Vec<(String, Bytes)>>, LedgerError> {
        let (at, over) = self.inner.lock().written_over(prefix, after, limit);
        let written = over.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let mut merged: BTreeMap<String, Bytes> = written.collect();
        let mut cursor = after.map(str::to_owned);
        loop {
            let stored = self.ledger.state_entries(&self.app, prefix, cursor.as_deref(), limit)?;
            let is_last = stored.len() < limit;
            cursor = stored.last().map(|(key, _)| key.clone()).or(cursor);
            merged.extend(stored.into_iter().filter(|(key, _)| !over.contains_key(key)));
            // What is still to come from the ledger is behind the cursor.
            let complete = cursor.as_ref().is_none_or(|cursor| merged.range(..=cursor.clone()).count() >= limit);
            if is_last || complete {
                return Ok(Seen { value: merged.into_iter().take(limit).collect(), at });
            }
        }
    }

    /// Nothing folds any more; what is folded still becomes durable. Resolves when it has.
    pub async fn stop(&self) {
        self.inner.lock().stopped = true;
        self.hurry.notify_one();
        loop {
            let room = self.room.notified();
            if !self.inner.lock().committing {
                return;
            }
            room.await;
        }
    }
}

impl Inner {
    fn written_since(&self, read: &Read, at: u64) -> bool {
        match read {
            // Nobody knows any more.
            _ if at < self.forgotten => true,
            Read::Key(key) => self.written.get(key).is_some_and(|written| *written > at),
            Read::Prefix(prefix) => {
                let keys = self.written.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(prefix.as_str()));
                keys.into_iter().any(|(_, written)| *written > at)
            }
        }
    }

    /// Puts writes over the ledger's state, at a moment of their own.
    fn write(&mut self, writes: &[Write]) -> u64 {
        self.clock += 1;
        for write in writes {
            self.overlay.insert(write.key.clone(), (write.value.clone(), self.clock));
            self.written.insert(write.key.clone(), self.clock);
        }
        self.forget_old_writes();
        self.clock
    }

    /// Writes from before every running call began can't be a conflict for any of them. Where that leaves too many, the older half
    /// is forgotten too: who began before that has to run again.
    fn forget_old_writes(&mut self) {
        if self.written.len() <= self.written_kept.max(WRITTEN_FEW / 2).saturating_mul(2).min(WRITTEN_MAX) {
            return;
        }
        let oldest = self.running.keys().next().copied().unwrap_or(self.clock);
        self.written.retain(|_, written| *written > oldest);
        if self.written.len() > WRITTEN_MAX / 2 {
            let mut moments: Vec<u64> = self.written.values().copied().collect();
            let (_, middle, _) = moments.select_nth_unstable(self.written.len() - WRITTEN_MAX / 2);
            self.forgotten = *middle;
            self.written.retain(|_, written| *written > self.forgotten);
        }
        self.written_kept = self.written.len();
    }

    /// What is written under `prefix` and behind `after`, as far as the first `limit` entries of a listing depend on it, and the
    /// moment at which that is so.
    fn written_over(&self, prefix: &str, after: Option<&str>, limit: usize) -> (u64, BTreeMap<String, Option<Bytes>>) {
        use std::ops::Bound;
        let start = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let mut entries = 0;
        let range = self.overlay.range::<str, _>((start, Bound::Unbounded)).take_while(|(key, (value, _))| {
            let needed = entries < limit && key.starts_with(prefix);
            entries += usize::from(value.is_some());
            needed
        });
        (self.clock, range.map(|(key, (value, _))| (key.clone(), value.clone())).collect())
    }

    /// Somebody waits, there is more than one commit holds, or nothing will be added.
    fn is_urgent(&self) -> bool {
        let full = |batch: &Batch| batch.calls >= BATCH_CALLS_MAX || batch.bytes * 2 > BATCH_BYTES_MAX || !batch.waiters.is_empty();
        self.stopped || self.batches.len() > 1 || self.batches.front().is_some_and(full)
    }

    fn enqueue(&mut self, fold: Fold, now: u64, wait: bool) -> Option<oneshot::Receiver<Result<Durable, Lost>>> {
        let bytes = fold.size_bytes();
        let closed = |batch: &Batch| batch.dedup.is_some() || batch.bytes + bytes > BATCH_BYTES_MAX || batch.calls >= BATCH_CALLS_MAX;
        if fold.dedup.is_some() || self.batches.back().is_none_or(closed) {
            self.batches.push_back(Batch::default());
        }
        self.pending_bytes += bytes;
        let batch = self.batches.back_mut()?;
        batch.bytes += bytes;
        batch.calls += 1;
        batch.last = now;
        batch.writes.extend(fold.writes);
        batch.events.extend(fold.events);
        if let Some(settled) = fold.settled {
            batch.settle(settled, fold.received);
        }
        batch.park.extend(fold.park);
        batch.unpark.extend(fold.unpark);
        batch.dead.extend(fold.dead);
        self.keys.extend(fold.dedup.iter().map(|dedup| dedup.key.clone()));
        batch.dedup = fold.dedup;
        wait.then(|| {
            let (sender, receiver) = oneshot::channel();
            batch.waiters.push(sender);
            receiver
        })
    }

    /// A batch is in the ledger now.
    pub(super) fn applied(&mut self, batch: &Batch) {
        self.ended(batch);
        self.overlay.retain(|_, (_, written)| *written > batch.last);
    }

    /// A batch of one call was not committed, because the ledger knows its key. False when calls were folded behind it that
    /// may have read what it wrote; what still runs will find that it has read what was written since.
    pub(super) fn take_back(&mut self, batch: &Batch, writes: &[Write]) -> bool {
        if !writes.is_empty() && self.clock != batch.last {
            return false;
        }
        self.ended(batch);
        if writes.is_empty() {
            return true;
        }
        self.clock += 1;
        self.settled = self.clock;
        for write in writes {
            self.overlay.remove(&write.key);
            self.written.insert(write.key.clone(), self.clock);
        }
        true
    }

    fn ended(&mut self, batch: &Batch) {
        self.settled = batch.last;
        self.pending_bytes = self.pending_bytes.saturating_sub(batch.bytes);
        if let Some(dedup) = &batch.dedup {
            self.keys.remove(&dedup.key);
        }
    }

    /// Everything folded and not durable is gone; what comes now builds on `base`. Returns the batches that waited.
    pub(super) fn reset(&mut self, base: Version) -> Vec<Batch> {
        self.epoch += 1;
        self.settled = self.clock;
        self.overlay.clear();
        self.keys.clear();
        self.base = base;
        self.pending_bytes = 0;
        self.batches.drain(..).collect()
    }
}

impl Turn {
    /// Others may go on while this call still has something to do outside of the state (a streamed body).
    pub fn share(&mut self) {
        self._alone = None;
        self._shared = None;
    }

    /// Keeps the call among the running ones beyond this turn, so that its reads can still be checked.
    pub fn mark(&self) -> Arc<Mark> {
        self.mark.clone()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut inner = self.lane.inner.lock();
        if let Some(count) = inner.running.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                inner.running.remove(&self.began);
            }
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
