//! The view: everything that can be asked of a ledger, in one redb file, with the tail of the log in memory.

use super::{
    DeadLetter, LedgerError, Lost, Parked, Paused, Position, Version,
    disk::Disk,
    only_told, record,
    tables::{self, Changed, Tables, lag},
    tail::Tail,
};
use crate::model::{AppId, Event, FunctionId, Micros, NewEvent, Seq};
use bytes::Bytes;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTableMetadata, WriteTransaction};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

pub(super) struct View {
    disk: Arc<dyn Disk>,
    /// None once closed, and while it is opened again after a failed write. Only these two take the write lock: redb
    /// refuses a second opening while the first is alive, so readers have to be kept out in between.
    database: RwLock<Option<Database>>,
    closed: AtomicBool,
    /// Reads are refused for a while.
    hidden: AtomicBool,
    tail: Tail,
    head: Shown,
    /// The last event that functions may be told of.
    told: Shown,
    first: AtomicU64,
}

/// How far the log goes, for whoever waits for more.
struct Shown {
    last: watch::Sender<Seq>,
    /// One for each who follows: a watch wakes those who wait for it in an order of its own, which no seed decides.
    #[cfg(test)]
    each: Option<parking_lot::Mutex<Vec<watch::Sender<Seq>>>>,
}

impl Shown {
    fn new(last: Seq) -> Shown {
        Shown {
            last: watch::channel(last).0,
            #[cfg(test)]
            each: None,
        }
    }

    fn now(&self) -> Seq {
        *self.last.borrow()
    }

    fn move_to(&self, seq: Seq) {
        self.last.send_if_modified(|last| {
            let moved = seq > *last;
            *last = seq.max(*last);
            moved
        });
        #[cfg(test)]
        if let Some(each) = &self.each {
            let now = self.now();
            each.lock().iter().for_each(|one| _ = one.send_if_modified(|last| std::mem::replace(last, now) != now));
        }
    }

    fn subscribe(&self) -> watch::Receiver<Seq> {
        #[cfg(test)]
        if let Some(each) = &self.each {
            let (sender, receiver) = watch::channel(self.now());
            let mut each = each.lock();
            each.retain(|one| !one.is_closed());
            each.push(sender);
            return receiver;
        }
        self.last.subscribe()
    }
}

type Sizes = redb::ReadOnlyTable<u64, u64>;
type Log = redb::ReadOnlyTable<u64, &'static [u8]>;
type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn failed<E: Into<redb::Error>>(error: E) -> LedgerError {
    LedgerError::storage("read the ledger", error.into())
}

impl View {
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<View, LedgerError> {
        let database = disk.open()?;
        let changed = prepare(&database)?;
        Ok(View {
            disk,
            database: RwLock::new(Some(database)),
            closed: AtomicBool::new(false),
            hidden: AtomicBool::new(false),
            tail: Tail::default(),
            head: Shown::new(changed.next - 1),
            told: Shown::new(changed.next - 1),
            first: AtomicU64::new(changed.first),
        })
    }

    /// Lets go of the database and opens it again, as redb demands after an I/O error: it is as it was last made durable.
    pub(super) fn reopen(&self) -> Result<(), LedgerError> {
        let mut place = self.database.write();
        if self.closed.load(Ordering::Acquire) {
            return Err(LedgerError::Closed);
        }
        // Dropped before the other is opened: the file is locked by whoever has it open.
        drop(place.take());
        *place = Some(self.disk.open()?);
        Ok(())
    }

    /// Drops the database, so that its file can be opened by another; every read fails from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.database.write().take());
    }

    /// Passes the time until something that has failed is tried again.
    pub(super) fn wait(&self, time: Duration) {
        self.disk.wait(time);
    }

    pub(super) fn free_bytes(&self) -> Result<u64, LedgerError> {
        self.disk.free_bytes()
    }

    pub(super) fn begin_write(&self, durability: Durability) -> Result<WriteTransaction, LedgerError> {
        let database = self.database()?;
        let mut txn = database.begin_write().map_err(|e| LedgerError::storage("begin to write", e.into()))?;
        txn.set_durability(durability).map_err(|e| LedgerError::storage("begin to write", e.into()))?;
        // Without it, opening after a crash reads the whole file; `docs/formats/ledger.md` has what it costs.
        txn.set_quick_repair(matches!(durability, Durability::Immediate));
        Ok(txn)
    }

    /// Shows what was committed to whoever follows.
    pub(super) fn publish(&self, changed: &Changed) {
        self.tail.push(&changed.events);
        self.first.fetch_max(changed.first, Ordering::AcqRel);
        self.head.move_to(changed.next - 1);
        if let Some(told) = changed.events.iter().rfind(|event| event.kind.is_told()) {
            self.told.move_to(told.seq);
        }
    }

    /// A view whose followers are woken in the order in which they came.
    #[cfg(test)]
    pub(super) fn in_order(mut self) -> View {
        (self.head.each, self.told.each) = (Some(Default::default()), Some(Default::default()));
        self
    }

    /// Refuses reads while the view is made up to where readers have seen it already.
    pub(super) fn hide(&self, hidden: bool) {
        self.hidden.store(hidden, Ordering::Release);
    }

    pub(super) fn head(&self) -> watch::Receiver<Seq> {
        self.head.subscribe()
    }

    pub(super) fn told(&self) -> watch::Receiver<Seq> {
        self.told.subscribe()
    }

    pub(super) fn first(&self) -> Seq {
        self.first.load(Ordering::Acquire)
    }

    fn database(&self) -> Result<MappedRwLockReadGuard<'_, Database>, LedgerError> {
        RwLockReadGuard::try_map(self.database.read(), Option::as_ref).map_err(|_| match self.closed.load(Ordering::Acquire) {
            true => LedgerError::Closed,
            false => LedgerError::Unavailable("it is being opened again after a failed write".to_owned()),
        })
    }

    pub(super) fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        if self.hidden.load(Ordering::Acquire) {
            return Err(LedgerError::Unavailable("it is being brought up to date after a failed write".to_owned()));
        }
        self.read_anyway(ask)
    }

    fn read_anyway<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let database = self.database()?;
        ask(&database.begin_read().map_err(failed)?)
    }

    /// The last message of the operations' stream that was applied.
    pub(super) fn applied(&self) -> Result<u64, LedgerError> {
        self.read_anyway(|txn| meta(txn, tables::STREAM))
    }

    /// The last group of the journal that was applied.
    pub(super) fn group(&self) -> Result<u64, LedgerError> {
        self.read_anyway(|txn| meta(txn, tables::GROUP))
    }

    /// Binds the view to the stream that was made at this time; says which one it is bound to.
    pub(super) fn bind(&self, made: u64) -> Result<u64, LedgerError> {
        let bound = self.read(|txn| meta(txn, tables::STREAM_MADE))?;
        if bound != 0 {
            return Ok(bound);
        }
        let txn = self.begin_write(Durability::Immediate)?;
        let mut tables = Tables::open(&txn)?;
        tables.set_meta(tables::STREAM_MADE, made)?;
        tables.finish()?;
        txn.commit().map_err(|e| LedgerError::storage("write the view", e.into()))?;
        Ok(made)
    }

    pub(super) fn intake(&self, source: &str) -> Result<u64, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::INTAKE).map_err(failed)?;
            Ok(table.get(source).map_err(failed)?.map_or(0, |n| n.value()))
        })
    }

    /// Incarnation and number of a node's last batch.
    pub(super) fn batch(&self, node: &str) -> Result<(u64, u64), LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::BATCHES).map_err(failed)?;
            Ok(table.get(node).map_err(failed)?.map_or((0, 0), |n| n.value()))
        })
    }

    /// The last message on a subject of the operations' stream.
    pub(super) fn fence(&self, subject: &str) -> Result<u64, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::FENCES).map_err(failed)?;
            Ok(table.get(subject).map_err(failed)?.map_or(0, |n| n.value()))
        })
    }

    pub(super) fn events(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<Vec<Arc<Event>>, LedgerError> {
        if from > self.head.now() {
            return Ok(Vec::new());
        }
        // The tail still holds what was trimmed lately.
        let from = from.max(self.first());
        if let Some(found) = self.tail.read(from, max_events, max_bytes) {
            return Ok(found);
        }
        self.read(|txn| {
            let table = txn.open_table(tables::LOG).map_err(failed)?;
            let mut found: Vec<Arc<Event>> = Vec::new();
            let mut bytes = 0;
            for entry in table.range(from..).map_err(failed)?.take(max_events) {
                let (seq, body) = entry.map_err(failed)?;
                let event = Event { seq: seq.value(), body: record::decode::<NewEvent>("an event", body.value())? };
                bytes += event.size_bytes();
                if bytes > max_bytes && !found.is_empty() {
                    break;
                }
                found.push(Arc::new(event));
            }
            Ok(found)
        })
    }

    /// Those that functions may be told of, and up to where there are no others.
    pub(super) fn events_told(&self, from: Seq, max_events: usize, max_bytes: usize) -> Result<(Vec<Arc<Event>>, Seq), LedgerError> {
        let head = self.head.now();
        if let Some(found) = self.tail.read_told(from.max(self.first()), max_events, max_bytes) {
            return Ok(found);
        }
        Ok(only_told(head, self.events(from, max_events, max_bytes)?))
    }

    pub(super) fn version(&self, app: &AppId) -> Result<Version, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::VERSIONS).map_err(failed)?;
            Ok(table.get(record::app_key(app).as_slice()).map_err(failed)?.map_or(0, |v| v.value()))
        })
    }

    pub(super) fn state(&self, app: &AppId, key: &str) -> Result<Option<Bytes>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::STATE).map_err(failed)?;
            let found = table.get(record::state_key(app, key).as_slice()).map_err(failed)?;
            Ok(found.map(|bytes| Bytes::copy_from_slice(bytes.value())))
        })
    }

    pub(super) fn state_entries(
        &self,
        app: &AppId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, LedgerError> {
        let skip = record::app_key(app).len();
        let prefix = record::state_key(app, prefix);
        let after = after.map(|key| record::state_key(app, key)).filter(|after| *after >= prefix);
        self.read(|txn| {
            let table = txn.open_table(tables::STATE).map_err(failed)?;
            rows_after(&table, &prefix, after.as_deref(), limit, |key, value| {
                let key = std::str::from_utf8(&key[skip..]).map_err(|e| LedgerError::Format(format!("a key of the state: {e}")))?;
                Ok((key.to_owned(), Bytes::copy_from_slice(value)))
            })
        })
    }

    pub(super) fn position(&self, function: &FunctionId) -> Result<Option<Position>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::CONSUMERS).map_err(failed)?;
            let found = table.get(record::function_key(function).as_slice()).map_err(failed)?;
            found.map(|bytes| record::decode("a consumer's position", bytes.value())).transpose()
        })
    }

    pub(super) fn functions(&self) -> Result<Vec<(FunctionId, Position)>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::CONSUMERS).map_err(failed)?;
            rows_after(&table, &[], None, usize::MAX, |key, value| {
                Ok((record::function_of(key)?, record::decode("a consumer's position", value)?))
            })
        })
    }

    pub(super) fn pause(&self, function: &FunctionId) -> Result<Option<Paused>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(lag::PAUSED).map_err(failed)?;
            let found = table.get(record::function_key(function).as_slice()).map_err(failed)?;
            found.map(|bytes| record::decode("a pause", bytes.value())).transpose()
        })
    }

    pub(super) fn paused(&self) -> Result<Vec<(FunctionId, Paused)>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(lag::PAUSED).map_err(failed)?;
            let row = |key: &[u8], value: &[u8]| Ok((record::function_of(key)?, record::decode("a pause", value)?));
            rows_after(&table, &[], None, usize::MAX, row)
        })
    }

    pub(super) fn lost(&self, app: Option<&AppId>) -> Result<Vec<(FunctionId, Lost)>, LedgerError> {
        let prefix = app.map(record::app_key).unwrap_or_default();
        self.read(|txn| {
            let table = txn.open_table(lag::LOST).map_err(failed)?;
            let row = |key: &[u8], value: &[u8]| Ok((record::function_of(key)?, record::decode("a lost range", value)?));
            rows_after(&table, &prefix, None, usize::MAX, row)
        })
    }

    pub(super) fn log_bytes(&self, from: Seq, end: Seq) -> Result<u64, LedgerError> {
        self.sizes(|sizes, log| Ok(lag::bytes_before(sizes, log, end)?.saturating_sub(lag::bytes_before(sizes, log, from)?)))
    }

    pub(super) fn reaches_back(&self, below: Seq, bytes_max: u64) -> Result<Seq, LedgerError> {
        let first = self.first();
        self.sizes(|sizes, log| lag::reaches_back(sizes, log, first, below, bytes_max))
    }

    fn sizes<T>(&self, ask: impl FnOnce(&Sizes, &Log) -> Result<T, redb::StorageError>) -> Result<T, LedgerError> {
        self.read(|txn| {
            let (sizes, log) = (txn.open_table(lag::SIZES).map_err(failed)?, txn.open_table(tables::LOG).map_err(failed)?);
            ask(&sizes, &log).map_err(failed)
        })
    }

    pub(super) fn parked(&self, function: &FunctionId) -> Result<Vec<Parked>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::PARKED).map_err(failed)?;
            rows_after(&table, &record::function_key(function), None, usize::MAX, |_, value| record::decode("a parked event", value))
        })
    }

    pub(super) fn parked_after(&self, function: &FunctionId, after: Seq, limit: usize) -> Result<Vec<Parked>, LedgerError> {
        let after = record::function_seq_key(function, after);
        self.read(|txn| {
            let table = txn.open_table(tables::PARKED).map_err(failed)?;
            let row = |_: &[u8], value: &[u8]| record::decode("a parked event", value);
            rows_after(&table, &record::function_key(function), Some(&after), limit, row)
        })
    }

    pub(super) fn is_repeat(&self, app: &AppId, key: &str, now: Micros) -> Result<bool, LedgerError> {
        let key = record::dedup_key(record::Repeat::Commit, &app.tenant, Some(&app.app), key);
        self.read(|txn| {
            let table = txn.open_table(tables::DEDUP).map_err(failed)?;
            let found = table.get(key.as_slice()).map_err(failed)?;
            let seen = found.map(|bytes| record::decode::<tables::Seen>("a remembered key", bytes.value())).transpose()?;
            Ok(seen.is_some_and(|seen| seen.expiry > now.0))
        })
    }

    pub(super) fn dead(
        &self,
        app: Option<&AppId>,
        after: Option<&(FunctionId, Seq)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        let prefix = app.map(record::app_key).unwrap_or_default();
        let after = after.map(|(function, seq)| record::function_seq_key(function, *seq)).filter(|after| *after >= prefix);
        self.read(|txn| {
            let table = txn.open_table(tables::DEAD).map_err(failed)?;
            rows_after(&table, &prefix, after.as_deref(), limit, |_, value| record::decode("a dead letter", value))
        })
    }

    pub(super) fn dead_letter(&self, function: &FunctionId, seq: Seq) -> Result<Option<DeadLetter>, LedgerError> {
        self.read(|txn| {
            let table = txn.open_table(tables::DEAD).map_err(failed)?;
            let found = table.get(record::function_seq_key(function, seq).as_slice()).map_err(failed)?;
            found.map(|bytes| record::decode("a dead letter", bytes.value())).transpose()
        })
    }

    pub(super) fn dead_count(&self) -> Result<u64, LedgerError> {
        self.read(|txn| txn.open_table(tables::DEAD).map_err(failed)?.len().map_err(failed))
    }
}

fn meta(txn: &ReadTransaction, key: &str) -> Result<u64, LedgerError> {
    let table = txn.open_table(tables::META).map_err(failed)?;
    Ok(table.get(key).map_err(failed)?.map_or(0, |n| n.value()))
}

/// Rows whose key begins with `prefix`, those up to `after` left out.
fn rows_after<T>(
    table: &Rows,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    row: impl Fn(&[u8], &[u8]) -> Result<T, LedgerError>,
) -> Result<Vec<T>, LedgerError> {
    use std::ops::Bound;
    let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let mut found = Vec::new();
    for entry in table.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)?.take(limit) {
        let (key, value) = entry.map_err(failed)?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push(row(key.value(), value.value())?);
    }
    Ok(found)
}

/// Makes the tables of a new view; refuses one that a later Tawi has written.
fn prepare(database: &Database) -> Result<Changed, LedgerError> {
    let doing = "prepare the ledger's file";
    let mut txn = database.begin_write().map_err(|e| LedgerError::storage(doing, e.into()))?;
    txn.set_quick_repair(true);
    let mut tables = Tables::open(&txn)?;
    match tables.meta(tables::FORMAT)? {
        None => tables.set_meta(tables::FORMAT, tables::FORMAT_VERSION)?,
        Some(tables::FORMAT_VERSION) => {}
        Some(other) => {
            let known = tables::FORMAT_VERSION;
            return Err(LedgerError::Format(format!("a ledger of format `{other}`: this Tawi knows `{known}`")));
        }
    }
    tables.prepare_lag()?;
    let changed = tables.finish()?;
    txn.commit().map_err(|e| LedgerError::storage(doing, e.into()))?;
    Ok(changed)
}
