//! One follower of the log for all clients, and what has to be done every now and then.

use super::broker::Broker;
use crate::{clock, ledger::LedgerError, model::Tenant, telemetry::chain};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events given out before others have their turn.
const STEP_EVENTS: usize = 512;
const STEP_BYTES: usize = 1 << 20;
/// After the log could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// How often sessions that are over are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);

impl Broker {
    /// Gives what happens to who subscribed, until `stop`.
    pub async fn follow(self: Arc<Broker>, stop: CancellationToken) {
        let mut head = self.ledger.head();
        while !stop.is_cancelled() {
            let newest = *head.borrow_and_update();
            if let Err(error) = self.step(newest).await {
                tracing::warn!(error = chain(&error), "the log can't be read for MQTT; trying again in {RETRY:?}");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
    }

    async fn step(&self, newest: u64) -> Result<(), LedgerError> {
        loop {
            let next = self.next().max(self.ledger.first());
            if next > newest {
                return Ok(());
            }
            let events = self.ledger.events(next, STEP_EVENTS, STEP_BYTES)?;
            if events.is_empty() {
                return Ok(());
            }
            self.publish(&events);
            tokio::task::yield_now().await;
        }
    }

    /// Forgets sessions that are over, and ends connections of those who may not stay any more, until `stop`.
    pub async fn look_after(self: Arc<Broker>, tenant: Tenant, mut revoked: watch::Receiver<u64>, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                _ = sweep.tick() => if let Err(error) = self.sweep(&tenant, clock::now()).await {
                    tracing::warn!(error = chain(&error), "sessions of MQTT that are over stay for now");
                },
                changed = revoked.changed() => match changed {
                    Ok(()) => self.look_again(),
                    Err(_) => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }
}
