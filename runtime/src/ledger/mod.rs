//! In: operations (appends, commits) and questions. Out: what became of them, durably.
//! Never: runs a function, knows HTTP, decides a retry.
//!
//! Log and state are one thing. Every change is an [`Op`], applied by one pure function (`tables.rs`) to one redb file, the
//! *view* (`view.rs`). What is durable first are the operations: `embedded` writes them to a journal beside the view,
//! `jetstream` to a stream of nats-server. They are applied from there, so that the view can always be brought up to date.
//! Whoever reads sees the view.

mod backup;
mod cleaner;
mod disk;
mod embedded;
mod error;
mod jetstream;
mod journal;
pub mod op;
mod queue;
mod record;
mod tables;
mod tail;
mod view;

pub use cleaner::{Clean, Cleaned, Cleaner};
pub use error::{ErrorKind, LedgerError};
pub use op::*;
pub use queue::Pending;

#[cfg(test)]
pub(crate) mod tests;

use crate::model::{AppId, Event, FunctionId, Micros, Seq, Tenant};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::watch;

/// Cheap to clone; all clones are one ledger. It closes with [`Ledger::close`] or with the last clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>, Option<Arc<dyn Log>>);

/// Events that a ledger shows in the place of its own log: see [`Ledger::over`].
pub trait Log: Send + Sync {
    /// The last sequence that can be read.
    fn head(&self) -> watch::Receiver<Seq>;
    /// The oldest sequence that can be read.
    fn first(&self) -> Seq;
    /// As [`Ledger::events`].
    fn events(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<Vec<Arc<Event>>, LedgerError>;
}

impl Log for Ledger {
    fn head(&self) -> watch::Receiver<Seq> {
        Ledger::head(self)
    }

    fn first(&self) -> Seq {
        Ledger::first(self)
    }

    fn events(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<Vec<Arc<Event>>, LedgerError> {
        Ledger::events(self, from, max_events, max_bytes)
    }
}

/// Of what was read of a log that had come to `head`: what functions may be told of, and up to where there is nothing else for them.
fn only_told(head: Seq, mut events: Vec<Arc<Event>>) -> (Vec<Arc<Event>>, Seq) {
    // With nothing found, all of it is gone from the log.
    let through = events.last().map_or(head, |last| last.seq);
    events.retain(|event| event.kind.is_told());
    (events, through)
}

struct Inner {
    view: Arc<view::View>,
    queue: Arc<queue::Queue>,
    writer: Mutex<Option<Writer>>,
    /// The log keeps what comes after it.
    relayed: Option<Arc<AtomicU64>>,
}

/// Who writes the view; none once the ledger is closed.
enum Writer {
    Embedded(thread::JoinHandle<()>),
    Jetstream(jetstream::Jetstream),
}

#[derive(Debug, Clone)]
pub enum LedgerConfig {
    /// A journal and a view under `dir`.
    Embedded { dir: PathBuf, options: LedgerOptions },
    /// A view under `dir` of what is in the nats-server at `url`.
    Jetstream { dir: PathBuf, url: String, options: LedgerOptions, jetstream: JetstreamOptions },
}

#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// How long a repeat of a [`Dedup`] key is recognised.
    pub dedup_window: Duration,
    /// Memory for pages of the view. An idle node holds next to none of it.
    pub cache_bytes: usize,
    /// Appends are refused when less is free on the disk, so that commits and trims still find room.
    pub disk_reserve_bytes: u64,
}

impl Default for LedgerOptions {
    fn default() -> LedgerOptions {
        LedgerOptions {
            dedup_window: Duration::from_secs(24 * 60 * 60),
            cache_bytes: 16 * 1024 * 1024,
            disk_reserve_bytes: 64 * 1024 * 1024,
        }
    }
}

#[derive(Debug, Clone)]
pub struct JetstreamOptions {
    /// Whose stream it is: a ledger in nats-server holds one tenant.
    pub tenant: Tenant,
    /// Copies of each stream in a cluster of servers.
    pub replicas: usize,
    /// Whether this node takes in what outsiders publish. On one node is enough; on two they take turns.
    pub intake: bool,
    /// Who cleans what is taken in; nothing is, until it was said. None: it goes into the log as it came.
    pub cleaner: Option<Cleaner>,
    /// Whether this node publishes events to outsiders. On one node is enough.
    pub relay: bool,
    /// Operations kept in the server, for nodes that were away: days of a busy node, weeks of a quiet one.
    pub operations_bytes_max: u64,
    /// What outsiders have published and no node has taken in yet; full, the server refuses more.
    pub intake_bytes_max: u64,
    /// What outsiders may still read of what happened.
    pub out_bytes_max: u64,
    /// How long the server recognises a repeated `Nats-Msg-Id` of an outsider; it holds the ids in memory.
    pub duplicate_window: Duration,
}

impl Default for JetstreamOptions {
    fn default() -> JetstreamOptions {
        const GIB: u64 = 1024 * 1024 * 1024;
        JetstreamOptions {
            tenant: crate::model::id::default_tenant(),
            replicas: 1,
            intake: true,
            cleaner: None,
            relay: true,
            operations_bytes_max: 8 * GIB,
            intake_bytes_max: GIB,
            out_bytes_max: GIB,
            duplicate_window: Duration::from_secs(10 * 60),
        }
    }
}

impl LedgerOptions {
    fn rules(&self) -> tables::Rules {
        let micros = i64::try_from(self.dedup_window.as_micros()).unwrap_or(i64::MAX);
        tables::Rules { dedup_window_micros: micros }
    }
}

impl Ledger {
    /// Opens the ledger, makes it if there is none, repairs it after a crash.
    pub async fn open(config: &LedgerConfig) -> Result<Ledger, LedgerError> {
        match config {
            LedgerConfig::Embedded { dir, options } => {
                let disk = disk::FileDisk::new(dir, options.cache_bytes)?;
                let options = options.clone();
                // A repair may read for seconds.
                let opened = tokio::task::spawn_blocking(move || Ledger::embedded(Arc::new(disk), &options)).await;
                opened.unwrap_or(Err(LedgerError::Unknown))
            }
            LedgerConfig::Jetstream { dir, url, options, jetstream } => {
                let disk = disk::FileDisk::new(dir, options.cache_bytes)?;
                Ledger::jetstream(Arc::new(disk), dir, url, options, jetstream).await
            }
        }
    }

    async fn jetstream(
        disk: Arc<dyn disk::Disk>,
        dir: &Path,
        url: &str,
        options: &LedgerOptions,
        jetstream: &JetstreamOptions,
    ) -> Result<Ledger, LedgerError> {
        let view = tokio::task::spawn_blocking(|| view::View::open(disk)).await.unwrap_or(Err(LedgerError::Unknown))?;
        let (queue, receiver) = queue::queue();
        let queue = Arc::new(queue);
        let opened = jetstream::open(view, dir, url, options, jetstream, queue.clone(), receiver).await?;
        let relayed = Some(opened.jetstream.relayed.clone());
        let writer = Mutex::new(Some(Writer::Jetstream(opened.jetstream)));
        Ok(Ledger(Arc::new(Inner { view: opened.view, queue, writer, relayed }), None))
    }

    fn embedded(disk: Arc<dyn disk::Disk>, options: &LedgerOptions) -> Result<Ledger, LedgerError> {
        let view = Arc::new(view::View::open(disk.clone())?);
        let (queue, receiver) = queue::queue();
        let writer = embedded::open(disk, view.clone(), options.rules(), options.disk_reserve_bytes, receiver)?;
        let writer = Mutex::new(Some(Writer::Embedded(writer)));
        Ok(Ledger(Arc::new(Inner { view, queue: Arc::new(queue), writer, relayed: None }), None))
    }

    /// This ledger with another log to read: whoever consumes that keeps position, state and what it makes in this one. What this one's own
    /// log has is read through `self`.
    pub fn over(&self, log: Arc<dyn Log>) -> Ledger {
        Ledger(self.0.clone(), Some(log))
    }

    /// Queues an operation at once; operations are applied in the order in which they were submitted. (Over NATS, appends that
    /// were not answered before the connection broke may change places.) Refused with [`LedgerError::Busy`] when the queue is full.
    pub fn submit(&self, op: Op) -> Pending {
        self.0.queue.submit(self.bounded(op))
    }

    /// Waits for room in the queue and for the outcome. Ok means durable and visible to every read.
    pub async fn apply(&self, op: Op) -> Result<Outcome, LedgerError> {
        self.0.queue.submit_when_room(self.bounded(op)).await.await
    }

    /// Waits for room in the queue, as [`Ledger::apply`] does, and not for the outcome.
    pub async fn submit_when_room(&self, op: Op) -> Pending {
        self.0.queue.submit_when_room(self.bounded(op)).await
    }

    fn bounded(&self, op: Op) -> Op {
        match op {
            Op::Trim { below } => Op::Trim { below: self.trimmable(below) },
            op => op,
        }
    }

    /// Whether other nodes may write it too.
    pub fn is_shared(&self) -> bool {
        self.0.relayed.is_some()
    }

    /// How far a trim below `below` may go at most: it takes nothing that outsiders have before them.
    pub fn trimmable(&self, below: Seq) -> Seq {
        self.0.relayed.as_ref().map_or(below, |relayed| below.min(relayed.load(Ordering::Acquire).saturating_add(1)))
    }

    /// One whose outsiders are told as `relayed` says.
    #[cfg(test)]
    pub(crate) fn with_relayed(mut self, relayed: Arc<AtomicU64>) -> Ledger {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.relayed = Some(relayed);
        }
        self
    }

    /// Refuses reads, as it does itself while its view is brought up to date after a write that failed.
    #[cfg(test)]
    pub(crate) fn hide(&self, hidden: bool) {
        self.0.view.hide(hidden);
    }

    /// Trims until nothing is left to trim below `below`; says what the oldest event is then.
    pub async fn trim(&self, below: Seq) -> Result<Seq, LedgerError> {
        loop {
            let before = self.first();
            self.apply(Op::Trim { below }).await?;
            if self.first() < before + TRIM_EVENTS_MAX {
                return Ok(self.first());
            }
        }
    }

    /// Whether operations can be made durable now, as far as is known: a server may have gone a moment ago.
    pub fn is_connected(&self) -> bool {
        match &*self.0.writer.lock() {
            Some(Writer::Jetstream(jetstream)) => *jetstream.connected.borrow(),
            Some(Writer::Embedded(_)) => true,
            None => false,
        }
    }

    /// The last sequence that is applied and visible; 0 in an empty log.
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.1.as_ref().map_or_else(|| self.0.view.head(), |log| log.head())
    }

    /// The last of those events that functions may be told of. A node writes as many others: a record of a call is for nobody who waits here.
    pub fn told(&self) -> watch::Receiver<Seq> {
        self.1.as_ref().map_or_else(|| self.0.view.told(), |log| log.head())
    }

    /// The oldest sequence that was not trimmed.
    pub fn first(&self) -> Seq {
        self.1.as_ref().map_or_else(|| self.0.view.first(), |log| log.first())
    }

    /// Events from `from` on, ascending; what was trimmed is left out. At least one, however large, if there is one.
    pub fn events(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<Vec<Arc<Event>>, LedgerError> {
        match &self.1 {
            Some(log) => log.events(from, max_events, max_bytes),
            None => self.0.view.events(from, max_events, max_bytes),
        }
    }

    /// [`Ledger::events`] that functions may be told of, and up to where there are no others.
    pub fn events_told(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<(Vec<Arc<Event>>, Seq), LedgerError> {
        let Some(log) = &self.1 else { return self.0.view.events_told(from, max_events, max_bytes) };
        let head = *log.head().borrow();
        Ok(only_told(head, log.events(from, max_events, max_bytes)?))
    }

    pub fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, LedgerError> {
        Ok(self.events(seq, 1, usize::MAX)?.pop().filter(|event| event.seq == seq))
    }

    pub fn version(&self, app: &AppId) -> Result<Version, LedgerError> {
        self.0.view.version(app)
    }

    pub fn state(&self, app: &AppId, key: &str) -> Result<Option<Bytes>, LedgerError> {
        self.0.view.state(app, key)
    }

    /// Entries whose key begins with `prefix`, ascending by the bytes of the key, those up to `after` left out.
    pub fn state_entries(&self, app: &AppId, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Bytes)>, LedgerError> {
        self.0.view.state_entries(app, prefix, after, limit)
    }

    /// None for a consumer that is not registered.
    pub fn position(&self, function: &FunctionId) -> Result<Option<Position>, LedgerError> {
        self.0.view.position(function)
    }

    pub fn functions(&self) -> Result<Vec<(FunctionId, Position)>, LedgerError> {
        self.0.view.functions()
    }

    /// Whether a consumer is paused, and since when.
    pub fn pause(&self, function: &FunctionId) -> Result<Option<Paused>, LedgerError> {
        self.0.view.pause(function)
    }

    pub fn paused(&self) -> Result<Vec<(FunctionId, Paused)>, LedgerError> {
        self.0.view.paused()
    }

    /// What functions lost while they were paused and nobody has taken note of, each function's in order.
    pub fn lost(&self, app: Option<&AppId>) -> Result<Vec<(FunctionId, Lost)>, LedgerError> {
        self.0.view.lost(app)
    }

    /// Bytes of the events from `from` on and before `end`, as they lie in the log. Events that an earlier Tawi has logged count nothing.
    pub fn log_bytes(&self, from: Seq, end: Seq) -> Result<u64, LedgerError> {
        self.0.view.log_bytes(from, end)
    }

    /// Where the log would have to begin for its events before `below` to take no more than `bytes_max`.
    pub fn reaches_back(&self, below: Seq, bytes_max: u64) -> Result<Seq, LedgerError> {
        self.0.view.reaches_back(below, bytes_max)
    }

    /// All that wait for a consumer, ascending by sequence.
    pub fn parked(&self, function: &FunctionId) -> Result<Vec<Parked>, LedgerError> {
        self.0.view.parked(function)
    }

    /// Those that wait for a consumer behind the sequence `after`, ascending, at most so many.
    pub fn parked_after(&self, function: &FunctionId, after: Seq, limit: usize) -> Result<Vec<Parked>, LedgerError> {
        self.0.view.parked_after(function, after, limit)
    }

    /// Whether a commit of the app with this [`Dedup`] key would be a repeat at `now`.
    pub fn is_repeat(&self, app: &AppId, key: &str, now: Micros) -> Result<bool, LedgerError> {
        self.0.view.is_repeat(app, key, now)
    }

    /// Dead letters by app, function and sequence, those up to `after` left out.
    pub fn dead(&self, app: Option<&AppId>, after: Option<&(FunctionId, Seq)>, limit: usize) -> Result<Vec<DeadLetter>, LedgerError> {
        self.0.view.dead(app, after, limit)
    }

    pub fn dead_letter(&self, function: &FunctionId, seq: Seq) -> Result<Option<DeadLetter>, LedgerError> {
        self.0.view.dead_letter(function, seq)
    }

    pub fn dead_count(&self) -> Result<u64, LedgerError> {
        self.0.view.dead_count()
    }

    /// Where the intake log `source` was read up to, as applied.
    pub fn intake(&self, source: &str) -> Result<u64, LedgerError> {
        self.0.view.intake(source)
    }

    /// A consistent copy of this moment's view in a new file, while the ledger goes on. A ledger's directory with the
    /// copy in it under [`Ledger::FILE`] opens as that ledger. Blocks; takes about as long as writing the file does.
    pub fn backup(&self, to: &Path) -> Result<(), LedgerError> {
        backup::backup(&self.0.view, to)
    }

    /// The name of the view's file in the ledger's directory.
    pub const FILE: &str = disk::FILE;

    /// Free bytes where it lies.
    pub fn free_bytes(&self) -> Result<u64, LedgerError> {
        self.0.view.free_bytes()
    }

    /// Finishes what was submitted, then closes; whoever submits later is refused.
    pub async fn close(&self) {
        self.0.queue.close();
        let writer = self.0.writer.lock().take();
        match writer {
            // A writer that panicked has closed nothing; its waiters were told.
            Some(Writer::Embedded(writer)) => drop(tokio::task::spawn_blocking(move || writer.join()).await),
            Some(Writer::Jetstream(jetstream)) => jetstream.close().await,
            None => {}
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        // So that the file is free when the last clone is gone.
        if let Some(Writer::Embedded(writer)) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}
