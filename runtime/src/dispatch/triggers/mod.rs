//! Triggers that time makes. For each function with a rule or a schedule an *evaluator* follows the log, and writes into it what the
//! function is to be told: an event of the kind `Trigger`, which the function's consumer takes like any other. The evaluator of a derived sensor writes
//! readings instead.
//!
//! An evaluator has a place in the ledger of its own, beside that of its app: a position, a state and a version. One commit holds its
//! position, what the rule keeps, and the events; so each is told once, whatever dies in between, and on however many nodes the rule is
//! looked at (decision 0032). Who loses a race begins again from what is durable.

mod derive;
mod evaluator;
mod past;
mod shelf;
mod sink;
mod work;

use super::Context;
use crate::{
    ledger::{Ledger, LedgerError, Op},
    model::{FunctionId, Seq, Subject, Write, manifest::Trigger},
};
pub(super) use derive::Deriving;
pub use derive::{Derivation, DerivedPlace, Takes};
use evaluator::Evaluator;
pub use past::{End, Teller, seen};
use sink::Sink;
use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use work::Work;

/// Where the state of an evaluator says whose rule it was made by.
const MADE_BY: &str = "rule";

/// How far an evaluator has come.
#[derive(Debug, Default)]
pub struct Progress {
    scanned: AtomicU64,
}

impl Progress {
    /// The last event whose triggers are in the log; those behind it may still make some.
    pub fn scanned(&self) -> Seq {
        self.scanned.load(Ordering::Acquire)
    }
}

/// An evaluator that runs.
pub(super) struct Evaluating {
    pub trigger: Trigger,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

/// Starts the evaluator of a function whose trigger time makes. None for any other.
pub(super) fn start(context: &Context, target: &FunctionId, trigger: &Trigger) -> Option<Evaluating> {
    let work = Work::of(target, trigger)?;
    let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
    let (id, sink) = (target.evaluator(), Sink::Function(subject(target)));
    let evaluator = Evaluator::new(context, id, target, sink, made_by(trigger), work, progress.clone());
    let task = tokio::spawn(evaluator.run(stop.clone()));
    Some(Evaluating { trigger: trigger.clone(), progress, stop, task })
}

/// Gives the evaluator of a function its place in the ledger, and a new one when it is about other readings: what was kept of the old
/// ones says nothing about the new.
pub(super) async fn register(ledger: &Ledger, target: &FunctionId, trigger: &Trigger) -> Result<(), LedgerError> {
    let (id, rule) = (target.evaluator(), made_by(trigger));
    let known = ledger.state(&id.app, MADE_BY)?;
    if known.as_ref().is_some_and(|known| !is_of_use(known, trigger)) {
        ledger.apply(Op::DeleteApp { app: id.app.clone() }).await?;
    }
    let start = *ledger.head().borrow();
    ledger.apply(Op::Register { function: id.clone(), start }).await?;
    if known.is_none_or(|known| known != rule) {
        // It moves the version on: whoever still goes by the old rule is refused, and sees that it is old.
        let writes = vec![Write { key: MADE_BY.to_owned(), value: Some(rule) }];
        ledger.apply(Op::Commit(crate::ledger::Commit::resting_on_nothing(id.app, Vec::new(), writes))).await?;
    }
    Ok(())
}

/// Whether what was kept for one trigger may be of use to another: they are of one kind, and about
/// the same readings. The rule itself knows the rest.
fn is_of_use(known: &[u8], trigger: &Trigger) -> bool {
    let Ok(known) = serde_json::from_slice::<Trigger>(known) else { return false };
    match (&known, trigger) {
        (
            Trigger::Event { subject: one, select: of_one, rule: Some(rule), .. },
            Trigger::Event { subject: other, select: of_other, rule: Some(changed), .. },
        ) => one == other && of_one == of_other && mem::discriminant(rule) == mem::discriminant(changed),
        // Moments that were owed by the old schedule are not owed by the new.
        (one, other) => one == other,
    }
}

/// A rule as bytes that are the same as long as it is. Delivery and timeout are no part of it.
fn made_by(trigger: &Trigger) -> bytes::Bytes {
    // A trigger is written into every release this way.
    serde_json::to_vec(trigger).unwrap_or_default().into()
}

/// The subject on which a function is told of its triggers.
pub(super) fn subject(target: &FunctionId) -> Subject {
    let text = format!("trigger.{}.{}", target.app.app.to_token(), target.function.to_token());
    // Two encoded ids are a subject, as with readings.
    Subject::new(&text).unwrap_or_else(|e| unreachable!("{e}"))
}
