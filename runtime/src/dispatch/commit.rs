//! Makes an app's folded calls durable, batch after batch, in the order in which they count.

use super::{
    consumer::Shared,
    lane::{Batch, Durable, Lane, Lost},
};
use crate::{
    clock,
    ledger::{Commit, Done, LedgerError, Op, Outcome},
    model::{FunctionId, Seq},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The first wait before a refused commit is tried again; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

type Settled = BTreeMap<FunctionId, (Arc<Shared>, BTreeSet<Seq>)>;

/// Runs while the lane has something to commit.
pub(super) async fn run(lane: Arc<Lane>) {
    while let Some(batch) = next(&lane) {
        commit(&lane, batch).await;
        lane.room.notify_waiters();
    }
    lane.room.notify_waiters();
}

fn next(lane: &Lane) -> Option<Batch> {
    let mut inner = lane.inner.lock();
    let batch = inner.batches.pop_front();
    if batch.is_none() {
        inner.committing = false;
    }
    batch
}

async fn commit(lane: &Arc<Lane>, batch: Batch) {
    let mut batch = batch;
    let settled = settled(&mut batch);
    let mut wait = WAIT_MIN;
    let op = match op(lane, &mut batch, &settled) {
        Ok(op) => op,
        Err(error) => return lost(lane, batch, settled, Lost::Ledger(Arc::new(error))),
    };
    loop {
        match lane.ledger.apply(op.clone()).await {
            Ok(Outcome::Applied { version, .. }) => return durable(lane, batch, settled, version),
            Ok(Outcome::Duplicate { .. }) => return duplicate(lane, batch, settled),
            Ok(Outcome::Conflict { .. } | Outcome::Missing) => return lost(lane, batch, settled, Lost::Conflict),
            // Nobody outside waits for these calls, and nothing was applied: the same commit again is all there is to do.
            Err(error) if batch.waiters.is_empty() && !matches!(error, LedgerError::Closed) => {
                tracing::warn!(app = %lane.app, %error, "a commit is tried again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            Err(error) => return lost(lane, batch, settled, Lost::Ledger(Arc::new(error))),
        }
    }
}

/// The batch's settled events by consumer.
fn settled(batch: &mut Batch) -> Settled {
    let mut by_function = Settled::new();
    for (shared, seq) in batch.settled.drain(..) {
        let entry = by_function.entry(shared.id.clone()).or_insert_with(|| (shared, BTreeSet::new()));
        // 0 stands for "wherever the scan is": a position without an event.
        if seq > 0 {
            entry.1.insert(seq);
        }
    }
    by_function
}

fn op(lane: &Lane, batch: &mut Batch, settled: &Settled) -> Result<Op, LedgerError> {
    let done: Vec<Done> = settled.values().map(|(shared, seqs)| shared.tracker.lock().position(&shared.id, seqs)).collect();
    Ok(Op::Commit(Commit {
        app: lane.app.clone(),
        // Always: a second node on the same log that settled these events first has moved the version on.
        base: Some(base(lane)?),
        done,
        writes: std::mem::take(&mut batch.writes),
        events: std::mem::take(&mut batch.events),
        park: std::mem::take(&mut batch.park),
        unpark: std::mem::take(&mut batch.unpark),
        dead: std::mem::take(&mut batch.dead),
        dedup: batch.dedup.take(),
    }))
}

fn base(lane: &Lane) -> Result<u64, LedgerError> {
    if let Some(base) = lane.inner.lock().base {
        return Ok(base);
    }
    let base = lane.ledger.version(&lane.app)?;
    lane.inner.lock().base = Some(base);
    Ok(base)
}

fn durable(lane: &Lane, batch: Batch, settled: Settled, version: u64) {
    {
        let mut inner = lane.inner.lock();
        inner.base = Some(version);
        inner.applied(batch.last);
        inner.pending_bytes = inner.pending_bytes.saturating_sub(batch.bytes);
    }
    let now = clock::now();
    for (shared, received) in &batch.received {
        shared.stats.effects.observe(u64::try_from(now.0.saturating_sub(received.0)).unwrap_or(0));
    }
    for (shared, seqs) in settled.into_values() {
        shared.tracker.lock().settle(&seqs);
        shared.committed();
    }
    for waiter in batch.waiters {
        // A client that has gone does not wait.
        let _ = waiter.send(Ok(Durable::Committed));
    }
}

/// The batch's own writes were dropped, so whatever was folded over them has read what never was.
fn duplicate(lane: &Lane, batch: Batch, settled: Settled) {
    for waiter in batch.waiters {
        let _ = waiter.send(Ok(Durable::Duplicate));
    }
    reset(lane, Vec::new(), settled, &Lost::Conflict);
}

fn lost(lane: &Lane, batch: Batch, settled: Settled, why: Lost) {
    if !matches!(why, Lost::Conflict) {
        tracing::warn!(app = %lane.app, error = %why, "calls were not committed and run again");
    }
    reset(lane, batch.waiters, settled, &why);
}

fn reset(lane: &Lane, waiters: Vec<tokio::sync::oneshot::Sender<Result<Durable, Lost>>>, settled: Settled, why: &Lost) {
    let others = lane.inner.lock().reset();
    let mut consumers: BTreeMap<FunctionId, Arc<Shared>> = settled.into_iter().map(|(id, (shared, _))| (id, shared)).collect();
    for batch in others {
        consumers.extend(batch.settled.into_iter().map(|(shared, _)| (shared.id.clone(), shared)));
        for waiter in batch.waiters {
            let _ = waiter.send(Err(why.clone()));
        }
    }
    for waiter in waiters {
        let _ = waiter.send(Err(why.clone()));
    }
    for shared in consumers.into_values() {
        shared.lost();
    }
}
