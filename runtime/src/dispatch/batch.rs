//! What calls want done: one call's fold, and the batch of them that becomes durable in one commit.

use super::shared::Shared;
use crate::{
    host::Read,
    ledger::{DeadLetter, Dedup, LedgerError, Parked},
    model::{FunctionId, Micros, NewEvent, Seq, Write},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::oneshot;

/// What one call wants to count.
#[derive(Default)]
pub struct Fold {
    pub reads: BTreeMap<Read, u64>,
    pub writes: Vec<Write>,
    pub events: Vec<NewEvent>,
    pub settled: Option<(Arc<Shared>, Seq)>,
    /// When the event was received, for one that a call has settled.
    pub received: Option<Micros>,
    pub park: Option<Parked>,
    pub unpark: Option<(FunctionId, Seq)>,
    pub dead: Option<DeadLetter>,
    pub dedup: Option<Dedup>,
}

/// Calls that become durable in one commit.
#[derive(Default)]
pub struct Batch {
    pub writes: Vec<Write>,
    pub events: Vec<NewEvent>,
    pub settled: Vec<Settled>,
    pub park: Vec<Parked>,
    pub unpark: Vec<(FunctionId, Seq)>,
    pub dead: Vec<DeadLetter>,
    pub dedup: Option<Dedup>,
    pub waiters: Vec<oneshot::Sender<Result<Durable, Lost>>>,
    pub bytes: usize,
    pub calls: usize,
    pub last: u64,
}

/// What a batch settles of one consumer. Nothing: its position alone.
pub struct Settled {
    pub shared: Arc<Shared>,
    pub seqs: Vec<Seq>,
    /// When the events were received that a call has settled.
    pub received: Vec<Micros>,
}

impl Batch {
    pub fn settle(&mut self, (shared, seq): (Arc<Shared>, Seq), received: Option<Micros>) {
        // Of one consumer mostly, and of some thirty at most.
        let known = self.settled.iter().rposition(|settled| Arc::ptr_eq(&settled.shared, &shared));
        let at = known.unwrap_or_else(|| {
            self.settled.push(Settled { shared, seqs: Vec::new(), received: Vec::new() });
            self.settled.len() - 1
        });
        // 0 stands for "wherever the scan is": a position without an event.
        self.settled[at].seqs.extend((seq > 0).then_some(seq));
        self.settled[at].received.extend(received);
    }
}

/// A commit that holds the call is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    Committed,
    /// The same idempotency key had been committed before; this call's effects were dropped.
    Duplicate,
}

/// A folded call did not become durable; nothing of it happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    #[error("another call came before it")]
    Conflict,
    #[error(transparent)]
    Ledger(Arc<LedgerError>),
    #[error("the app is being stopped")]
    Stopped,
}

impl Fold {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.events.is_empty() && self.settled.is_none() && self.park.is_none() && self.dead.is_none()
    }

    /// Whether it counts only in the epoch that it began in: it has read, or its consumer's place in the log is part of it.
    pub fn rests_on_epoch(&self) -> bool {
        !self.reads.is_empty() || self.settled.is_some() || self.park.is_some() || self.unpark.is_some() || self.dead.is_some()
    }

    pub fn size_bytes(&self) -> usize {
        let writes: usize = self.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
        let events: usize = self.events.iter().map(NewEvent::size_bytes).sum();
        let park = self.park.as_ref().map_or(0, |parked| parked.event.size_bytes());
        let dead = self.dead.as_ref().map_or(0, |dead| dead.event.size_bytes() + dead.log_tail.iter().map(String::len).sum::<usize>());
        64 + writes + events + park + dead
    }
}
