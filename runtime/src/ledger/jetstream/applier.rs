//! Applies the stream to the view, message by message in its order, on a thread of its own.

use super::{
    super::{
        LedgerError, Outcome,
        tables::{self, Changed, Tables},
        view::View,
    },
    batch::{self, Stamp},
    flights::Flights,
};
use redb::{Durability, WriteTransaction};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// Messages applied in one transaction.
const GROUP_MESSAGES_MAX: usize = 256;
/// Bytes applied in one transaction.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The view is made durable this often: what came since is applied again from the stream after a crash.
pub(super) const DURABLE_EVERY: Duration = Duration::from_secs(1);
/// Or after so many operations: as many are applied again in well under a second.
const DURABLE_OPS: usize = 10_000;
/// Between two tries to open the view after a failed write: the first, and the longest after doubling.
const REOPEN_DELAY: Duration = Duration::from_millis(1);
const REOPEN_DELAY_MAX: Duration = Duration::from_millis(256);

pub(super) enum Feed {
    Message(Delivered),
    /// Make durable what is not.
    Tick,
    Stop,
}

pub(super) struct Delivered {
    /// Which of the follower's starts it came from; see [`Start`].
    pub start: u64,
    pub sequence: u64,
    pub subject: String,
    pub payload: bytes::Bytes,
}

/// From where the follower is to read. A failed write takes the view back to what was durable; then it is read again from
/// there, and what was on its way is passed over by its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Start {
    pub number: u64,
    pub sequence: u64,
}

pub(super) struct Applier {
    view: Arc<View>,
    flights: Arc<Flights>,
    start: Arc<watch::Sender<Start>>,
    stop: Arc<AtomicBool>,
    /// Reads are refused until the view is here again: they would go back in time.
    hidden_below: u64,
    /// Operations since the view was last made durable, and when that was.
    dirty_ops: usize,
    durable_at: Instant,
}

/// The end of one batch: whose, and what it came to; none when it was passed over.
type End = (Stamp, Option<Vec<Outcome>>);

struct Written {
    changed: Changed,
    ends: Vec<End>,
    applied: u64,
    ops: usize,
}

impl Applier {
    pub(super) fn new(view: Arc<View>, flights: Arc<Flights>, start: Arc<watch::Sender<Start>>, stop: Arc<AtomicBool>) -> Applier {
        Applier { view, flights, start, stop, hidden_below: 0, dirty_ops: 0, durable_at: Instant::now() }
    }

    pub(super) fn spawn(self, receiver: mpsc::Receiver<Feed>) -> Result<thread::JoinHandle<()>, LedgerError> {
        let named = thread::Builder::new().name("ledger-applier".to_owned());
        named.spawn(move || self.run(receiver)).map_err(|e| LedgerError::file("start the thread", "ledger-applier".as_ref(), e))
    }

    fn run(mut self, mut receiver: mpsc::Receiver<Feed>) {
        while let Some((group, tick)) = self.next_group(&mut receiver) {
            if !self.turn(&group, tick) {
                break;
            }
        }
        if self.dirty_ops > 0
            && let Err(error) = self.end()
        {
            tracing::warn!(%error, "the view is not quite up to date on disk; the stream has the rest");
        }
        self.view.close();
    }

    /// Applies what was delivered. False when nothing more can be applied, ever.
    pub(super) fn turn(&mut self, group: &[Delivered], tick: bool) -> bool {
        let due = tick || self.dirty_ops >= DURABLE_OPS || self.durable_at.elapsed() >= DURABLE_EVERY;
        if group.is_empty() && self.dirty_ops == 0 {
            return true;
        }
        let durability = if due { Durability::Immediate } else { Durability::None };
        let (error, written) = match self.stage(group, durability) {
            Ok((txn, written)) => match txn.commit() {
                Ok(()) => {
                    self.dirty_ops = if due { 0 } else { self.dirty_ops + written.ops.max(1) };
                    self.durable_at = if due { Instant::now() } else { self.durable_at };
                    self.publish(written);
                    return true;
                }
                Err(error) => (LedgerError::storage("write the view", error.into()), Some(written)),
            },
            Err(error @ LedgerError::Format(_)) => {
                self.flights.broken(error);
                return false;
            }
            Err(error) => (error, None),
        };
        self.recover(&error, written);
        self.dirty_ops = 0;
        true
    }

    /// Waits for something, then takes what else is there. None to stop.
    fn next_group(&self, receiver: &mut mpsc::Receiver<Feed>) -> Option<(Vec<Delivered>, bool)> {
        let start = self.start.borrow().number;
        let (mut group, mut bytes, mut tick) = (Vec::new(), 0, false);
        let mut feed = receiver.blocking_recv()?;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            match feed {
                Feed::Stop => return None,
                Feed::Tick => tick = true,
                Feed::Message(message) if message.start == start => {
                    bytes += message.payload.len();
                    group.push(message);
                }
                Feed::Message(_) => {}
            }
            if group.len() >= GROUP_MESSAGES_MAX || bytes >= GROUP_BYTES_MAX {
                return Some((group, tick));
            }
            match receiver.try_recv() {
                Ok(next) => feed = next,
                Err(_) => return Some((group, tick)),
            }
        }
    }

    fn end(&self) -> Result<(), LedgerError> {
        let (txn, _) = self.stage(&[], Durability::Immediate)?;
        txn.commit().map_err(|e| LedgerError::storage("write the view", e.into()))
    }

    fn stage(&self, group: &[Delivered], durability: Durability) -> Result<(WriteTransaction, Written), LedgerError> {
        let txn = self.view.begin_write(durability)?;
        let mut tables = Tables::open(&txn)?;
        let mut ends = Vec::with_capacity(group.len());
        let mut ops = 0;
        for message in group {
            let batch = batch::decode(&message.payload)?;
            ops += batch.ops.len();
            tables.set_fence(&message.subject, message.sequence)?;
            let news = tables.begin_batch(&batch.stamp)?;
            let outcomes = match news {
                true => Some(batch.ops.into_iter().map(|op| tables.apply(op, batch.rules)).collect::<Result<Vec<_>, _>>()?),
                false => None,
            };
            ends.push((batch.stamp, outcomes));
        }
        let applied = match group.last() {
            Some(last) => last.sequence,
            None => self.flights.progress.borrow().applied,
        };
        tables.set_meta(tables::STREAM, applied)?;
        let changed = tables.finish()?;
        Ok((txn, Written { changed, ends, applied, ops }))
    }

    fn publish(&self, written: Written) {
        self.view.publish(&written.changed);
        if written.applied >= self.hidden_below {
            self.view.hide(false);
        }
        for (stamp, outcomes) in written.ends {
            self.flights.landed(&stamp, outcomes);
        }
        self.flights.progress.send_if_modified(|progress| {
            let changed = progress.applied != written.applied || progress.failed.is_some();
            progress.applied = written.applied;
            progress.failed = None;
            changed
        });
    }

    /// Opens the view again, and again, until it works; then reads the stream again from what the view has kept. `failed` is the
    /// step that could not be committed: it may be in the file all the same, and then whoever waits for it must be told.
    fn recover(&mut self, error: &LedgerError, failed: Option<Written>) {
        tracing::warn!(%error, "the view could not be written; opening it again");
        self.flights.progress.send_modify(|progress| progress.failed = Some(error.clone()));
        self.hidden_below = self.hidden_below.max(self.flights.progress.borrow().applied);
        self.view.hide(true);
        let mut delay = REOPEN_DELAY;
        while !self.stop.load(Ordering::Acquire) {
            match self.view.reopen().and_then(|()| self.view.applied()) {
                Ok(applied) => {
                    self.flights.progress.send_modify(|progress| progress.applied = applied);
                    self.start.send_modify(|start| *start = Start { number: start.number + 1, sequence: applied + 1 });
                    return failed.filter(|written| written.applied == applied).map_or((), |written| self.publish(written));
                }
                Err(error) => tracing::warn!(%error, "the view can't be opened yet"),
            }
            self.view.wait(delay);
            delay = REOPEN_DELAY_MAX.min(delay * 2);
        }
    }
}
