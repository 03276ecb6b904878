//! One function over what was, in ledgers of its own: the consumer, the lane and the rules of time that there are for what is.

use super::{
    Dispatch, Eyes, HistorySource, Settings, Shared, Sight,
    triggers::{End, Teller},
};
use crate::{
    engine::Loaded,
    host::HistoryPage,
    ledger::{Ledger, LedgerError, Log},
    model::{AppId, Event, FunctionId, Id, Micros, Seq, selector::Selector},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Where a function runs over what was.
pub struct PastLedgers {
    /// Position, state and all that comes of it; nobody else's.
    pub scratch: Ledger,
    /// What its rule keeps and tells, where it has one.
    pub triggers: Ledger,
    pub past: Arc<dyn Log>,
}

/// A function that runs over what was.
pub struct Again {
    dispatch: Dispatch,
    ledgers: PastLedgers,
    end: End,
    target: FunctionId,
    is_told: bool,
    shared: Arc<Shared>,
    teller: Mutex<Option<Teller>>,
}

impl Dispatch {
    /// Runs the one function of a release over the past, with the settings it is given and with registry and engine of this dispatch. It
    /// reads no history: that would be of now. Which events it may be given is for who makes the past to say. Who was here before and
    /// died goes on where the ledgers say.
    pub async fn again(&self, loaded: Arc<Loaded>, settings: Settings, ledgers: PastLedgers, end: End) -> Result<Again, LedgerError> {
        let none = || LedgerError::Format(format!("release {} of `{}`: it has no function for events", loaded.release.number, loaded.app));
        let target: FunctionId = super::events(&loaded).next().map(|(id, _, _)| id).ok_or_else(none)?;
        let rule = super::timed(&loaded).next().map(|(_, trigger)| trigger.clone());
        let sight = hindsight(self.context.sight.clone());
        let teller = rule.and_then(|rule| {
            let ledger = ledgers.triggers.over(ledgers.past.clone());
            Teller::new(ledger, self.context.fits.clone(), sight.clone(), &target, &rule)
        });
        let log: Arc<dyn Log> = if teller.is_some() { Arc::new(ledgers.triggers.clone()) } else { ledgers.past.clone() };
        let context = self.context.again(ledgers.scratch.over(log), sight);
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
            Ok(shared) => {
                let is_told = teller.is_some();
                Ok(Again { dispatch, ledgers, end, target, is_told, shared, teller: Mutex::new(teller) })
            }
            Err(error) => {
                dispatch.stop().await;
                Err(error)
            }
        }
    }
}

impl super::Context {
    fn again(&self, ledger: Ledger, sight: Sight) -> super::Context {
        super::Context {
            engine: self.engine.clone(),
            ledger,
            evaluates: false,
            history: no_history(),
            fits: self.fits.clone(),
            sight,
            calls_per_function_max: self.calls_per_function_max,
            // With those of the functions that are live: whoever is at work counts, and whoever waits.
            workers: self.workers.clone(),
            slow: self.slow.clone(),
            slow_per_app_max: self.slow_per_app_max,
            http_calls: self.http_calls.clone(),
            http_calls_per_app_max: self.http_calls_per_app_max,
        }
    }
}

fn no_history() -> HistorySource {
    Arc::new(|_, _| -> BoxFuture<'static, Result<HistoryPage, String>> { Box::pin(async { Err(super::replay::NO_HISTORY.to_owned()) }) })
}

/// Eyes that have seen already whether they may: what was received when is not what it was, where it is run by another clock.
struct Hindsight(Arc<dyn Eyes>);

impl Hindsight {
    fn as_of_now(event: &Event) -> Event {
        let mut event = event.clone();
        event.body.received = Micros(i64::MAX);
        event
    }
}

impl Eyes for Hindsight {
    fn reach(&self, _: Seq) -> Result<(), String> {
        Ok(())
    }

    fn sees(&self, event: &Event) -> bool {
        self.0.sees(&Hindsight::as_of_now(event))
    }

    fn fits(&self, selector: &Selector, event: &Event) -> bool {
        self.0.fits(selector, &Hindsight::as_of_now(event))
    }

    fn commands(&self, device: &Id) -> bool {
        self.0.commands(device)
    }
}

fn hindsight(sight: Sight) -> Sight {
    Arc::new(move |app: &AppId| sight(app).map(|eyes| -> Arc<dyn Eyes> { Arc::new(Hindsight(eyes)) }))
}

impl Again {
    /// Tells the function what its rule makes of the past, until all is told or it is stopped. Nothing where it has none.
    pub async fn tell(&self, stop: CancellationToken) -> Result<(), LedgerError> {
        let teller = self.teller.lock().take();
        match teller {
            Some(teller) => teller.run(self.end, stop).await,
            None => Ok(()),
        }
    }

    /// Whether everything is settled, durably, once all there is was read and told.
    pub fn is_through(&self) -> bool {
        let end = if self.is_told { *self.ledgers.triggers.head().borrow() } else { self.end.last };
        self.shared.scanned() >= end && self.shared.open() == 0 && self.shared.parked() == 0
    }

    /// The function's consumer ended by itself.
    pub fn is_lost(&self) -> bool {
        self.dispatch.consumer(&self.target).is_none()
    }

    /// Up to where all is settled, durably; what came of it can be read in the scratch ledger.
    pub fn through(&self) -> Seq {
        // Not what the ledger says: that is told of a position before it shows what came with it.
        self.shared.tracker.lock().through()
    }

    /// The last event of the past that nobody will look at again.
    pub fn looked_at(&self) -> Result<Seq, LedgerError> {
        let (ledger, id) = match self.is_told {
            true => (&self.ledgers.triggers, self.target.evaluator()),
            false => (&self.ledgers.scratch, self.target.clone()),
        };
        Ok(ledger.position(&id)?.map_or(0, |position| position.through))
    }

    /// Ends; what was folded is durable then.
    pub async fn stop(&self) {
        self.dispatch.stop().await;
    }
}
