//! The tables of the view and the one function that changes them: [`Tables::apply`], the same on every ledger.
//!
//! It depends on nothing but the tables, the operation and the rules that come with it, so that the same operations in the
//! same order make the same view on any node, at any time. It answers before it touches a table, or does the whole.

use super::{
    Append, Commit, DeadLetter, Dedup, Done, Guard, Guarded, Kept, LedgerError, Op, Outcome, Parked, Position, Undecoded, Version,
    jetstream::Stamp,
    record::{self, Repeat},
};
use crate::model::{AppId, Event, FunctionId, Micros, NewEvent, Seq, Write};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) mod lag;

type Bytes = &'static [u8];

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const LOG: TableDefinition<u64, Bytes> = TableDefinition::new("log");
pub(super) const STATE: TableDefinition<Bytes, Bytes> = TableDefinition::new("state");
pub(super) const VERSIONS: TableDefinition<Bytes, u64> = TableDefinition::new("versions");
pub(super) const CONSUMERS: TableDefinition<Bytes, Bytes> = TableDefinition::new("consumers");
pub(super) const PARKED: TableDefinition<Bytes, Bytes> = TableDefinition::new("parked");
pub(super) const DEAD: TableDefinition<Bytes, Bytes> = TableDefinition::new("dead");
pub(super) const DEDUP: TableDefinition<Bytes, Bytes> = TableDefinition::new("dedup");
pub(super) const EXPIRY: TableDefinition<Bytes, ()> = TableDefinition::new("expiry");
pub(super) const INTAKE: TableDefinition<&str, u64> = TableDefinition::new("intake");
/// The last batch of each node: its incarnation and number (jetstream).
pub(super) const BATCHES: TableDefinition<&str, (u64, u64)> = TableDefinition::new("batches");
/// The last message on each subject of the operations' stream (jetstream).
pub(super) const FENCES: TableDefinition<&str, u64> = TableDefinition::new("fences");

/// Keys of `meta`.
pub(super) const FORMAT: &str = "format";
/// The sequence the next event gets.
pub(super) const NEXT: &str = "next";
/// The oldest event that was not trimmed.
pub(super) const FIRST: &str = "first";
/// The last group of the journal that was applied (embedded).
pub(super) const GROUP: &str = "group";
/// The last message of the operations' stream that was applied (jetstream).
pub(super) const STREAM: &str = "stream";
/// When that stream was made, in microseconds: another one of its name is another ledger (jetstream).
pub(super) const STREAM_MADE: &str = "stream-made";

/// The layout of the tables; grows when an older Tawi could not read them.
pub(super) const FORMAT_VERSION: u64 = 1;

/// Expired keys that one operation with a key of its own removes: more than it adds, so that they go, in small steps.
const EXPIRE_STEP: usize = 4;

/// Why an event is a dead letter that no release has given up.
const ABANDONED: &str = "its function was taken out of the app while the event waited";

/// What decides an outcome besides the operation. It travels with the operation, because a view that is made again later
/// must decide alike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Rules {
    pub dedup_window_micros: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Seen {
    pub expiry: i64,
    seqs: Vec<Seq>,
}

/// What a transaction changed that is kept in memory too.
#[derive(Debug)]
pub(super) struct Changed {
    pub events: Vec<Arc<Event>>,
    pub next: Seq,
    pub first: Seq,
}

pub(super) struct Tables<'t> {
    /// For tables that few operations touch: opening one takes time.
    txn: &'t WriteTransaction,
    meta: Table<'t, &'static str, u64>,
    log: Table<'t, u64, Bytes>,
    state: Table<'t, Bytes, Bytes>,
    versions: Table<'t, Bytes, u64>,
    consumers: Table<'t, Bytes, Bytes>,
    parked: Table<'t, Bytes, Bytes>,
    dead: Table<'t, Bytes, Bytes>,
    dedup: Table<'t, Bytes, Bytes>,
    expiry: Table<'t, Bytes, ()>,
    intake: Table<'t, &'static str, u64>,
    batches: Table<'t, &'static str, (u64, u64)>,
    fences: Table<'t, &'static str, u64>,
    next: Seq,
    first: Seq,
    logged_bytes: u64,
    events: Vec<Arc<Event>>,
    buffer: Vec<u8>,
}

/// Every error of redb while applying: nothing of the transaction will be committed.
fn failed<E: Into<redb::Error>>(error: E) -> LedgerError {
    LedgerError::storage("change the ledger", error.into())
}

impl<'t> Tables<'t> {
    /// Opens all tables, makes those that are missing.
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Tables<'t>, LedgerError> {
        let meta = txn.open_table(META).map_err(failed)?;
        let number = |key: &str| Ok::<_, LedgerError>(meta.get(key).map_err(failed)?.map(|n| n.value()));
        let (next, first) = (number(NEXT)?.unwrap_or(1), number(FIRST)?.unwrap_or(1));
        let logged_bytes = number(lag::LOGGED_BYTES)?.unwrap_or(0);
        Ok(Tables {
            txn,
            meta,
            log: txn.open_table(LOG).map_err(failed)?,
            state: txn.open_table(STATE).map_err(failed)?,
            versions: txn.open_table(VERSIONS).map_err(failed)?,
            consumers: txn.open_table(CONSUMERS).map_err(failed)?,
            parked: txn.open_table(PARKED).map_err(failed)?,
            dead: txn.open_table(DEAD).map_err(failed)?,
            dedup: txn.open_table(DEDUP).map_err(failed)?,
            expiry: txn.open_table(EXPIRY).map_err(failed)?,
            intake: txn.open_table(INTAKE).map_err(failed)?,
            batches: txn.open_table(BATCHES).map_err(failed)?,
            fences: txn.open_table(FENCES).map_err(failed)?,
            next,
            first,
            logged_bytes,
            events: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Writes the counters; what it returns holds once the transaction is committed.
    pub(super) fn finish(mut self) -> Result<Changed, LedgerError> {
        for (key, value) in [(NEXT, self.next), (FIRST, self.first), (lag::LOGGED_BYTES, self.logged_bytes)] {
            self.meta.insert(key, value).map_err(failed)?;
        }
        Ok(Changed { events: self.events, next: self.next, first: self.first })
    }

    pub(super) fn meta(&self, key: &str) -> Result<Option<u64>, LedgerError> {
        Ok(self.meta.get(key).map_err(failed)?.map(|n| n.value()))
    }

    pub(super) fn set_meta(&mut self, key: &str, value: u64) -> Result<(), LedgerError> {
        self.meta.insert(key, value).map_err(failed)?;
        Ok(())
    }

    /// Whether a batch is later than every other of its node; one that was given up and comes late is not.
    pub(super) fn begin_batch(&mut self, stamp: &Stamp) -> Result<bool, LedgerError> {
        let this = (stamp.incarnation, stamp.number);
        let last = self.batches.get(stamp.node.as_str()).map_err(failed)?.map_or((0, 0), |last| last.value());
        if this <= last {
            return Ok(false);
        }
        self.batches.insert(stamp.node.as_str(), this).map_err(failed)?;
        Ok(true)
    }

    pub(super) fn set_fence(&mut self, subject: &str, sequence: u64) -> Result<(), LedgerError> {
        self.fences.insert(subject, sequence).map_err(failed)?;
        Ok(())
    }

    /// An error leaves the tables in disorder: the transaction must be dropped.
    pub(super) fn apply(&mut self, op: Op, rules: Rules) -> Result<Outcome, LedgerError> {
        match op {
            Op::Append(append) => self.append(append, rules),
            Op::Commit(commit) => self.commit(commit, rules),
            Op::Guarded(guarded) => self.guarded(guarded, rules),
            Op::Register { function, start } => self.register(&function, start),
            Op::Unregister { function } => self.unregister(&function),
            Op::DeleteApp { app } => self.delete_app(&app),
            Op::ReplayDead { function, seq, now } => self.replay_dead(function, seq, now),
            Op::DropDead { function, seq } => self.drop_dead(&function, seq),
            Op::Trim { below } => self.trim(below),
            Op::Pause { function, behind, now, said } => self.pause(&function, behind, now, said),
            Op::Resume { function, said } => self.resume(&function, said),
            Op::ForgetLost { function, through } => self.forget_lost(&function, through),
            Op::Undecoded(undecoded) => self.undecoded(undecoded, rules),
            Op::Decoded { function, seq, events } => self.decoded(&function, seq, events),
            Op::Kept(kept) => self.kept(kept, rules),
        }
    }

    fn append(&mut self, append: Append, rules: Rules) -> Result<Outcome, LedgerError> {
        if let Some(intake) = &append.intake {
            let at = self.intake.get(intake.source.as_str()).map_err(failed)?.map_or(0, |n| n.value());
            if at != intake.after {
                return Ok(Outcome::Duplicate { seqs: Vec::new() });
            }
        }
        let key = append.dedup.as_ref().map(|dedup| record::dedup_key(Repeat::Append, &append.tenant, None, &dedup.key));
        if let (Some(dedup), Some(key)) = (&append.dedup, &key)
            && let Some(seqs) = self.seen(key, dedup.now)?
        {
            return Ok(Outcome::Duplicate { seqs });
        }
        if let Some(intake) = &append.intake {
            self.intake.insert(intake.source.as_str(), intake.position).map_err(failed)?;
        }
        let seqs = self.log(append.events)?;
        if let (Some(dedup), Some(key)) = (&append.dedup, &key) {
            self.remember(key, dedup, &seqs, rules)?;
        }
        Ok(Outcome::Applied { seqs, version: 0 })
    }

    fn kept(&mut self, kept: Kept, rules: Rules) -> Result<Outcome, LedgerError> {
        if let Some(Guard { app, key, holds }) = &kept.guard
            && let Some(version) = self.is_lost(app, key, holds)?
        {
            return Ok(Outcome::Conflict { version });
        }
        let outcome = self.append(kept.append, rules)?;
        if matches!(outcome, Outcome::Applied { .. }) {
            for (app, writes) in kept.writes.iter().filter(|(_, writes)| !writes.is_empty()) {
                let app = record::app_key(app);
                let version = self.versions.get(app.as_slice()).map_err(failed)?.map_or(0, |v| v.value());
                self.write(writes, app, version)?;
            }
        }
        Ok(outcome)
    }

    fn commit(&mut self, commit: Commit, rules: Rules) -> Result<Outcome, LedgerError> {
        let app = record::app_key(&commit.app);
        let version = self.versions.get(app.as_slice()).map_err(failed)?.map_or(0, |v| v.value());
        let key =
            commit.dedup.as_ref().map(|dedup| record::dedup_key(Repeat::Commit, &commit.app.tenant, Some(&commit.app.app), &dedup.key));
        if let (Some(dedup), Some(key)) = (&commit.dedup, &key)
            && let Some(seqs) = self.seen(key, dedup.now)?
        {
            return Ok(Outcome::Duplicate { seqs });
        }
        if commit.base.is_some_and(|base| base != version) {
            return Ok(Outcome::Conflict { version });
        }
        let version = self.write_state(&commit, app, version)?;
        self.settle(&commit)?;
        for dead in &commit.dead {
            self.bury(dead)?;
        }
        let seqs = self.log(commit.events)?;
        if let (Some(dedup), Some(key)) = (&commit.dedup, &key) {
            self.remember(key, dedup, &seqs, rules)?;
        }
        Ok(Outcome::Applied { seqs, version })
    }

    fn guarded(&mut self, Guarded { commit, key, holds }: Guarded, rules: Rules) -> Result<Outcome, LedgerError> {
        match self.is_lost(&commit.app, &key, &holds)? {
            Some(version) => Ok(Outcome::Conflict { version }),
            None => self.commit(commit, rules),
        }
    }

    /// Where a key of an app's state holds something else: the version of that.
    fn is_lost(&self, app: &AppId, key: &str, holds: &[u8]) -> Result<Option<Version>, LedgerError> {
        let app = record::app_key(app);
        let version = self.versions.get(app.as_slice()).map_err(failed)?.map_or(0, |v| v.value());
        let place = [app.as_slice(), key.as_bytes()].concat();
        let is_so = self.state.get(place.as_slice()).map_err(failed)?.is_some_and(|is| is.value() == holds);
        Ok((!is_so).then_some(version))
    }

    fn write_state(&mut self, commit: &Commit, app: Vec<u8>, version: Version) -> Result<Version, LedgerError> {
        // A commit with a base counts even when it writes nothing: what another node settled must be known to who settles next.
        if commit.writes.is_empty() && commit.base.is_none() {
            return Ok(version);
        }
        self.write(&commit.writes, app, version)
    }

    fn write(&mut self, writes: &[Write], app: Vec<u8>, version: Version) -> Result<Version, LedgerError> {
        let prefix = app.len();
        let mut key = app;
        for write in writes {
            key.truncate(prefix);
            key.extend_from_slice(write.key.as_bytes());
            match &write.value {
                Some(value) => self.state.insert(key.as_slice(), value.as_ref()).map_err(failed)?,
                None => self.state.remove(key.as_slice()).map_err(failed)?,
            };
        }
        key.truncate(prefix);
        self.versions.insert(key.as_slice(), version + 1).map_err(failed)?;
        Ok(version + 1)
    }

    /// Positions and parked events. What a consumer did that is no longer registered concerns nobody.
    fn settle(&mut self, commit: &Commit) -> Result<(), LedgerError> {
        for done in &commit.done {
            self.advance(done)?;
        }
        for parked in &commit.park {
            self.park(parked)?;
        }
        // Last: calls of one commit may have parked an event and settled it since, never the other way round.
        for (function, seq) in &commit.unpark {
            self.parked.remove(record::function_seq_key(function, *seq).as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    fn advance(&mut self, done: &Done) -> Result<(), LedgerError> {
        let key = record::function_key(&done.function);
        let Some(stored) = self.position(&key)? else { return Ok(()) };
        let told = Position { through: done.through, above: done.above.clone() };
        // What is stored may be ahead: it was resumed meanwhile. Never may a range lose one of its ends.
        let position = lag::begin_at(told, stored.through + 1);
        let bytes = record::encode(&mut self.buffer, &position)?;
        self.consumers.insert(key.as_slice(), bytes).map_err(failed)?;
        Ok(())
    }

    fn position(&self, key: &[u8]) -> Result<Option<Position>, LedgerError> {
        let found = self.consumers.get(key).map_err(failed)?;
        found.map(|bytes| record::decode("a consumer's position", bytes.value())).transpose()
    }

    fn park(&mut self, parked: &Parked) -> Result<(), LedgerError> {
        if self.consumers.get(record::function_key(&parked.function).as_slice()).map_err(failed)?.is_some() {
            let bytes = record::encode(&mut self.buffer, parked)?;
            self.parked.insert(record::function_seq_key(&parked.function, parked.seq).as_slice(), bytes).map_err(failed)?;
        }
        Ok(())
    }

    fn bury(&mut self, dead: &DeadLetter) -> Result<(), LedgerError> {
        if self.consumers.get(record::function_key(&dead.function).as_slice()).map_err(failed)?.is_some() {
            let bytes = record::encode(&mut self.buffer, dead)?;
            self.dead.insert(record::function_seq_key(&dead.function, dead.seq).as_slice(), bytes).map_err(failed)?;
        }
        Ok(())
    }

    fn log(&mut self, events: Vec<NewEvent>) -> Result<Vec<Seq>, LedgerError> {
        let mut seqs = Vec::with_capacity(events.len());
        for body in events {
            let seq = self.next;
            let bytes = record::encode(&mut self.buffer, &body)?;
            let size = bytes.len();
            self.log.insert(seq, bytes).map_err(failed)?;
            self.count(seq, size)?;
            self.events.push(Arc::new(Event { seq, body }));
            seqs.push(seq);
            self.next += 1;
        }
        Ok(seqs)
    }

    /// The sequences of an earlier operation with this key, if that was within the window.
    fn seen(&self, key: &[u8], now: Micros) -> Result<Option<Vec<Seq>>, LedgerError> {
        let Some(bytes) = self.dedup.get(key).map_err(failed)? else { return Ok(None) };
        let seen: Seen = record::decode("a remembered key", bytes.value())?;
        Ok((seen.expiry > now.0).then_some(seen.seqs))
    }

    fn remember(&mut self, key: &[u8], dedup: &Dedup, seqs: &[Seq], rules: Rules) -> Result<(), LedgerError> {
        self.expire(dedup.now)?;
        let expiry = dedup.now.0.saturating_add(rules.dedup_window_micros);
        let bytes = record::encode(&mut self.buffer, &Seen { expiry, seqs: seqs.to_vec() })?;
        self.dedup.insert(key, bytes).map_err(failed)?;
        self.expiry.insert(record::expiry_key(expiry, key).as_slice(), ()).map_err(failed)?;
        Ok(())
    }

    fn expire(&mut self, now: Micros) -> Result<(), LedgerError> {
        let end = record::expiry_key(now.0.saturating_add(1), &[]);
        let mut gone = Vec::new();
        for entry in self.expiry.range::<&[u8]>(..end.as_slice()).map_err(failed)?.take(EXPIRE_STEP) {
            gone.push(entry.map_err(failed)?.0.value().to_vec());
        }
        for index in gone {
            if let Some((expiry, key)) = record::expiry_of(&index) {
                // A key that was seen again after its expiry has a later one; only its old index entry goes.
                let found = self.dedup.get(key).map_err(failed)?;
                let seen = found.map(|bytes| record::decode::<Seen>("a remembered key", bytes.value())).transpose()?;
                if seen.is_some_and(|seen| seen.expiry == expiry) {
                    self.dedup.remove(key).map_err(failed)?;
                }
            }
            self.expiry.remove(index.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    fn register(&mut self, function: &FunctionId, start: Seq) -> Result<Outcome, LedgerError> {
        let key = record::function_key(function);
        if self.consumers.get(key.as_slice()).map_err(failed)?.is_none() {
            let position = Position { through: start.min(self.next - 1), above: Vec::new() };
            let bytes = record::encode(&mut self.buffer, &position)?;
            self.consumers.insert(key.as_slice(), bytes).map_err(failed)?;
        }
        Ok(done())
    }

    /// What still waited for the consumer was accepted, so it is not thrown away: it can be read, and replayed to a consumer of
    /// the same name.
    fn unregister(&mut self, function: &FunctionId) -> Result<Outcome, LedgerError> {
        let key = record::function_key(function);
        if self.consumers.remove(key.as_slice()).map_err(failed)?.is_some() {
            // What it has under way on a node that runs the release before would have effects, and be a dead letter too.
            self.move_on(function)?;
        }
        self.forget_pauses(&key, false)?;
        let end = record::prefix_end(&key).unwrap_or_default();
        let waiting = self.parked.extract_from_if::<&[u8], _>(key.as_slice()..end.as_slice(), |_, _| true).map_err(failed)?;
        for row in waiting {
            let (place, parked) = row.map_err(failed)?;
            let Parked { function, seq, event, attempts, due, error, .. } = record::decode("a parked event", parked.value())?;
            let error = match error.is_empty() {
                true => ABANDONED.to_owned(),
                false => format!("{ABANDONED}; its last attempt: {error}"),
            };
            let letter = DeadLetter { function, seq, event, attempts, error, log_tail: Vec::new(), time: due, release: 0 };
            let bytes = record::encode(&mut self.buffer, &letter)?;
            self.dead.insert(place.value(), bytes).map_err(failed)?;
        }
        Ok(done())
    }

    fn delete_app(&mut self, app: &AppId) -> Result<Outcome, LedgerError> {
        let key = record::app_key(app);
        for table in [&mut self.state, &mut self.consumers, &mut self.parked] {
            remove_prefix(table, &key)?;
        }
        let (end, codec) = (record::prefix_end(&key).unwrap_or_default(), record::codec_key(app));
        let kept = |letter: &[u8], _: &[u8]| letter.starts_with(&codec);
        self.dead.retain_in::<&[u8], _>(key.as_slice()..end.as_slice(), kept).map_err(failed)?;
        self.forget_pauses(&key, true)?;
        let version = self.versions.get(key.as_slice()).map_err(failed)?.map_or(0, |v| v.value()) + 1;
        self.versions.insert(key.as_slice(), version).map_err(failed)?;
        Ok(Outcome::Applied { seqs: Vec::new(), version })
    }

    fn replay_dead(&mut self, function: FunctionId, seq: Seq, now: Micros) -> Result<Outcome, LedgerError> {
        let key = record::function_seq_key(&function, seq);
        let registered = self.position(&record::function_key(&function))?.is_some();
        let found = self.dead.get(key.as_slice()).map_err(failed)?;
        let letter = found.map(|bytes| record::decode::<DeadLetter>("a dead letter", bytes.value())).transpose()?;
        let Some(DeadLetter { event, .. }) = letter.filter(|_| registered) else { return Ok(Outcome::Missing) };
        self.dead.remove(key.as_slice()).map_err(failed)?;
        self.park(&Parked { function, seq, event, attempts: 0, due: now, error: String::new(), replay: true })?;
        Ok(done())
    }

    fn undecoded(&mut self, undecoded: Undecoded, rules: Rules) -> Result<Outcome, LedgerError> {
        let Undecoded { append, function, error, log_tail, time, release } = undecoded;
        let first = append.events.first().cloned();
        let outcome = self.append(append, rules)?;
        if let (Outcome::Applied { seqs, .. }, Some(event)) = (&outcome, first)
            && let Some(&seq) = seqs.first()
        {
            let letter = DeadLetter { function, seq, event, attempts: 1, error, log_tail, time, release };
            let bytes = record::encode(&mut self.buffer, &letter)?;
            self.dead.insert(record::function_seq_key(&letter.function, seq).as_slice(), bytes).map_err(failed)?;
        }
        Ok(outcome)
    }

    /// The letter is what makes it happen once: who comes second finds none.
    fn decoded(&mut self, function: &FunctionId, seq: Seq, events: Vec<NewEvent>) -> Result<Outcome, LedgerError> {
        if self.dead.remove(record::function_seq_key(function, seq).as_slice()).map_err(failed)?.is_none() {
            return Ok(Outcome::Missing);
        }
        Ok(Outcome::Applied { seqs: self.log(events)?, version: 0 })
    }

    fn drop_dead(&mut self, function: &FunctionId, seq: Seq) -> Result<Outcome, LedgerError> {
        let gone = self.dead.remove(record::function_seq_key(function, seq).as_slice()).map_err(failed)?;
        Ok(if gone.is_some() { done() } else { Outcome::Missing })
    }
}

/// An operation that adds no events and no version.
fn done() -> Outcome {
    Outcome::Applied { seqs: Vec::new(), version: 0 }
}

fn remove_prefix(table: &mut Table<'_, Bytes, Bytes>, prefix: &[u8]) -> Result<(), LedgerError> {
    let gone = match record::prefix_end(prefix) {
        Some(end) => table.retain_in::<&[u8], _>(prefix..end.as_slice(), |_, _| false),
        None => table.retain_in::<&[u8], _>(prefix.., |_, _| false),
    };
    gone.map_err(failed)
}
