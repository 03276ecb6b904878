//! The loop that follows the ledger.

use super::{Devices, DevicesError};
use crate::{ledger::Ledger, model::Seq, telemetry::chain};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to let events gather before they are read: of many readings of a sensor only the last is written.
const GATHER: Duration = Duration::from_millis(20);
const STEP_EVENTS: usize = 8_192;
const STEP_BYTES: usize = 4 << 20;
/// The time between two syncs. A crash costs reading so much of the log again, nothing else.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Pauses after an error, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

enum Next {
    Now,
    /// When the log has grown, or to sync what is not synced.
    Grown(Option<Duration>),
    Pause(Duration),
}

impl Devices {
    /// Follows the ledger until the shutdown, then syncs. What fails or panics is tried again: a step that did not end has
    /// changed nothing, because it is one transaction.
    pub async fn run(&self, ledger: Ledger, shutdown: CancellationToken) -> Result<(), DevicesError> {
        let mut head = ledger.head();
        let (mut pause, mut synced) = (RETRY_FIRST, Instant::now());
        while !shutdown.is_cancelled() {
            head.borrow_and_update();
            let (devices, log) = (self.clone(), ledger.clone());
            let stepped = tokio::task::spawn_blocking(move || devices.step(&log, &mut synced).map(|next| (next, synced))).await;
            let next = match stepped.unwrap_or_else(|error| Err(error.into())) {
                Ok((next, at)) => {
                    self.standing.is_well();
                    (pause, synced) = (RETRY_FIRST, at);
                    next
                }
                Err(error) => {
                    self.standing.fails(chain(&error));
                    tracing::warn!(error = chain(&error), "the devices wait {pause:?} and try again");
                    let next = Next::Pause(pause);
                    pause = (pause * 2).min(RETRY_LAST);
                    next
                }
            };
            let wait = async {
                match next {
                    Next::Now => {}
                    Next::Grown(None) => grown(&mut head).await,
                    Next::Grown(Some(most)) => drop(tokio::time::timeout(most, grown(&mut head)).await),
                    Next::Pause(time) => tokio::time::sleep(time).await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = shutdown.cancelled() => {}
            }
        }
        let devices = self.clone();
        tokio::task::spawn_blocking(move || devices.commit()).await?
    }

    /// Takes some of what is in the log up to `seq`, now rather than a moment later; true when it has all of it. Blocks.
    pub fn reach(&self, ledger: &Ledger, seq: Seq) -> Result<bool, DevicesError> {
        if self.position() < seq {
            let events = ledger.events(self.position() + 1, STEP_EVENTS, STEP_BYTES).map_err(DevicesError::Ledger)?;
            self.index(&events)?;
        }
        Ok(self.position() >= seq)
    }

    fn step(&self, ledger: &Ledger, synced: &mut Instant) -> Result<Next, DevicesError> {
        let (head, next) = (*ledger.head().borrow(), self.position() + 1);
        let mut more = false;
        #[cfg(test)]
        assert!(!self.stumbles.swap(false, std::sync::atomic::Ordering::SeqCst), "a test asked for it");
        if next <= head {
            let events = ledger.events(next, STEP_EVENTS, STEP_BYTES).map_err(DevicesError::Ledger)?;
            self.index(&events)?;
            more = events.last().is_some_and(|event| event.seq < head);
        }
        if self.is_dirty() && synced.elapsed() >= COMMIT_INTERVAL {
            self.commit()?;
            *synced = Instant::now();
        }
        Ok(match (more, self.is_dirty()) {
            (true, _) => Next::Now,
            (false, true) => Next::Grown(Some(COMMIT_INTERVAL.saturating_sub(synced.elapsed()))),
            (false, false) => Next::Grown(None),
        })
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
