//! The loop that follows the ledger: read a batch, index it, commit when it is time.

use super::{History, HistoryError};
use crate::{ledger::Ledger, model::Seq, telemetry::chain};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to let events gather before they are read: a wake-up for each would cost more than the event.
const GATHER: Duration = Duration::from_millis(20);
/// Events read at a time; small, so that a commit is never long overdue.
const STEP_EVENTS: usize = 4_096;
const STEP_BYTES: usize = 4 << 20;
/// So many events behind the log, larger commits count for more than a quick one: each is a segment that is merged later.
const BEHIND_EVENTS: u64 = 100_000;
const BEHIND_COMMIT_INTERVAL: Duration = Duration::from_secs(2);
/// Pauses after an error, doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

pub(super) enum Next {
    /// There is more to read.
    Now,
    /// Something is not committed yet.
    After(Duration),
    /// Nothing to do until the log grows, or until then, when something can be closed.
    Idle(Option<Duration>),
}

impl History {
    /// Follows the ledger until the shutdown, then commits. What fails or panics is tried again: the log keeps what the
    /// history has not had.
    pub async fn run(&self, ledger: Ledger, shutdown: CancellationToken) -> Result<(), HistoryError> {
        let mut head = ledger.head();
        let (mut pause, mut panicked) = (RETRY_FIRST, false);
        while !shutdown.is_cancelled() {
            head.borrow_and_update();
            let (history, log) = (self.clone(), ledger.clone());
            let stepped = tokio::task::spawn_blocking(move || history.step(&log, panicked)).await;
            panicked = stepped.is_err();
            let next = match stepped.unwrap_or_else(|error| Err(error.into())) {
                Ok(next) => {
                    self.standing.is_well();
                    pause = RETRY_FIRST;
                    next
                }
                Err(error) => {
                    self.standing.fails(chain(&error));
                    tracing::warn!(error = chain(&error), "the history waits {pause:?} and tries again");
                    let next = Next::After(pause);
                    pause = (pause * 2).min(RETRY_LAST);
                    next
                }
            };
            let wait = async {
                match next {
                    Next::Now => {}
                    Next::After(time) => tokio::time::sleep(time).await,
                    Next::Idle(None) => grown(&mut head).await,
                    Next::Idle(Some(most)) => drop(tokio::time::timeout(most, grown(&mut head)).await),
                }
            };
            tokio::select! {
                () = wait => {}
                () = shutdown.cancelled() => {}
            }
        }
        let history = self.clone();
        tokio::task::spawn_blocking(move || history.stop()).await?
    }

    /// Reads, indexes and commits what is due.
    pub(super) fn step(&self, ledger: &Ledger, panicked: bool) -> Result<Next, HistoryError> {
        if panicked {
            // What the open writers hold is what nobody knows; what is on disk is known.
            self.writers.lock().abandon();
        }
        let head = *ledger.head().borrow();
        let full = self.read_some(ledger, head)?;
        let mut writers = self.writers.lock();
        let behind = head.saturating_sub(writers.processed());
        let interval = if behind > BEHIND_EVENTS { BEHIND_COMMIT_INTERVAL } else { self.options.commit_interval };
        let since = writers.since_commit();
        if writers.is_dirty() && (since >= interval || writers.is_full()) {
            writers.commit()?;
            self.position.send_replace(writers.stored());
        }
        if full {
            return Ok(Next::Now);
        }
        if writers.is_dirty() {
            return Ok(Next::After(GATHER.min(interval.saturating_sub(since))));
        }
        let quiet = if writers.open_count() > 0 { Some(writers.since_event()) } else { self.partitions.since_use() };
        drop(writers);
        match quiet {
            None => Ok(Next::Idle(None)),
            Some(quiet) if quiet < self.options.rest_after => Ok(Next::Idle(Some(self.options.rest_after - quiet))),
            Some(_) => self.rest().map(|()| Next::Idle(None)),
        }
    }

    /// Whether there is more to read than was read.
    fn read_some(&self, ledger: &Ledger, head: Seq) -> Result<bool, HistoryError> {
        let next = self.next();
        if next > head {
            return Ok(false);
        }
        let first = ledger.first();
        if first > next {
            tracing::warn!(from = next, to = first - 1, "the log no longer has these events, and the history never had them");
        }
        let events = ledger.events(next, STEP_EVENTS, STEP_BYTES).map_err(HistoryError::Ledger)?;
        let mut writers = self.writers.lock();
        // A question may have read on in the meantime, and what failed may have been forgotten: then it is read again from there.
        if writers.processed() + 1 >= next {
            writers.index(&events)?;
        }
        let last = events.last().map(|event| event.seq);
        // A batch that was cut short by its size is full, too; one that reached the head is not, though the head moves on.
        Ok(last.is_some_and(|last| last < head))
    }

    /// Commits and lets go; at most one merge for each open partition is waited for.
    fn stop(&self) -> Result<(), HistoryError> {
        let mut writers = self.writers.lock();
        writers.commit()?;
        writers.abandon();
        self.position.send_replace(writers.stored());
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
