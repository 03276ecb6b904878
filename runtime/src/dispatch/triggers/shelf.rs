//! What rules keep: the state of the evaluator in the ledger, and over it what is not committed yet.

use crate::{
    ledger::{Ledger, LedgerError},
    model::{AppId, Write, limit::STATE_ENTRIES_MAX},
    time,
};
use bytes::Bytes;
use std::{collections::BTreeMap, mem};

/// Before the names of what a rule keeps, so that it meets nothing else of the evaluator's state.
const PARTS: &str = "part/";
/// About what a write takes besides its key and value.
const WRITE_BYTES: usize = 32;

pub(super) struct Shelf {
    ledger: Ledger,
    place: AppId,
    pending: BTreeMap<String, Option<Bytes>>,
    bytes: usize,
    /// The ledger could not be read: what was made of it since is worth nothing.
    failed: Option<LedgerError>,
}

impl Shelf {
    pub fn new(ledger: Ledger, place: AppId) -> Shelf {
        Shelf { ledger, place, pending: BTreeMap::new(), bytes: 0, failed: None }
    }

    /// About what the writes take that are not committed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn take_writes(&mut self) -> Vec<Write> {
        self.bytes = 0;
        mem::take(&mut self.pending).into_iter().map(|(key, value)| Write { key, value }).collect()
    }

    pub fn take_failure(&mut self) -> Option<LedgerError> {
        self.failed.take()
    }

    fn or_failed<T: Default>(&mut self, read: Result<T, LedgerError>) -> T {
        read.unwrap_or_else(|error| {
            self.failed = Some(error);
            T::default()
        })
    }
}

impl time::Shelf for Shelf {
    fn get(&mut self, part: &str) -> Option<Bytes> {
        let key = format!("{PARTS}{part}");
        if let Some(value) = self.pending.get(&key) {
            return value.clone();
        }
        let read = self.ledger.state(&self.place, &key);
        self.or_failed(read)
    }

    fn put(&mut self, part: &str, value: Option<Bytes>) {
        let key = format!("{PARTS}{part}");
        let added = WRITE_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        match self.pending.get_mut(&key) {
            Some(there) => {
                self.bytes = (self.bytes + added).saturating_sub(WRITE_BYTES + key.len() + there.as_ref().map_or(0, Bytes::len));
                *there = value;
            }
            None => {
                self.bytes += added;
                self.pending.insert(key, value);
            }
        }
    }

    fn list(&mut self, prefix: &str) -> Vec<(String, Bytes)> {
        let prefix = format!("{PARTS}{prefix}");
        let mut all = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let read = self.ledger.state_entries(&self.place, &prefix, after.as_deref(), STATE_ENTRIES_MAX);
            let page = self.or_failed(read);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            all.extend(page);
        }
        let over = self.pending.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        for (key, value) in over {
            match value {
                Some(value) => drop(all.insert(key.clone(), value.clone())),
                None => drop(all.remove(key)),
            }
        }
        all.into_iter().map(|(key, value)| (key[PARTS.len()..].to_owned(), value)).collect()
    }
}
