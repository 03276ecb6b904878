//! What is kept of clients that want to be known when they come again: state of the ledger, under a name that no app can have, so it is
//! synced, backed up, and the same on every node of a log. `docs/formats/mqtt.md` describes it.
//!
//! No message is kept for a client: the log has them. All that is kept is how far it has read.

use super::{
    session::{Key, Subscription},
    topic::Filter,
};
use crate::{
    ingest::Mark,
    ledger::{Commit, Ledger, LedgerError, Op},
    model::{AppId, Id, Micros, Seq, Tenant, Write},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// No app is named so.
const PLACE: &str = "~mqtt";
/// Stands in no id of a client.
const SEPARATOR: char = '\u{1f}';
/// Entries read at a time.
const PAGE: usize = 1_000;
/// Entries that one commit deletes.
const SWEEP: usize = 1_000;

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    subscriptions: Vec<KeptSubscription>,
    /// The first event that it has not been given.
    pub next: Seq,
    /// What it was given and has not acknowledged: ids of packets, and the events.
    pub inflight: Vec<(u16, Seq)>,
    /// Seconds after `seen` that it is kept.
    pub expiry: u32,
    pub seen: Micros,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptSubscription {
    filter: String,
    qos: u8,
    since: Seq,
}

impl Kept {
    pub fn new(subscriptions: &[Subscription], next: Seq, inflight: Vec<(u16, Seq)>, expiry: u32, seen: Micros) -> Kept {
        let kept = |s: &Subscription| KeptSubscription { filter: s.filter.text.to_string(), qos: s.qos, since: s.since };
        Kept { subscriptions: subscriptions.iter().map(kept).collect(), next, inflight, expiry, seen }
    }

    pub fn subscriptions(&self) -> Vec<Subscription> {
        let known = |s: &KeptSubscription| Some(Subscription { filter: Filter::new(&s.filter)?, qos: s.qos, since: s.since });
        self.subscriptions.iter().filter_map(known).collect()
    }

    pub fn seen_at(&self, now: Micros) -> Kept {
        Kept { seen: now, ..self.clone() }
    }

    pub fn is_over(&self, now: Micros) -> bool {
        self.expiry != u32::MAX && self.seen.plus_millis(u64::from(self.expiry) * 1_000) < now
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    ledger: Ledger,
}

impl Store {
    pub fn new(ledger: Ledger) -> Store {
        Store { ledger }
    }

    /// What is kept of a session. Blocks.
    pub fn session(&self, key: &Key) -> Result<Option<Kept>, LedgerError> {
        let stored = self.ledger.state(&place(&key.tenant), &session_key(key))?;
        // What nobody can read is as good as nothing: the client subscribes anew.
        Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Publishes of it that are stored and not released. Blocks.
    pub fn received(&self, key: &Key) -> Result<BTreeSet<u16>, LedgerError> {
        let prefix = received_prefix(key);
        // A page is more than a client has under way.
        let entries = self.ledger.state_entries(&place(&key.tenant), &prefix, None, usize::from(u16::MAX))?;
        Ok(entries.iter().filter_map(|(name, _)| name.strip_prefix(&prefix)?.parse().ok()).collect())
    }

    pub async fn keep(&self, key: &Key, kept: &Kept) -> Result<(), LedgerError> {
        let bytes = serde_json::to_vec(kept).unwrap_or_else(|e| unreachable!("texts and numbers are JSON: {e}"));
        self.write(&key.tenant, vec![Write { key: session_key(key), value: Some(bytes.into()) }]).await
    }

    /// Nothing is known of it any more, once this is so durably.
    pub async fn forget(&self, key: &Key, received: &BTreeSet<u16>) -> Result<(), LedgerError> {
        let of = received.iter().map(|pid| received_key(key, *pid));
        let writes = [session_key(key)].into_iter().chain(of).map(|key| Write { key, value: None });
        self.write(&key.tenant, writes.collect()).await
    }

    /// Goes into the log with what a client publishes, in one step: that its packet was taken.
    pub fn mark(&self, key: &Key, pid: u16) -> Mark {
        Mark { place: place(&key.tenant), write: Write { key: received_key(key, pid), value: Some(Bytes::new()) } }
    }

    /// The client knows that its packet was taken.
    pub async fn release(&self, key: &Key, pid: u16) -> Result<(), LedgerError> {
        self.write(&key.tenant, vec![Write { key: received_key(key, pid), value: None }]).await
    }

    /// Forgets what is over, and says how many sessions are kept.
    pub async fn sweep(&self, tenant: &Tenant, now: Micros) -> Result<usize, LedgerError> {
        let (mut after, mut kept, mut over) = (None::<String>, 0, Vec::new());
        let prefix = format!("s{SEPARATOR}");
        loop {
            let (ledger, at, prefix, from) = (self.ledger.clone(), place(tenant), prefix.clone(), after.clone());
            let read = tokio::task::spawn_blocking(move || ledger.state_entries(&at, &prefix, from.as_deref(), PAGE)).await;
            let page = read.unwrap_or(Err(LedgerError::Closed))?;
            for (key, bytes) in &page {
                match serde_json::from_slice::<Kept>(bytes) {
                    Ok(session) if !session.is_over(now) => kept += 1,
                    _ => over.push(key.clone()),
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => break,
            }
        }
        for keys in over.chunks(SWEEP) {
            let mut writes = Vec::new();
            for key in keys {
                let received = format!("q{}{SEPARATOR}", &key[1..]);
                let left = self.ledger.state_entries(&place(tenant), &received, None, PAGE)?;
                writes.extend(left.into_iter().map(|(key, _)| Write { key, value: None }));
                writes.push(Write { key: key.clone(), value: None });
            }
            self.write(tenant, writes).await?;
        }
        Ok(kept)
    }

    /// Rests on nothing that was read: one connection alone writes what belongs to a session.
    async fn write(&self, tenant: &Tenant, writes: Vec<Write>) -> Result<(), LedgerError> {
        self.ledger.apply(Op::Commit(Commit::resting_on_nothing(place(tenant), Vec::new(), writes))).await.map(drop)
    }
}

fn place(tenant: &Tenant) -> AppId {
    AppId::new(tenant.clone(), Id::new(PLACE).unwrap_or_else(|e| unreachable!("{e}")))
}

fn session_key(key: &Key) -> String {
    format!("s{SEPARATOR}{}{SEPARATOR}{}", key.who, key.client)
}

fn received_prefix(key: &Key) -> String {
    format!("q{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}", key.who, key.client)
}

fn received_key(key: &Key, pid: u16) -> String {
    format!("{}{pid:05}", received_prefix(key))
}
