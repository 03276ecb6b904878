//! The embedded ledger: a writer thread makes what is queued durable in the journal, a group with one sync; an applier
//! thread brings it into the view, and answers. While one group is applied, the next is written.

use super::{
    LedgerError, Op, Outcome,
    disk::Disk,
    journal::{self, Group, Journal, Refused},
    queue::{Message, Waiter},
    tables::{self, Changed, Rules, Tables},
    view::View,
};
use parking_lot::Mutex;
use redb::Durability;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as std_mpsc,
    },
    thread,
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Operations of one group: what is over waits for the next sync, a fraction of a millisecond.
const GROUP_OPS_MAX: usize = 1_024;
/// Bytes of one group, for the same reason.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Groups that are durable and wait to be applied. The queue counts their bytes until they are answered.
const GROUPS_AHEAD_MAX: usize = 64;
/// Bytes of the journal between two times that the view is made durable: what is applied again after a crash, in about a
/// second. Tests come by here often.
const CHECKPOINT_BYTES: usize = if cfg!(test) { 6 * 1024 } else { 16 * 1024 * 1024 };
/// Without work the view is made durable after this, so that a start after a quiet time has nothing to apply.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(5);
/// After a failure the next try waits so long: each costs that the view is opened and brought up to date again.
const CHECKPOINT_RETRY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 10_000 });
/// Between two tries to go on after a failed write: the first, and the longest after doubling.
const RETRY_DELAY: Duration = Duration::from_millis(1);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(256);

/// Opens the journal, applies what the view does not have, and starts the two threads. The one that is returned ends last.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    view: Arc<View>,
    rules: Rules,
    reserve_bytes: u64,
    receiver: mpsc::Receiver<Message>,
) -> Result<thread::JoinHandle<()>, LedgerError> {
    let (writer, applier) = prepare(disk, view, rules, reserve_bytes)?;
    let applier = spawn("ledger-applier", move || applier.run())?;
    spawn("ledger-writer", move || {
        writer.run(receiver);
        // One that panicked has dropped its waiters, which tells them.
        let _ = applier.join();
    })
}

/// Opens the journal and applies what the view does not have; what it returns does nothing until it is given its turns.
pub(super) fn prepare(disk: Arc<dyn Disk>, view: Arc<View>, rules: Rules, reserve_bytes: u64) -> Result<(Writer, Applier), LedgerError> {
    catch_up(&*disk, &view)?;
    let taken = view.group()?;
    let journal = Journal::begin(disk.clone(), taken + 1)?;
    let closing = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared { disk, view, log: Mutex::new(Log { journal, failing: None }), closing });
    let (sender, written) = std_mpsc::sync_channel(GROUPS_AHEAD_MAX);
    let applier = Applier { shared: shared.clone(), written, taken, rules, dirty_bytes: 0, not_before: None };
    Ok((Writer { shared, rules, reserve_bytes, sender }, applier))
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, LedgerError> {
    let named = thread::Builder::new().name(name.to_owned());
    named.spawn(run).map_err(|e| LedgerError::file("start the thread", name.as_ref(), e))
}

/// Brings the view to the end of the journal, and makes it durable.
fn catch_up(disk: &dyn Disk, view: &View) -> Result<(), LedgerError> {
    let from = view.group()? + 1;
    let mut stepper = Stepper { view, groups: Vec::new(), bytes: 0 };
    journal::redo(disk, from, u64::MAX, |number, group| stepper.add(number, group, View::publish))?;
    stepper.step(View::publish)?;
    if view.group()? >= from {
        tracing::info!(groups = view.group()? + 1 - from, "applied what the journal had and the ledger's file had not");
        write(view, Vec::new(), Durability::Immediate)?;
    }
    Ok(())
}

/// Collects groups of the journal into steps of the view.
struct Stepper<'v> {
    view: &'v View,
    groups: Vec<(u64, Group)>,
    bytes: usize,
}

impl Stepper<'_> {
    fn add(&mut self, number: u64, group: Group, done: impl FnOnce(&View, &Changed)) -> Result<(), LedgerError> {
        self.bytes += group.ops.iter().map(Op::size_bytes).sum::<usize>();
        self.groups.push((number, group));
        if self.bytes >= GROUP_BYTES_MAX { self.step(done) } else { Ok(()) }
    }

    fn step(&mut self, done: impl FnOnce(&View, &Changed)) -> Result<(), LedgerError> {
        self.bytes = 0;
        let step = write(self.view, std::mem::take(&mut self.groups), Durability::None)?;
        done(self.view, &step.changed);
        Ok(())
    }
}

/// What applying some groups in one step came to.
struct Step {
    /// The last group.
    through: u64,
    /// Of each operation, by group.
    outcomes: Vec<Vec<Outcome>>,
    changed: Changed,
}

/// One step of the view: these groups, all or none.
fn write(view: &View, groups: Vec<(u64, Group)>, durability: Durability) -> Result<Step, LedgerError> {
    let (txn, step) = stage(view, groups, durability)?;
    txn.commit().map_err(|e| LedgerError::storage("write the ledger", e.into()))?;
    Ok(step)
}

fn stage(view: &View, groups: Vec<(u64, Group)>, durability: Durability) -> Result<(redb::WriteTransaction, Step), LedgerError> {
    let txn = view.begin_write(durability)?;
    let mut tables = Tables::open(&txn)?;
    let mut outcomes = Vec::with_capacity(groups.len());
    let mut through = 0;
    for (number, Group { rules, ops }) in groups {
        outcomes.push(ops.into_iter().map(|op| tables.apply(op, rules)).collect::<Result<Vec<_>, _>>()?);
        tables.set_meta(tables::GROUP, number)?;
        through = number;
    }
    let changed = tables.finish()?;
    Ok((txn, Step { through, outcomes, changed }))
}

struct Shared {
    disk: Arc<dyn Disk>,
    view: Arc<View>,
    log: Mutex<Log>,
    closing: Arc<AtomicBool>,
}

struct Log {
    journal: Journal,
    /// The view can't be written: nothing is added to the journal meanwhile.
    failing: Option<LedgerError>,
}

/// A group that is durable.
struct Written {
    number: u64,
    ops: Vec<Op>,
    waiters: Vec<Waiter>,
    bytes: usize,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    rules: Rules,
    /// Appends are refused when less is free: room for commits, which let the node finish what it has, and for trimming.
    reserve_bytes: u64,
    sender: std_mpsc::SyncSender<Written>,
}

impl Writer {
    fn run(self, mut receiver: mpsc::Receiver<Message>) {
        loop {
            let first = receiver.blocking_recv();
            if !self.turn(first, &mut receiver) {
                break;
            }
        }
        self.shared.closing.store(true, Ordering::Release);
        refuse_rest(&mut receiver, &LedgerError::Closed);
    }

    /// Writes this and what else is queued as one group. False when the ledger is closed.
    pub(super) fn turn(&self, first: Option<Message>, receiver: &mut mpsc::Receiver<Message>) -> bool {
        let Some(group) = next_group(first, receiver) else { return false };
        let group = self.refuse_when_low(group);
        if !group.is_empty() {
            self.write(group, receiver);
        }
        true
    }

    /// Set, it ends what would be tried again until it works.
    #[cfg(test)]
    pub(super) fn closing(&self) -> Arc<AtomicBool> {
        self.shared.closing.clone()
    }

    fn write(&self, group: Vec<(Op, Waiter)>, receiver: &mut mpsc::Receiver<Message>) {
        let (ops, waiters): (Vec<Op>, Vec<Waiter>) = group.into_iter().unzip();
        let kind = fault_point(&ops);
        crate::fault::point(kind);
        match self.append(&ops) {
            Ok(number) => {
                crate::fault::point(kind);
                let bytes = ops.iter().map(Op::size_bytes).sum();
                // Refused only when the applier has panicked; dropping the waiters tells them.
                let _ = self.sender.send(Written { number, ops, waiters, bytes });
            }
            Err(Refused::Clean(error)) => answer_all(waiters, &error),
            Err(Refused::Doubtful(error)) => self.take_back(waiters, &error, receiver),
        }
    }

    fn append(&self, ops: &[Op]) -> Result<u64, Refused> {
        let mut log = self.shared.log.lock();
        match &log.failing {
            Some(error) => Err(Refused::Clean(error.clone())),
            None => log.journal.append(self.rules, ops),
        }
    }

    /// Tells those whose group was not synced that it doesn't count, once that is certain. Whoever comes meanwhile gets the
    /// error at once.
    fn take_back(&self, waiters: Vec<Waiter>, error: &LedgerError, receiver: &mut mpsc::Receiver<Message>) {
        tracing::warn!(%error, "the journal could not be written; going on in another segment");
        let mut delay = RETRY_DELAY;
        loop {
            let mut log = self.shared.log.lock();
            let next = log.journal.next();
            match log.journal.void(next) {
                Ok(()) => return answer_all(waiters, error),
                Err(again) => tracing::warn!(error = %again, "the journal can't go on yet"),
            }
            drop(log);
            if refuse_queued(receiver, error) {
                receiver.close();
                return answer_all(waiters, &LedgerError::Unknown);
            }
            self.shared.disk.wait(delay);
            delay = RETRY_DELAY_MAX.min(delay * 2);
        }
    }

    fn refuse_when_low(&self, group: Vec<(Op, Waiter)>) -> Vec<(Op, Waiter)> {
        let reason = match self.shared.view.free_bytes() {
            Ok(free) if free >= self.reserve_bytes => return group,
            Ok(free) => format!("{free} bytes are free, {} are kept in reserve", self.reserve_bytes),
            // Not knowing is no reason to refuse: a full disk shows when it is written to.
            Err(_) => return group,
        };
        let (appends, others): (Vec<_>, Vec<_>) = group.into_iter().partition(|(op, _)| op.is_intake());
        let error = LedgerError::Full { what: "append", reason };
        answer_all(appends.into_iter().map(|(_, waiter)| waiter).collect(), &error);
        others
    }
}

pub(super) struct Applier {
    shared: Arc<Shared>,
    written: std_mpsc::Receiver<Written>,
    /// The last group that it has from the writer.
    taken: u64,
    rules: Rules,
    /// Of the journal, since the view was last durable.
    dirty_bytes: usize,
    /// A checkpoint has failed: when to try the next.
    not_before: Option<Instant>,
}

/// A group that waits for its outcomes.
type Waiting = (u64, Vec<Waiter>);

impl Applier {
    fn run(mut self) {
        loop {
            let first = match self.dirty_bytes {
                0 => self.written.recv().map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
                _ => self.written.recv_timeout(CHECKPOINT_IDLE),
            };
            match first {
                Ok(first) => self.apply(first),
                Err(std_mpsc::RecvTimeoutError::Timeout) => self.rest(),
                Err(std_mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.dirty_bytes > 0
            && let Err(error) = write(&self.shared.view, Vec::new(), Durability::Immediate)
        {
            tracing::warn!(%error, "the ledger's file is not quite up to date; the journal has the rest");
        }
        self.shared.view.close();
    }

    /// Applies what is written and waits, if something does.
    #[cfg(test)]
    pub(super) fn turn(&mut self) {
        if let Ok(first) = self.written.try_recv() {
            self.apply(first);
        }
    }

    /// Nothing was written for a while.
    pub(super) fn rest(&mut self) {
        if self.dirty_bytes > 0 && self.may_checkpoint() {
            self.step(Vec::new(), Durability::Immediate);
        }
    }

    /// Takes what else is there, and applies it in one step.
    fn apply(&mut self, first: Written) {
        let mut bytes = first.bytes;
        let mut groups = vec![first];
        while bytes < GROUP_BYTES_MAX
            && let Ok(next) = self.written.try_recv()
        {
            bytes += next.bytes;
            groups.push(next);
        }
        self.taken = groups.last().map_or(self.taken, |last| last.number);
        self.dirty_bytes += bytes;
        let due = self.dirty_bytes >= CHECKPOINT_BYTES && self.may_checkpoint();
        self.step(groups, if due { Durability::Immediate } else { Durability::None });
    }

    fn step(&mut self, groups: Vec<Written>, durability: Durability) {
        let rules = self.rules;
        let (waiting, groups): (Vec<Waiting>, Vec<_>) =
            groups.into_iter().map(|w| ((w.number, w.waiters), (w.number, Group { rules, ops: w.ops }))).unzip();
        let (error, prepared) = match stage(&self.shared.view, groups, durability) {
            Ok((txn, step)) => match txn.commit() {
                Ok(()) => {
                    self.shared.view.publish(&step.changed);
                    answer(waiting, step.outcomes);
                    if matches!(durability, Durability::Immediate) {
                        self.checkpointed();
                    }
                    return;
                }
                Err(error) => (LedgerError::storage("write the ledger", error.into()), Some(step)),
            },
            Err(error) => (error, None),
        };
        self.not_before = matches!(durability, Durability::Immediate).then(|| Instant::now() + CHECKPOINT_RETRY);
        self.recover(waiting, error, prepared);
    }

    fn may_checkpoint(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    fn checkpointed(&mut self) {
        self.dirty_bytes = 0;
        self.not_before = None;
        crate::fault::point("checkpoint");
        match self.shared.view.group() {
            Ok(group) => self.shared.log.lock().journal.checkpoint(group),
            Err(error) => tracing::warn!(%error, "the journal grows on: the ledger's file does not say how far it is"),
        }
    }

    /// Opens the view again and applies again what the journal has behind it, until that works. The groups that wait are
    /// tried once more with the rest; if that fails they are taken back, and told so. `failed` is the step that could not be
    /// committed, which may be in the file all the same.
    fn recover(&mut self, mut waiting: Vec<Waiting>, error: LedgerError, mut failed: Option<Step>) {
        tracing::warn!(%error, "the ledger's file could not be written; opening it again");
        self.shared.view.hide(true);
        let next = {
            let mut log = self.shared.log.lock();
            log.failing = Some(error.clone());
            log.journal.next()
        };
        // The writer adds nothing from here on, and sends what it had added.
        while self.taken + 1 < next
            && let Ok(written) = self.written.recv()
        {
            self.taken = written.number;
            waiting.push((written.number, written.waiters));
        }
        let mut told: Vec<(Waiter, Result<Outcome, LedgerError>)> = Vec::new();
        let mut delay = RETRY_DELAY;
        loop {
            match self.reopen(&mut waiting, &mut failed, &mut told) {
                Ok(()) => {
                    self.shared.view.hide(false);
                    self.shared.log.lock().failing = None;
                    return told.into_iter().for_each(|(waiter, answer)| waiter.answer(answer));
                }
                Err(error) => tracing::warn!(%error, "the ledger's file can't be brought up to date yet"),
            }
            // Not at once: most likely the file can be read again the next time, and whoever is told may want to.
            told.drain(..).for_each(|(waiter, answer)| waiter.answer(answer));
            // As long as nobody knows whether the failed step is in the file, nothing of it can be taken back.
            if let (Some((from, _)), None) = (waiting.first(), &failed) {
                let from = *from;
                match self.shared.log.lock().journal.void(from) {
                    Ok(()) => {
                        self.taken = from - 1;
                        let refused = waiting.drain(..).flat_map(|(_, waiters)| waiters);
                        told.extend(refused.map(|waiter| (waiter, Err(error.clone()))));
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, "the journal can't go on yet"),
                }
            }
            if self.shared.closing.load(Ordering::Acquire) {
                return waiting.into_iter().for_each(|(_, waiters)| answer_all(waiters, &LedgerError::Unknown));
            }
            self.shared.disk.wait(delay);
            delay = RETRY_DELAY_MAX.min(delay * 2);
        }
    }

    /// Readers have seen everything before the groups that wait, so that only these are news.
    fn reopen(
        &mut self,
        waiting: &mut Vec<Waiting>,
        failed: &mut Option<Step>,
        told: &mut Vec<(Waiter, Result<Outcome, LedgerError>)>,
    ) -> Result<(), LedgerError> {
        let Shared { view, disk, .. } = &*self.shared;
        view.reopen()?;
        let group = view.group()?;
        if let Some(step) = failed.take().filter(|step| step.through > 0 && step.through == group) {
            view.publish(&step.changed);
            told.extend(told_of(waiting.drain(..step.outcomes.len()), step.outcomes));
        }
        let from = waiting.first().map_or_else(|| self.shared.log.lock().journal.next(), |(number, _)| *number);
        let mut old = Stepper { view, groups: Vec::new(), bytes: 0 };
        journal::redo(&**disk, group + 1, from, |number, group| old.add(number, group, |_, _| {}))?;
        old.step(|_, _| {})?;
        let mut news = Vec::new();
        journal::redo(&**disk, from, from + waiting.len() as u64, |number, group| {
            news.push((number, group));
            Ok(())
        })?;
        let step = write(view, news, Durability::None)?;
        view.publish(&step.changed);
        told.extend(told_of(waiting.drain(..), step.outcomes));
        Ok(())
    }
}

fn told_of(
    waiting: impl Iterator<Item = Waiting>,
    outcomes: Vec<Vec<Outcome>>,
) -> impl Iterator<Item = (Waiter, Result<Outcome, LedgerError>)> {
    waiting.zip(outcomes).flat_map(|((_, waiters), outcomes)| waiters.into_iter().zip(outcomes.into_iter().map(Ok)))
}

fn answer(waiting: Vec<Waiting>, outcomes: Vec<Vec<Outcome>>) {
    told_of(waiting.into_iter(), outcomes).for_each(|(waiter, answer)| waiter.answer(answer));
}

/// The first message and what else is there. None when the ledger is closed.
fn next_group(first: Option<Message>, receiver: &mut mpsc::Receiver<Message>) -> Option<Vec<(Op, Waiter)>> {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut message = first;
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
    match ops.iter().any(|op| matches!(op, Op::Commit(_) | Op::Guarded(_))) {
        true => "commit",
        false => "append",
    }
}
