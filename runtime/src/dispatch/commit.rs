//! Makes an app's folded calls durable, batch after batch, in the order in which they count.

use super::{
    batch::{Batch, Durable, Lost, Settled},
    lane::Lane,
    shared::Shared,
};
use crate::{
    clock,
    ledger::{Commit, Done, LedgerError, Op, Outcome, Version},
    model::FunctionId,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The first wait before a refused commit is tried again; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// From one commit to the next while calls come in great numbers: what a commit costs (a place in the journal, a position for each
/// function, everybody woken) is shared by more of them. A reading waits for its effects by this much longer, then and only then.
const PACE: Duration = Duration::from_millis(4);
/// Calls of one commit from which on they are a great number.
const PACE_CALLS: usize = 32;

/// Runs while the lane has something to commit.
pub(super) async fn run(lane: Arc<Lane>) {
    while let Some(batch) = next(&lane) {
        let (began, many) = (Instant::now(), batch.calls >= PACE_CALLS);
        commit(&lane, batch).await;
        lane.room.notify_waiters();
        let rest = PACE.saturating_sub(began.elapsed());
        if many && !rest.is_zero() && !lane.hurries() {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = lane.hurry.notified() => {}
            }
        }
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
    batch.settled.iter_mut().for_each(|settled| settled.seqs.sort_unstable());
    let mut wait = WAIT_MIN;
    let op = op(lane, &mut batch);
    loop {
        match lane.ledger.apply(op.clone()).await {
            Ok(Outcome::Applied { version, .. }) => return durable(lane, batch, version),
            Ok(Outcome::Duplicate { .. }) => return duplicate(lane, batch, &op).await,
            Ok(Outcome::Conflict { .. } | Outcome::Missing) => return lost(lane, batch, Lost::Conflict).await,
            // Nobody outside waits for these calls, and nothing was applied: the same commit again is all there is to do.
            Err(error) if batch.waiters.is_empty() && !matches!(error, LedgerError::Closed) => {
                tracing::warn!(app = %lane.app, %error, "a commit is tried again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            Err(error) => return lost(lane, batch, Lost::Ledger(Arc::new(error))).await,
        }
    }
}

fn op(lane: &Lane, batch: &mut Batch) -> Op {
    let position = |Settled { shared, seqs, .. }: &Settled| shared.tracker.lock().position(&shared.id, seqs);
    let done: Vec<Done> = batch.settled.iter().map(position).collect();
    Op::Commit(Commit {
        app: lane.app.clone(),
        // Always: a second node on the same log that settled these events first has moved the version on.
        base: Some(lane.inner.lock().base),
        done,
        writes: std::mem::take(&mut batch.writes),
        events: std::mem::take(&mut batch.events),
        park: std::mem::take(&mut batch.park),
        unpark: std::mem::take(&mut batch.unpark),
        dead: std::mem::take(&mut batch.dead),
        dedup: batch.dedup.clone(),
    })
}

/// What the next epoch builds on. Asked for before anything is read in it.
async fn base(lane: &Lane) -> Version {
    let mut wait = WAIT_MIN;
    loop {
        match lane.ledger.version(&lane.app) {
            Ok(version) => return version,
            // Nothing is committed any more, on whatever base.
            Err(LedgerError::Closed) => return lane.inner.lock().base,
            Err(error) => tracing::warn!(app = %lane.app, %error, "can't read the version of the app's state, trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

fn durable(lane: &Lane, batch: Batch, version: u64) {
    {
        let mut inner = lane.inner.lock();
        inner.base = version;
        inner.applied(&batch);
    }
    let now = clock::now();
    for Settled { shared, seqs, received } in batch.settled {
        for received in received {
            shared.stats.effects.observe(u64::try_from(now.0.saturating_sub(received.0)).unwrap_or(0));
        }
        shared.tracker.lock().settle(&seqs);
        shared.committed();
    }
    for waiter in batch.waiters {
        // A client that has gone does not wait.
        let _ = waiter.send(Ok(Durable::Committed));
    }
}

/// The one call of the batch is a repeat, of a call on another node: who comes again to this one is known before.
async fn duplicate(lane: &Lane, batch: Batch, op: &Op) {
    let writes = if let Op::Commit(commit) = op { commit.writes.as_slice() } else { &[] };
    let alone = lane.inner.lock().take_back(&batch, writes);
    for waiter in batch.waiters {
        let _ = waiter.send(Ok(Durable::Duplicate));
    }
    if !alone {
        // What was folded behind it may have read what never was.
        reset(lane, Vec::new(), batch.settled, &Lost::Conflict).await;
    }
}

async fn lost(lane: &Lane, batch: Batch, why: Lost) {
    if !matches!(why, Lost::Conflict) {
        tracing::warn!(app = %lane.app, error = %why, "calls were not committed and run again");
    }
    reset(lane, batch.waiters, batch.settled, &why).await;
}

async fn reset(lane: &Lane, waiters: Vec<tokio::sync::oneshot::Sender<Result<Durable, Lost>>>, settled: Vec<Settled>, why: &Lost) {
    let base = base(lane).await;
    let (others, epoch) = {
        let mut inner = lane.inner.lock();
        (inner.reset(base), inner.epoch)
    };
    let mut consumers: BTreeMap<FunctionId, Arc<Shared>> =
        settled.into_iter().map(|Settled { shared, .. }| (shared.id.clone(), shared)).collect();
    for batch in others {
        consumers.extend(batch.settled.into_iter().map(|Settled { shared, .. }| (shared.id.clone(), shared)));
        for waiter in batch.waiters {
            let _ = waiter.send(Err(why.clone()));
        }
    }
    for waiter in waiters {
        let _ = waiter.send(Err(why.clone()));
    }
    for shared in consumers.into_values() {
        shared.lost(epoch);
    }
}
