//! Answers that hold what was acknowledged before the question.

use super::{History, HistoryError, Query};
use crate::{
    ledger::Ledger,
    model::{Event, Seq},
};
use std::time::Instant;

/// Events looked at in the log at a time.
const LOOK_EVENTS: usize = 8_192;
const LOOK_BYTES: usize = 4 << 20;
/// So many events behind, it takes less to wait for the history than to look through the log.
const LOOK_EVENTS_MAX: u64 = 65_536;

impl History {
    /// Returns when a search would find every event of the log that a question is about and that was there before it. Who asks for
    /// what nobody has sent just now waits for nothing; who does waits until the next commit, and commits come as often as ever.
    pub async fn reach(&self, ledger: &Ledger, query: &Query) -> Result<(), HistoryError> {
        let head = *ledger.head().borrow();
        let from = self.position() + 1;
        if from > head {
            return Ok(());
        }
        let (log, asked) = (ledger.clone(), query.clone());
        match tokio::task::spawn_blocking(move || last_of(&log, &asked, from, head)).await?? {
            Some(last) => self.reach_event(ledger, last).await,
            None => Ok(()),
        }
    }

    async fn reach_event(&self, ledger: &Ledger, last: Seq) -> Result<(), HistoryError> {
        let (started, most) = (Instant::now(), self.options.reach_time);
        let mut position = self.watch();
        while *position.borrow_and_update() < last {
            if started.elapsed() > most {
                return Err(HistoryError::Behind(most));
            }
            // Whoever comes first does what is due: the loop that follows the log, or a question.
            let (history, log) = (self.clone(), ledger.clone());
            let due = tokio::task::spawn_blocking(move || {
                history.step(&log, false)?;
                let writers = history.writers.lock();
                Ok::<_, HistoryError>(history.options.commit_interval.saturating_sub(writers.since_commit()))
            });
            let due = match due.await {
                Ok(due) => due?,
                Err(error) => {
                    // What the open writers hold is what nobody knows now; what is on disk is known.
                    let history = self.clone();
                    tokio::task::spawn_blocking(move || history.writers.lock().abandon()).await?;
                    return Err(error.into());
                }
            };
            if self.position() < last {
                // Nobody drops the sender: only the time can be up.
                let _ = tokio::time::timeout(due.min(most), position.changed()).await;
            }
        }
        Ok(())
    }
}

/// The last event from `from` to `head` that the question is about; `head` where there are too many to look at.
fn last_of(ledger: &Ledger, query: &Query, from: Seq, head: Seq) -> Result<Option<Seq>, HistoryError> {
    if head - from >= LOOK_EVENTS_MAX {
        return Ok(Some(head));
    }
    let (mut next, mut last) = (from, None);
    while next <= head {
        let events = ledger.events(next, LOOK_EVENTS, LOOK_BYTES).map_err(HistoryError::Ledger)?;
        let Some(end) = events.last().map(|event| event.seq) else { break };
        let meant = events.iter().rev().find(|event| event.seq <= head && is_meant(query, event));
        last = meant.map(|event| event.seq).or(last);
        next = end + 1;
    }
    Ok(last)
}

/// Whether the question can be about the event: its text is not looked at.
fn is_meant(query: &Query, event: &Event) -> bool {
    event.tenant == query.tenant
        && query.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
        && query.sources.as_ref().is_none_or(|sources| sources.iter().any(|source| event.device.as_ref() == Some(&source.device)))
        && query.sensors.as_ref().is_none_or(|ids| event.sensor.as_ref().is_some_and(|sensor| ids.contains(sensor)))
        && query.from.is_none_or(|from| event.measured >= from)
        && query.to.is_none_or(|to| event.measured < to)
}
