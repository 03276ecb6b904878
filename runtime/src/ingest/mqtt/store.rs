//! What is kept of clients that want to be known when they come again: state of the ledger, under a name that no app can have, so it is
//! synced, backed up, and the same on every node of a log. `docs/formats/mqtt.md` describes it.
//!
//! No message is kept for a client: the log has them. All that is kept is how far it has read.
//!
//! A session has one *holder*, the connection that took it last, on whatever node. Whatever is written of a session counts only while
//! who wrote it holds it (`docs/decisions/0020`).

use super::{
    broker::blocking,
    session::{Key, Subscription},
    topic::Filter,
};
use crate::{
    ingest::Mark,
    ledger::{Commit, Guarded, Ledger, LedgerError, Op, Outcome},
    model::{AppId, Id, Micros, Seq, Tenant, Write},
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// No app is named so.
const PLACE: &str = "~mqtt";
/// Stands in no id of a client.
const SEPARATOR: char = '\u{1f}';
/// Of which kind an entry is, by its first letter.
const SESSION: char = 's';
const RECEIVED: char = 'q';
const HOLDER: char = 'o';
/// Entries read at a time.
const PAGE: usize = 1_000;
/// Sessions that are forgotten at a time, each by a commit of its own: a small part of what the ledger's queue holds.
const FORGOTTEN_AT_A_TIME: usize = 64;

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
    /// When its client was there last, as far as is known: stored again while it is.
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

    /// As its client wants it from now on.
    pub fn seen_at(&self, now: Micros, expiry: u32) -> Kept {
        Kept { seen: now, expiry, ..self.clone() }
    }

    pub fn is_over(&self, now: Micros) -> bool {
        self.expiry != u32::MAX && self.seen.plus_millis(u64::from(self.expiry) * 1_000) < now
    }
}

/// What is found of a client.
#[derive(Debug, Default)]
pub struct Found {
    pub kept: Option<Kept>,
    /// Ids of its publishes that are stored and not released.
    pub received: BTreeSet<u16>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another connection holds the session")]
    TakenOver,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    ledger: Ledger,
}

/// Who writes: the session, and the connection that does.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub key: &'a Key,
    pub name: &'a str,
}

impl Store {
    pub fn new(ledger: Ledger) -> Store {
        Store { ledger }
    }

    /// What is stored of a client, as far as this node has read the log. Blocks.
    pub fn find(&self, key: &Key) -> Result<Found, LedgerError> {
        let place = place(&key.tenant);
        let stored = self.ledger.state(&place, &name_of(SESSION, &whose(key)))?;
        // What nobody can read is as good as nothing: the client subscribes anew.
        let kept = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let prefix = received_prefix(key);
        // A page is more than a client has under way.
        let entries = self.ledger.state_entries(&place, &prefix, None, usize::from(u16::MAX))?;
        let received = entries.iter().filter_map(|(name, _)| name.strip_prefix(&prefix)?.parse().ok()).collect();
        Ok(Found { kept, received })
    }

    /// Takes the session, whoever had it. What is found after this is all that ever counts of those before.
    pub async fn take(&self, holder: Holder<'_>) -> Result<(), StoreError> {
        let write = Write { key: name_of(HOLDER, &whose(holder.key)), value: Some(holder.bytes()) };
        let commit = Commit::resting_on_nothing(place(&holder.key.tenant), Vec::new(), vec![write]);
        applied(self.ledger.apply(Op::Commit(commit)).await?)
    }

    pub async fn keep(&self, holder: Holder<'_>, kept: &Kept) -> Result<(), StoreError> {
        self.write(holder, vec![kept.write(holder.key)]).await
    }

    /// Begins anew: nothing of what was there counts any more.
    pub async fn begin(&self, holder: Holder<'_>, received: &BTreeSet<u16>, kept: &Kept) -> Result<(), StoreError> {
        let gone = received.iter().map(|pid| gone(received_key(holder.key, *pid)));
        self.write(holder, gone.chain([kept.write(holder.key)]).collect()).await
    }

    /// Nothing is known of it any more, once this is so durably.
    pub async fn forget(&self, holder: Holder<'_>, received: &BTreeSet<u16>) -> Result<(), StoreError> {
        let own = [SESSION, HOLDER].map(|kind| name_of(kind, &whose(holder.key)));
        let of = received.iter().map(|pid| received_key(holder.key, *pid));
        self.write(holder, own.into_iter().chain(of).map(gone).collect()).await
    }

    /// Goes into the log with what a client publishes, in one step: that its packet was taken.
    pub fn mark(&self, holder: Holder<'_>, pid: u16) -> Mark {
        Mark {
            place: place(&holder.key.tenant),
            write: Write { key: received_key(holder.key, pid), value: Some(Bytes::new()) },
            key: name_of(HOLDER, &whose(holder.key)),
            holds: holder.bytes(),
        }
    }

    /// The client knows that its packet was taken.
    pub async fn release(&self, holder: Holder<'_>, pid: u16) -> Result<(), StoreError> {
        self.write(holder, vec![gone(received_key(holder.key, pid))]).await
    }

    /// Forgets what is over and whose client is not here, and says how many sessions of whom are kept.
    pub async fn sweep(
        &self,
        tenant: &Tenant,
        now: Micros,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<HashMap<Arc<str>, usize>, LedgerError> {
        let (mut kept, mut over) = (HashMap::<Arc<str>, usize>::new(), BTreeSet::new());
        // Sessions, and then what was taken and never became one.
        for kind in [SESSION, HOLDER] {
            let mut after = None;
            loop {
                let page = self.page(tenant, kind, after.take()).await?;
                after = page.last().filter(|_| page.len() == PAGE).map(|(last, _)| name_of(kind, last));
                for (whose, session) in page {
                    let stays = is_here(&whose) || session.is_some_and(|session| !session.is_over(now));
                    match whose.split(SEPARATOR).next().filter(|_| stays && kind == SESSION) {
                        Some(who) => *kept.entry(who.into()).or_default() += 1,
                        None if stays => {}
                        None => _ = over.insert(whose),
                    }
                }
                if after.is_none() {
                    break;
                }
            }
        }
        let forget = over.into_iter().map(|whose| self.forget_over(tenant, whose, now));
        let mut forgotten = futures::stream::iter(forget).buffer_unordered(FORGOTTEN_AT_A_TIME);
        while let Some(end) = forgotten.next().await {
            end?;
        }
        Ok(kept)
    }

    /// Whose entries of a kind there are, and the session of each.
    async fn page(&self, tenant: &Tenant, kind: char, after: Option<String>) -> Result<Vec<(String, Option<Kept>)>, LedgerError> {
        let (ledger, place) = (self.ledger.clone(), place(tenant));
        blocking(move || {
            let entries = ledger.state_entries(&place, &name_of(kind, ""), after.as_deref(), PAGE)?;
            let with_session = entries.into_iter().map(|(name, bytes)| {
                let whose = name.get(name_of(kind, "").len()..).unwrap_or_default().to_owned();
                let stored = if kind == SESSION { Some(bytes) } else { ledger.state(&place, &name_of(SESSION, &whose))? };
                Ok((whose, stored.and_then(|bytes| serde_json::from_slice(&bytes).ok())))
            });
            with_session.collect()
        })
        .await
    }

    /// Unless somebody takes it meanwhile.
    async fn forget_over(&self, tenant: &Tenant, whose: String, now: Micros) -> Result<(), LedgerError> {
        let (ledger, place) = (self.ledger.clone(), place(tenant));
        let op = blocking(move || {
            // The holder first: who takes the session after this is another one.
            let holds = ledger.state(&place, &name_of(HOLDER, &whose))?;
            let session = ledger.state(&place, &name_of(SESSION, &whose))?;
            if session.is_some_and(|bytes| serde_json::from_slice::<Kept>(&bytes).is_ok_and(|session| !session.is_over(now))) {
                return Ok(None);
            }
            let received = format!("{}{SEPARATOR}", name_of(RECEIVED, &whose));
            let left = ledger.state_entries(&place, &received, None, usize::from(u16::MAX))?;
            let own = [SESSION, HOLDER].map(|kind| name_of(kind, &whose));
            let writes = left.into_iter().map(|(name, _)| name).chain(own).map(gone).collect();
            let commit = Commit::resting_on_nothing(place, Vec::new(), writes);
            Ok(Some(match holds {
                Some(holds) => Op::Guarded(Guarded { commit, key: name_of(HOLDER, &whose), holds }),
                // From before there were holders.
                None => Op::Commit(commit),
            }))
        });
        match op.await? {
            Some(op) => self.ledger.apply(op).await.map(drop),
            None => Ok(()),
        }
    }

    async fn write(&self, holder: Holder<'_>, writes: Vec<Write>) -> Result<(), StoreError> {
        let commit = Commit::resting_on_nothing(place(&holder.key.tenant), Vec::new(), writes);
        let guarded = Guarded { commit, key: name_of(HOLDER, &whose(holder.key)), holds: holder.bytes() };
        applied(self.ledger.apply(Op::Guarded(guarded)).await?)
    }
}

impl Kept {
    fn write(&self, key: &Key) -> Write {
        let bytes = serde_json::to_vec(self).unwrap_or_else(|e| unreachable!("texts and numbers are JSON: {e}"));
        Write { key: name_of(SESSION, &whose(key)), value: Some(bytes.into()) }
    }
}

impl Holder<'_> {
    fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self.name.as_bytes())
    }
}

/// Nothing but `Applied` is durable.
fn applied(outcome: Outcome) -> Result<(), StoreError> {
    match outcome {
        Outcome::Applied { .. } => Ok(()),
        Outcome::Conflict { .. } | Outcome::Duplicate { .. } | Outcome::Missing => Err(StoreError::TakenOver),
    }
}

fn place(tenant: &Tenant) -> AppId {
    AppId::new(tenant.clone(), Id::new(PLACE).unwrap_or_else(|e| unreachable!("{e}")))
}

fn gone(key: String) -> Write {
    Write { key, value: None }
}

/// Of which client something is.
pub fn whose(key: &Key) -> String {
    format!("{}{SEPARATOR}{}", key.who, key.client)
}

fn name_of(kind: char, whose: &str) -> String {
    format!("{kind}{SEPARATOR}{whose}")
}

fn received_prefix(key: &Key) -> String {
    format!("{}{SEPARATOR}", name_of(RECEIVED, &whose(key)))
}

fn received_key(key: &Key, pid: u16) -> String {
    format!("{}{pid:05}", received_prefix(key))
}
