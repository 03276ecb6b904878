//! The loop that follows the log: readings are looked at, what they fire is made durable, and only then counts as looked at.

use super::{Notify, NotifyError, POSITION, fire::Candidate, place, recent::Recent};
use crate::{
    ledger::{Commit, Op},
    model::{Event, Id, Seq, Write},
    telemetry::chain,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const STEP_EVENTS: usize = 8_192;
const STEP_BYTES: usize = 4 << 20;
/// The time between two notes of how far the log was read. A crash costs reading so much of it again: what has fired does not fire again.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// The same on a node without notifications: whose are made later begin with what comes then.
const NOTE_EVERY_IDLE: Duration = Duration::from_secs(60);
/// Looks at one batch: each after the first is for a change that came between.
const LOOKS_MAX: u32 = 16;
/// How long events are let gather before they are looked at.
const GATHER: Duration = Duration::from_millis(20);
/// Pauses after an error, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

enum Next {
    Now,
    /// When the log has grown, and after this at the latest.
    Grown(Duration),
    Pause(Duration),
}

impl Notify {
    /// Follows and sends until the shutdown. What fails is tried again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.follow(shutdown.clone()), self.0.deliver(shutdown));
    }

    async fn follow(&self, shutdown: CancellationToken) {
        let mut head = self.0.ledger.head();
        let (mut pause, mut noted, mut recent) = (RETRY_FIRST, None, Recent::default());
        while !shutdown.is_cancelled() {
            head.borrow_and_update();
            // A commit under way is not given up: whether it counts would not be known.
            let next = match self.step_and_note(&mut recent, &mut noted).await {
                Ok(next) => {
                    self.0.standing.is_well();
                    pause = RETRY_FIRST;
                    next
                }
                Err(error) => {
                    self.0.standing.fails(chain(&error));
                    tracing::warn!(error = chain(&error), "the notifications wait {pause:?} and try again");
                    let next = Next::Pause(pause);
                    pause = (pause * 2).min(RETRY_LAST);
                    next
                }
            };
            let wait = async {
                match next {
                    Next::Now => {}
                    Next::Grown(most) => drop(tokio::time::timeout(most, grown(&mut head)).await),
                    Next::Pause(time) => tokio::time::sleep(time).await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = shutdown.cancelled() => {}
            }
        }
        if let Err(error) = self.note(self.position()).await {
            tracing::warn!(error = chain(&error), "readings that were looked at are looked at again after the next start");
        }
    }

    async fn step_and_note(&self, recent: &mut Recent, noted: &mut Option<(Seq, Instant)>) -> Result<Next, NotifyError> {
        let more = self.step(recent).await?;
        let position = self.position();
        let every = if self.0.index.read().is_empty() { NOTE_EVERY_IDLE } else { NOTE_EVERY };
        if noted.is_none_or(|(seq, at)| seq != position && at.elapsed() >= every) {
            self.note(position).await?;
            *noted = Some((position, Instant::now()));
        }
        let is_noted = noted.is_some_and(|(seq, _)| seq == position);
        Ok(match (more, is_noted) {
            (true, _) => Next::Now,
            (false, true) => Next::Grown(Duration::from_secs(3_600)),
            (false, false) => Next::Grown(every),
        })
    }

    /// One batch of the log. True when there is more. What is found to have changed meanwhile is looked at once more as it is now, so
    /// that no reading is passed over for it.
    pub(super) async fn step(&self, recent: &mut Recent) -> Result<bool, NotifyError> {
        let (inner, from) = (self.0.clone(), self.position() + 1);
        let head = *inner.ledger.head().borrow();
        if from > head {
            return Ok(false);
        }
        let events = tokio::task::spawn_blocking(move || inner.ledger.events(from, STEP_EVENTS, STEP_BYTES));
        let (batch, mut only): (Arc<[Arc<Event>]>, _) = (events.await??.into(), None);
        for nth in 1..=LOOKS_MAX {
            let (candidates, fresh) = self.look(&batch, recent, only.take()).await?;
            let others = self.0.commit(&candidates).await?;
            if others.is_empty() || nth == LOOKS_MAX {
                recent.take(fresh, &self.0.index.read());
                break;
            }
            only = Some(others);
        }
        let last = batch.last().map_or(head, |event| event.seq);
        self.0.position.store(last, Ordering::Release);
        Ok(last < head)
    }

    async fn look(
        &self,
        batch: &Arc<[Arc<Event>]>,
        recent: &mut Recent,
        only: Option<BTreeSet<Id>>,
    ) -> Result<(Vec<Candidate>, Recent), NotifyError> {
        let (inner, known, batch) = (self.0.clone(), std::mem::take(recent), batch.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let found = inner.look(&batch, &known, only.as_ref());
            (known, found)
        });
        let (known, found) = looked.await?;
        *recent = known;
        found
    }

    /// Notes how far the log was read. Any node's note is right for all: what lies before it was looked at, and what that fired is durable.
    pub(super) async fn note(&self, position: Seq) -> Result<(), NotifyError> {
        let value = serde_json::to_vec(&position).unwrap_or_default();
        let commit = Commit {
            app: place(&self.0.tenant),
            base: None,
            done: Vec::new(),
            writes: vec![Write { key: POSITION.to_owned(), value: Some(value.into()) }],
            events: Vec::new(),
            park: Vec::new(),
            unpark: Vec::new(),
            dead: Vec::new(),
            dedup: None,
        };
        self.0.ledger.apply(Op::Commit(commit)).await?;
        Ok(())
    }
}

/// Waits until the log has grown and a batch has gathered.
async fn grown(head: &mut watch::Receiver<Seq>) {
    // An error means that the ledger is gone: then nothing comes any more.
    if head.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(GATHER).await;
}
