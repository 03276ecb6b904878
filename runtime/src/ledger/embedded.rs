//! The embedded ledger: one writer thread, which applies what is queued as a group, syncs once, and answers all.

use super::{
    LedgerError, Op, Outcome,
    queue::{Message, Waiter},
    tables::{Changed, Rules, Tables},
    view::View,
};
use redb::Durability;
use std::{sync::Arc, thread, time::Duration};
use tokio::sync::mpsc;

/// Operations of one group: what is over waits for the next sync, a few milliseconds.
const GROUP_OPS_MAX: usize = 1_024;
/// Bytes of one group, for the same reason.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Between two tries to open the database after a failed write: the first, and the longest after doubling.
const REOPEN_DELAY: Duration = Duration::from_millis(1);
const REOPEN_DELAY_MAX: Duration = Duration::from_millis(256);

pub(super) struct Writer {
    pub view: Arc<View>,
    pub rules: Rules,
    /// Appends are refused when less is free: room for commits, which let the node finish what it has, and for trimming.
    pub reserve_bytes: u64,
}

type Group = Vec<(Op, Waiter)>;

/// What a failed write left behind: undecided until the database is open again.
struct Undecided {
    waiters: Vec<Waiter>,
    outcomes: Vec<Outcome>,
    changed: Changed,
    error: LedgerError,
}

impl Writer {
    pub(super) fn spawn(self, receiver: mpsc::Receiver<Message>) -> Result<thread::JoinHandle<()>, LedgerError> {
        let named = thread::Builder::new().name("ledger-writer".to_owned());
        named.spawn(move || self.run(receiver)).map_err(|e| LedgerError::file("start the thread", "ledger-writer".as_ref(), e))
    }

    fn run(self, mut receiver: mpsc::Receiver<Message>) {
        while let Some(group) = next_group(&mut receiver) {
            if let Some(failed) = self.write(group) {
                self.recover(failed, &mut receiver);
            }
        }
        self.view.close();
        refuse_rest(&mut receiver, &LedgerError::Closed);
    }

    /// Writes a group and answers it, or says what has to be recovered first.
    fn write(&self, group: Group) -> Option<Undecided> {
        let group = self.refuse_when_low(group);
        if group.is_empty() {
            return None;
        }
        let (ops, waiters): (Vec<Op>, Vec<Waiter>) = group.into_iter().unzip();
        let kind = fault_point(&ops);
        let prepared = self.prepare(ops);
        crate::fault::point(kind);
        match prepared {
            // Nothing was committed: whether the file still works shows when it is opened again.
            Err(error) => {
                answer_all(waiters, &error);
                Some(Undecided { waiters: Vec::new(), outcomes: Vec::new(), changed: nothing(), error })
            }
            Ok((txn, outcomes, changed)) => match txn.commit() {
                Ok(()) => {
                    crate::fault::point(kind);
                    self.publish(waiters, outcomes, &changed);
                    None
                }
                Err(error) => {
                    let error = LedgerError::storage("write the ledger", error.into());
                    Some(Undecided { waiters, outcomes, changed, error })
                }
            },
        }
    }

    fn prepare(&self, ops: Vec<Op>) -> Result<(redb::WriteTransaction, Vec<Outcome>, Changed), LedgerError> {
        let txn = self.view.begin_write(Durability::Immediate)?;
        let mut tables = Tables::open(&txn)?;
        let outcomes = ops.into_iter().map(|op| tables.apply(op, self.rules)).collect::<Result<Vec<_>, _>>()?;
        let changed = tables.finish()?;
        Ok((txn, outcomes, changed))
    }

    fn publish(&self, waiters: Vec<Waiter>, outcomes: Vec<Outcome>, changed: &Changed) {
        self.view.publish(changed);
        for (waiter, outcome) in waiters.into_iter().zip(outcomes) {
            waiter.answer(Ok(outcome));
        }
    }

    /// Opens the database again, and again, until it works; then it is known what became of the failed group. Whoever
    /// comes meanwhile gets the error at once.
    fn recover(&self, failed: Undecided, receiver: &mut mpsc::Receiver<Message>) {
        tracing::warn!(error = %failed.error, "the ledger could not be written; opening it again");
        let mut closing = false;
        let mut delay = REOPEN_DELAY;
        let group = loop {
            match self.view.reopen().and_then(|group| self.settle(group, &failed)) {
                Ok(group) => break Some(group),
                Err(error) => tracing::warn!(%error, "the ledger can't be opened yet"),
            }
            closing |= refuse_queued(receiver, &failed.error);
            if closing {
                break None;
            }
            thread::sleep(delay);
            delay = REOPEN_DELAY_MAX.min(delay * 2);
        };
        match group {
            Some(group) if group == failed.changed.group => self.publish(failed.waiters, failed.outcomes, &failed.changed),
            Some(_) => answer_all(failed.waiters, &failed.error),
            None => answer_all(failed.waiters, &LedgerError::Unknown),
        }
        if closing {
            receiver.close();
            refuse_rest(receiver, &LedgerError::Closed);
        }
    }

    /// A group that is in the file after all is made durable by a write behind it, before it is answered.
    fn settle(&self, group: u64, failed: &Undecided) -> Result<u64, LedgerError> {
        if group == failed.changed.group {
            let txn = self.view.begin_write(Durability::Immediate)?;
            txn.commit().map_err(|e| LedgerError::storage("write the ledger", e.into()))?;
        }
        Ok(group)
    }

    fn refuse_when_low(&self, group: Group) -> Group {
        let reason = match self.view.free_bytes() {
            Ok(free) if free >= self.reserve_bytes => return group,
            Ok(free) => format!("{free} bytes are free, {} are kept in reserve", self.reserve_bytes),
            // Not knowing is no reason to refuse: a full disk shows when it is written to.
            Err(_) => return group,
        };
        let (appends, others): (Group, Group) = group.into_iter().partition(|(op, _)| matches!(op, Op::Append(_)));
        let error = LedgerError::Full { what: "append", reason };
        answer_all(appends.into_iter().map(|(_, waiter)| waiter).collect(), &error);
        others
    }
}

/// A change that no group has: groups are counted from 1.
fn nothing() -> Changed {
    Changed { events: Vec::new(), next: 1, first: 1, group: 0 }
}

/// Waits for one operation, then takes what else is there. None when the ledger is closed.
fn next_group(receiver: &mut mpsc::Receiver<Message>) -> Option<Group> {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut message = receiver.blocking_recv();
    while let Some(Message::Job(job)) = message {
        bytes += job.bytes;
        group.push(job.split());
        if group.len() >= GROUP_OPS_MAX || bytes >= GROUP_BYTES_MAX {
            return Some(group);
        }
        message = receiver.try_recv().ok();
    }
    if let Some(Message::Close) = message {
        // What comes behind is refused; this group is still written.
        receiver.close();
        refuse_rest(receiver, &LedgerError::Closed);
    }
    (!group.is_empty()).then_some(group)
}

fn answer_all(waiters: Vec<Waiter>, error: &LedgerError) {
    for waiter in waiters {
        waiter.answer(Err(error.clone()));
    }
}

/// True when the ledger is to be closed.
fn refuse_queued(receiver: &mut mpsc::Receiver<Message>, error: &LedgerError) -> bool {
    loop {
        match receiver.try_recv() {
            Ok(Message::Job(job)) => job.split().1.answer(Err(error.clone())),
            Ok(Message::Close) | Err(mpsc::error::TryRecvError::Disconnected) => return true,
            Err(mpsc::error::TryRecvError::Empty) => return false,
        }
    }
}

fn refuse_rest(receiver: &mut mpsc::Receiver<Message>, error: &LedgerError) {
    while let Ok(message) = receiver.try_recv() {
        if let Message::Job(job) = message {
            job.split().1.answer(Err(error.clone()));
        }
    }
}

/// Where a test may stop the process: groups with a commit are told from those with appends alone.
fn fault_point(ops: &[Op]) -> &'static str {
    match ops.iter().any(|op| matches!(op, Op::Commit(_))) {
        true => "commit",
        false => "append",
    }
}
