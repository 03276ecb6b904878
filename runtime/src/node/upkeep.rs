//! What the node does every now and then: it drops what nobody needs any more, and keeps nothing without end for who is behind.

use crate::{
    clock,
    config::NodeConfig,
    devices::Devices,
    dispatch::Dispatch,
    history::History,
    ledger::{Ledger, LedgerError},
    model::{Micros, Seq},
    notify::Notify,
    telemetry::chain,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often events that nobody needs any more are dropped from the log, and old partitions from the history.
const EVERY: Duration = Duration::from_secs(60);

pub(super) struct Upkeep {
    pub ledger: Ledger,
    pub dispatch: Arc<Dispatch>,
    pub history: History,
    pub devices: Devices,
    pub notify: Notify,
    pub config: NodeConfig,
}

impl Upkeep {
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let now = clock::now();
            if let Err(error) = self.trim(now).await {
                tracing::warn!(error = chain(&error), "old events stay in the log for now");
            }
            retain(&self.history, &self.config, now).await;
        }
    }

    /// Drops what is older than `log_retention` and settled by all, and pauses those for whom too much would be kept.
    async fn trim(&self, now: Micros) -> Result<(), LedgerError> {
        let keep = Micros(now.0 - i64::try_from(self.config.log_retention.as_micros()).unwrap_or(i64::MAX));
        let followed = self.history.position().min(self.devices.position()).min(self.notify.position());
        let below = oldest_since(&self.ledger, keep)?.min(followed);
        if below > self.ledger.first() {
            self.dispatch.pause_laggards(below, self.config.limits.lag_bytes_max).await?;
            self.ledger.trim(below).await?;
        }
        Ok(())
    }
}

async fn retain(history: &History, config: &NodeConfig, now: Micros) {
    let Some(kept) = config.history_retention else { return };
    let before = Micros(now.0 - i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
    let history = history.clone();
    match tokio::task::spawn_blocking(move || history.retain(before)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(dropped)) => tracing::info!(dropped, "old partitions of the history are gone"),
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "old history stays for now"),
        Err(error) => tracing::error!(%error, "dropping old history panicked"),
    }
}

/// The first sequence received at or after `time`, found by halving: the log is in the order of receipt.
fn oldest_since(ledger: &Ledger, time: Micros) -> Result<Seq, LedgerError> {
    let (mut low, mut high) = (ledger.first(), *ledger.head().borrow() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let old = ledger.event(middle)?.is_none_or(|event| event.received < time);
        (low, high) = if old { (middle + 1, high) } else { (low, middle) };
    }
    Ok(low)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::Node, *};
    use crate::{
        ledger::{Append, Op},
        model::{FunctionId, Id, NewEvent, Value},
    };
    use std::net::SocketAddr;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_log_is_not_kept_without_end_for_a_function_that_never_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = NodeConfig { log_retention: Duration::ZERO, ..NodeConfig::new(dir.path()) };
        config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.limits.lag_bytes_max = 2_000;
        let node = Node::open(config).await.unwrap();
        let Node { ledger, dispatch, history, devices, notify, config, .. } = &node;
        let (tenant, name) = (config.tenant.clone(), Id::new("never").unwrap());
        let function = FunctionId { app: crate::model::AppId::new(tenant.clone(), name.clone()), function: name.clone() };
        ledger.apply(Op::Register { function: function.clone(), start: 0 }).await.unwrap();
        let upkeep = Upkeep {
            ledger: ledger.clone(),
            dispatch: dispatch.clone(),
            history: history.clone(),
            devices: devices.clone(),
            notify: notify.clone(),
            config: config.clone(),
        };
        let end = tokio_util::sync::CancellationToken::new();
        let projections = {
            let (history, devices, notify) = (history.clone(), devices.clone(), notify.clone());
            let (ledger, end) = (ledger.clone(), end.clone());
            tokio::spawn(async move {
                let (one, other, ()) =
                    tokio::join!(history.run(ledger.clone(), end.clone()), devices.run(ledger, end.clone()), notify.run(end));
                one.unwrap();
                other.unwrap();
            })
        };
        // The node's own, such as that of the first user.
        let earlier = *ledger.head().borrow();
        let mut rounds = 0;
        while ledger.pause(&function).unwrap().is_none() {
            assert_eq!(ledger.first(), 1, "what is kept for it is little yet");
            assert!(rounds < 10, "more is kept for it than may be");
            rounds += 1;
            let now = clock::now();
            let event = NewEvent::reading(&tenant, &name, &name, now, now, Value::json(&format!("\"{}\"", "x".repeat(400))).unwrap());
            ledger.apply(Op::Append(Append { tenant: tenant.clone(), events: vec![event], dedup: None, intake: None })).await.unwrap();
            let head = *ledger.head().borrow();
            while history.position().min(devices.position()).min(notify.position()) < head {
                tokio::task::yield_now().await;
            }
            upkeep.trim(clock::now().plus_millis(1_000)).await.unwrap();
        }
        assert!(rounds >= 5, "{rounds} readings of 400 bytes are within its limit");
        assert_eq!(ledger.first(), earlier + rounds, "all that everybody else has passed is gone");
        assert_eq!(ledger.lost(None).unwrap()[0].1.events, earlier + rounds - 1);
        end.cancel();
        projections.await.unwrap();
    }
}
