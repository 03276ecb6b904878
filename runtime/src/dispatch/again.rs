//! One function over what was, in a ledger of its own: the consumer, the lane and the rules of time that there are for what is.

use super::{Dispatch, HistorySource, Settings, Shared, stats::Stats, work::Slow};
use crate::{
    engine::Loaded,
    host::HistoryPage,
    ledger::{Ledger, LedgerError},
    model::{FunctionId, Micros, Seq},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::{Arc, atomic::Ordering};

/// What time it is for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Now,
    /// As late as the last event that was looked at was received; behind the event `last`, which is the end of it, `until`.
    Past {
        last: Seq,
        until: Micros,
    },
}

impl Era {
    pub(super) fn is_now(self) -> bool {
        self == Era::Now
    }
}

/// Where a function runs over what was.
pub struct PastLedgers {
    /// Position, state and all that comes of it; nobody else's.
    pub scratch: Ledger,
    /// The same with the past for its log.
    pub past: Ledger,
}

/// A function that runs over what was.
pub struct Again {
    dispatch: Dispatch,
    scratch: Ledger,
    last: Seq,
    /// Its events are made by a rule: they are in the scratch ledger.
    is_told: bool,
    shared: Arc<Shared>,
}

impl Dispatch {
    /// Runs the one function of a release over the past, with the settings it is given and with eyes, registry and engine of this dispatch.
    /// It reads no history: that would be of now. Who was here before and died goes on where the ledger says.
    pub async fn again(&self, loaded: Arc<Loaded>, settings: Settings, ledgers: PastLedgers, era: Era) -> Result<Again, LedgerError> {
        let PastLedgers { scratch, past } = ledgers;
        let last = match era {
            Era::Past { last, .. } => last,
            Era::Now => Seq::MAX,
        };
        let is_told = super::timed(&loaded).next().is_some();
        let none = || LedgerError::Format(format!("release {} of `{}`: it has no function for events", loaded.release.number, loaded.app));
        let target: FunctionId = super::events(&loaded).next().map(|(id, _, _)| id).ok_or_else(none)?;
        let ledger = if is_told { scratch.clone() } else { past.clone() };
        let context = self.context.again(ledger, past, era);
        let dispatch = Dispatch {
            context: Arc::new(context),
            apps: Default::default(),
            consumers: Mutex::default(),
            evaluators: Mutex::default(),
            deriving: Default::default(),
        };
        let begun = dispatch.set(loaded, settings).await;
        let shared = begun.and_then(|()| dispatch.consumer(&target).ok_or(LedgerError::Unknown));
        match shared {
            Ok(shared) => Ok(Again { dispatch, scratch, last, is_told, shared }),
            Err(error) => {
                dispatch.stop().await;
                Err(error)
            }
        }
    }
}

impl super::Context {
    fn again(&self, ledger: Ledger, followed: Ledger, era: Era) -> super::Context {
        super::Context {
            engine: self.engine.clone(),
            ledger,
            followed,
            era,
            history: no_history(),
            fits: self.fits.clone(),
            sight: self.sight.clone(),
            calls_per_function_max: self.calls_per_function_max,
            // With those of the functions that are live: whoever is at work counts.
            workers: self.workers.clone(),
            slow: Slow::new(self.slow_per_app_max),
            slow_per_app_max: self.slow_per_app_max,
            http_calls: self.http_calls.clone(),
            http_calls_per_app_max: self.http_calls_per_app_max,
        }
    }
}

fn no_history() -> HistorySource {
    Arc::new(|_, _| -> BoxFuture<'static, Result<HistoryPage, String>> { Box::pin(async { Err(super::replay::NO_HISTORY.to_owned()) }) })
}

impl Again {
    /// Whether everything is settled that there will ever be, durably.
    pub fn is_through(&self) -> bool {
        // In this order: what a rule makes is in the log before its evaluator ends.
        let end = match self.is_told {
            false => self.last,
            true if self.dispatch.evaluators.lock().values().all(|evaluator| evaluator.task.is_finished()) => *self.scratch.head().borrow(),
            true => return false,
        };
        self.shared.scanned() >= end && self.shared.open() == 0 && self.shared.parked() == 0
    }

    /// The function's consumer ended by itself.
    pub fn is_lost(&self) -> bool {
        self.dispatch.consumer(&self.shared.id).is_none()
    }

    /// Up to where the function has settled its events, durably; and the last event of the past that was looked at.
    pub fn position(&self) -> Result<(Seq, Seq), LedgerError> {
        let through = self.scratch.position(&self.shared.id)?.map_or(0, |position| position.through);
        let looked_at = match self.is_told {
            true => self.scratch.position(&self.shared.id.evaluator())?.map_or(0, |position| position.through),
            false => through,
        };
        Ok((through, looked_at))
    }

    /// Calls that ended since it began.
    pub fn calls(&self) -> u64 {
        let Stats { settled, .. } = &self.shared.stats;
        settled.load(Ordering::Relaxed)
    }

    /// Ends; what was folded is durable then.
    pub async fn stop(&self) {
        self.dispatch.stop().await;
    }
}
