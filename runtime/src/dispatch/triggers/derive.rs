//! Derived sensors: rules whose firings are readings. Each has an evaluator, as a function with a rule has one, and its place goes when the rule
//! is gone.

use super::{MADE_BY, Progress, evaluator::Evaluator, sink::Sink, work::Work};
use crate::{
    dispatch::{Dispatch, Feed},
    ledger::{Commit, Ledger, LedgerError, Op},
    model::{AppId, Event, FunctionId, Pattern, Seq, Write, derive::Derive, manifest::Order},
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whether a reading is one that others are made of.
pub type Takes = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// A rule that makes readings of readings.
#[derive(Clone)]
pub struct Derivation {
    /// The app that says it, and the rule's name.
    pub target: FunctionId,
    pub derive: Derive,
    /// Of what it looks at at all.
    pub pattern: Pattern,
    pub takes: Takes,
    /// As it was said: another rule begins anew.
    pub print: Bytes,
}

/// What is at work for a rule.
pub(in crate::dispatch) struct Deriving {
    print: Bytes,
    progress: Arc<Progress>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What is kept for a rule, as it was looked at.
pub struct DerivedPlace {
    pub target: FunctionId,
    place: AppId,
    print: Option<Bytes>,
}

impl Dispatch {
    /// What is kept in the ledger for rules that make readings.
    pub fn derived_places(&self) -> Result<Vec<DerivedPlace>, LedgerError> {
        let ledger = &self.context.ledger;
        let known = ledger.functions()?.into_iter().filter_map(|(function, _)| Some((function.derives()?, function.app)));
        known.map(|(target, place)| Ok(DerivedPlace { print: ledger.state(&place, MADE_BY)?, target, place })).collect()
    }

    /// Makes readings by these rules from now on, and by no others. It may be asked again and again: what runs goes on. Of what is kept, only
    /// that is forgotten which was `seen` before it was known what is wanted: the rest is of who has just set another rule.
    pub async fn derive(&self, wanted: Vec<Derivation>, seen: &[DerivedPlace]) -> Result<(), LedgerError> {
        let wanted: BTreeMap<FunctionId, Derivation> = wanted.into_iter().map(|rule| (rule.target.clone(), rule)).collect();
        let mut deriving = self.deriving.lock().await;
        let stays = |target: &FunctionId, running: &Deriving| {
            !running.task.is_finished() && wanted.get(target).is_some_and(|rule| rule.print == running.print)
        };
        let ended: Vec<FunctionId> =
            deriving.iter().filter(|(target, running)| !stays(target, running)).map(|(id, _)| id.clone()).collect();
        for target in ended {
            if let Some(running) = deriving.remove(&target) {
                running.end().await;
            }
        }
        let ledger = &self.context.ledger;
        for gone in seen.iter().filter(|place| !wanted.contains_key(&place.target)) {
            if ledger.state(&gone.place, MADE_BY)? == gone.print {
                ledger.apply(Op::DeleteApp { app: gone.place.clone() }).await?;
            }
        }
        for (target, rule) in wanted {
            let before = seen.iter().find(|place| place.target == target).and_then(|place| place.print.clone());
            if !register(ledger, &rule, before.as_ref()).await? {
                continue;
            }
            self.resume_rule(&target).await?;
            deriving.entry(target).or_insert_with(|| self.begin(rule));
        }
        Ok(())
    }

    fn begin(&self, rule: Derivation) -> Deriving {
        let Derivation { target, derive, pattern, takes, print } = rule;
        let feed = Feed { triggers: false, pattern, order: Order::Device, select: None };
        let work = Work::rule(feed, Some(takes), &derive.rule);
        let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
        let (id, sink) = (target.deriver(), Sink::Sensor(derive));
        let evaluator = Evaluator::new(&self.context, id, &target, sink, print.clone(), work, progress.clone());
        Deriving { print, progress, task: tokio::spawn(evaluator.run(stop.clone())), stop }
    }

    /// How far the readings of a rule are made; none where it does not run.
    pub async fn derived(&self, rule: &FunctionId) -> Option<Seq> {
        self.deriving.lock().await.get(rule).map(|running| running.progress.scanned())
    }

    /// Makes no more readings; the rules stay.
    pub(in crate::dispatch) async fn stop_deriving(&self) {
        let all = std::mem::take(&mut *self.deriving.lock().await);
        all.values().for_each(|running| running.stop.cancel());
        for running in all.into_values() {
            running.end().await;
        }
    }
}

impl Deriving {
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "what makes the readings of a derived sensor ended by panic");
        }
    }
}

/// Its place in the ledger; a new one where what is kept there is another rule's. False where somebody has put yet another there since
/// `before`: who is behind is to look again.
async fn register(ledger: &Ledger, rule: &Derivation, before: Option<&Bytes>) -> Result<bool, LedgerError> {
    let id = rule.target.deriver();
    let known = ledger.state(&id.app, MADE_BY)?;
    if known.as_ref() == Some(&rule.print) {
        return Ok(true);
    }
    if known.as_ref() != before {
        return Ok(false);
    }
    if known.is_some() {
        ledger.apply(Op::DeleteApp { app: id.app.clone() }).await?;
    }
    let start = *ledger.head().borrow();
    ledger.apply(Op::Register { function: id.clone(), start }).await?;
    let writes = vec![Write { key: MADE_BY.to_owned(), value: Some(rule.print.clone()) }];
    ledger.apply(Op::Commit(Commit::resting_on_nothing(id.app, Vec::new(), writes))).await?;
    Ok(true)
}
