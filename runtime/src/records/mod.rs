//! In: changes to documents of the node (devices, users, notifications). Out: the documents, and that a change is durable.
//! Never: knows what a document means, keeps a copy of one, decides who may change it.
//!
//! They are state in the ledger, as an app's is, under names that no app can have: so they are synced, backed up and the same on every
//! node of a log. A change reads what it needs, decides, and is committed on the version that it read from; where another one came
//! first it decides again. Each commit goes into the log as an event, so that whoever keeps an index of documents can follow.

use crate::{
    ledger::{Commit, ErrorKind, Ledger, LedgerError, Op, Outcome},
    model::{AppId, Id, Kind, Micros, NewEvent, Seq, Subject, Tenant, Value, Write},
};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Times a change decides again because another node's came first.
const TRIES_MAX: u32 = 32;
/// Documents read at a time.
const PAGE: usize = 1_000;
/// Keys that one change may write: with what they hold it has to fit one message of the log.
pub const WRITES_MAX: usize = 1_000;

/// What the documents are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Devices, gateways, projects, and what belongs to them.
    Devices,
    /// Users, and the secrets of devices.
    Identity,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("can't store or read the records")]
    Ledger(#[from] LedgerError),
    #[error("the record `{key}` can't be read: {why}")]
    Format { key: String, why: String },
    #[error("other changes came first, {TRIES_MAX} times; try again")]
    Busy,
    #[error("a change writes at most {WRITES_MAX} records")]
    TooMany,
}

impl RecordsError {
    /// The log will never take it as it is.
    pub fn is_too_large(&self) -> bool {
        matches!(self, RecordsError::Ledger(error) if error.kind() == ErrorKind::TooLarge) || matches!(self, RecordsError::TooMany)
    }
}

/// The documents of one space. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    ledger: Ledger,
    space: Space,
    /// Where the documents are, beside the states of apps.
    place: AppId,
    /// One change at a time on this node: two would only refuse each other.
    turn: Arc<Mutex<()>>,
}

/// What a change comes to.
#[derive(Debug, Default)]
pub struct Changes {
    writes: Vec<Write>,
    /// Go into the log with it: a command, a notice.
    events: Vec<NewEvent>,
}

impl Space {
    /// No app is named so: they have no `~`.
    fn name(self) -> &'static str {
        match self {
            Space::Devices => "~devices",
            Space::Identity => "~identity",
        }
    }

    /// The subject of its changes in the log. Only the node reads it.
    fn subject(self) -> &'static str {
        match self {
            Space::Devices => "registry.devices",
            Space::Identity => "registry.identity",
        }
    }

    /// The keys that an event of the log changed, if it is of this space.
    pub fn changed(self, event: &NewEvent) -> Option<Vec<String>> {
        if event.kind != Kind::Registry || event.subject.as_str() != self.subject() {
            return None;
        }
        serde_json::from_value(event.value.to_json()).ok()
    }
}

impl Changes {
    pub fn put<T: Serialize>(&mut self, key: impl Into<String>, document: &T) -> Result<(), RecordsError> {
        let key = key.into();
        match serde_json::to_vec(document) {
            Ok(bytes) => self.writes.push(Write { key, value: Some(bytes.into()) }),
            Err(error) => return Err(RecordsError::Format { key, why: error.to_string() }),
        }
        Ok(())
    }

    pub fn delete(&mut self, key: impl Into<String>) {
        self.writes.push(Write { key: key.into(), value: None });
    }

    pub fn event(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Takes over what another one has, after its own.
    pub fn append(&mut self, more: Changes) {
        self.writes.extend(more.writes);
        self.events.extend(more.events);
    }

    /// Records that are written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty()
    }

    /// About how much of a message of the log it takes, with each key once more in the notice.
    pub fn size_bytes(&self) -> usize {
        const BESIDE: usize = 32;
        let write = |write: &Write| BESIDE + 2 * write.key.len() + write.value.as_ref().map_or(0, bytes::Bytes::len);
        self.writes.iter().map(write).sum::<usize>() + self.events.iter().map(NewEvent::size_bytes).sum::<usize>()
    }
}

impl Records {
    pub fn new(ledger: Ledger, tenant: &Tenant, space: Space) -> Records {
        let name = Id::new(space.name()).unwrap_or_else(|e| unreachable!("{e}"));
        Records { ledger, space, place: AppId::new(tenant.clone(), name), turn: Arc::default() }
    }

    /// The documents of another space beside these.
    pub fn beside(&self, space: Space) -> Records {
        Records::new(self.ledger.clone(), &self.place.tenant, space)
    }

    /// A document as it is now, durable. Blocks for as long as a read of the ledger does.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RecordsError> {
        self.ledger.state(&self.place, key)?.map(|bytes| parse(key, &bytes)).transpose()
    }

    /// Every document under a prefix, in the order of their keys, one call of `each` for each. Blocks.
    pub fn scan<T: DeserializeOwned>(&self, prefix: &str, mut each: impl FnMut(&str, T)) -> Result<(), RecordsError> {
        let mut last: Option<String> = None;
        loop {
            let page = self.ledger.state_entries(&self.place, prefix, last.as_deref(), PAGE)?;
            for (key, bytes) in &page {
                each(key, parse(key, bytes)?);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => last = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Grows with each change of this space, whichever node made it. Blocks as a read does.
    pub fn version(&self) -> Result<u64, RecordsError> {
        Ok(self.ledger.version(&self.place)?)
    }

    /// Moves whenever there may be a change, of this space or another.
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.ledger.head()
    }

    /// Makes a change durable. `decide` reads through [`Records::get`], fills in what is to be written, and says why not; it is asked again when another change
    /// came between its reads and the commit, so it does nothing else. What it returns is what the change that counts returned.
    ///
    /// # Errors
    /// What `decide` said, or that the ledger does not take it.
    pub async fn change<T, E: From<RecordsError>>(
        &self,
        now: Micros,
        mut decide: impl FnMut(&mut Changes) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let _turn = self.turn.lock().await;
        for _ in 0..TRIES_MAX {
            // Before anything is read: whatever is committed after this is a conflict.
            let base = self.ledger.version(&self.place).map_err(RecordsError::from)?;
            let mut changes = Changes::default();
            let decided = decide(&mut changes)?;
            if changes.is_empty() {
                return Ok(decided);
            }
            if changes.writes.len() > WRITES_MAX {
                return Err(RecordsError::TooMany.into());
            }
            match self.ledger.apply(self.op(base, now, changes)).await.map_err(RecordsError::from)? {
                Outcome::Applied { .. } => return Ok(decided),
                _ => continue,
            }
        }
        Err(RecordsError::Busy.into())
    }

    fn op(&self, base: u64, now: Micros, changes: Changes) -> Op {
        let Changes { writes, mut events } = changes;
        let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
        if !keys.is_empty() {
            events.push(self.notice(now, &keys));
        }
        Op::Commit(Commit {
            app: self.place.clone(),
            base: Some(base),
            done: Vec::new(),
            writes,
            events,
            park: Vec::new(),
            unpark: Vec::new(),
            dead: Vec::new(),
            dedup: None,
        })
    }

    fn notice(&self, now: Micros, keys: &[&str]) -> NewEvent {
        let subject = Subject::new(self.space.subject()).unwrap_or_else(|e| unreachable!("{e}"));
        NewEvent {
            tenant: self.place.tenant.clone(),
            kind: Kind::Registry,
            subject,
            key: self.space.subject().to_owned(),
            device: None,
            sensor: None,
            measured: now,
            received: now,
            value: Value::from_json(&serde_json::json!(keys)),
            raw: None,
            cause: None,
        }
    }
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, RecordsError> {
    serde_json::from_slice(bytes).map_err(|error| RecordsError::Format { key: key.to_owned(), why: error.to_string() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
