//! Runs some events of one key, one after another: call, verdict, fold.

use super::{
    App, Context, Settings,
    batch::Fold,
    lane::{Refused, Turn},
    outgoing::{self, Origin},
    parking::Waiting,
    queues::Line,
    record::{self, Noted},
    shared::Shared,
    verdict::{Verdict, verdict},
    work::{Job, Waits},
};
use crate::{
    clock,
    engine::{Attempt, Failure, Loaded, Outcome, Permit},
    host::{Taken, World},
    ledger::{DeadLetter, Parked},
    model::{Effects, Event, LogLine, Micros, RunOutcome, Seq, manifest::Function},
};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

/// Log lines a dead letter keeps.
const LOG_TAIL_LINES: usize = 20;
/// Calls that a worker makes one after another in one turn and with one permit, each of which wait for nothing. To take both for each
/// costs two workers more than a short call does, because they take them from each other's caches; after so many others may go.
const HELD_CALLS_MAX: u32 = 32;

/// An event to run.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub event: Arc<Event>,
    /// Attempts made before.
    pub attempts: u32,
    /// Comes out of the parked events, not from the log.
    pub parked: Option<ParkedItem>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ParkedItem {
    pub replay: bool,
}

/// What became of a run of one line.
pub(super) struct Ran {
    pub line: Line,
    pub ended: Ended,
    /// A parked event that is settled now, and the moment of the lane at which it was.
    pub unparked: Option<(Seq, u64)>,
    /// Not begun, because the one before was parked.
    pub rest: Vec<Item>,
}

pub(super) enum Ended {
    Through,
    Parked(Waiting),
    /// Everything not durable is gone: begin again from the ledger.
    Reset,
}

enum Next {
    Settled,
    Parked(Waiting),
    Reset,
}

pub(super) struct Runner {
    context: Arc<Context>,
    app: Arc<App>,
    pub shared: Arc<Shared>,
    /// The lane's epoch in which the consumer's queues were made.
    epoch: u64,
    last: Option<Last>,
    held: Option<Held>,
}

/// What a call needs to run, kept for the next one.
struct Held {
    _turn: Turn,
    permit: Permit,
    calls: u32,
}

/// What the last call ran with: the next one nearly always does too.
struct Last {
    loaded: Arc<Loaded>,
    /// Of the function in its manifest.
    index: usize,
    settings: Arc<Settings>,
    world: Arc<dyn World>,
}

impl Runner {
    pub fn new(context: Arc<Context>, app: Arc<App>, shared: Arc<Shared>, epoch: u64) -> Runner {
        Runner { context, app, shared, epoch, last: None, held: None }
    }

    /// The release of this moment, and the world that goes with it. None: it does not have the function.
    fn live(&self, last: Option<Last>) -> Option<Last> {
        let (loaded, settings) = (self.app.loaded.load(), self.app.settings.load());
        let same = |last: &Last| Arc::ptr_eq(&last.loaded, &loaded) && Arc::ptr_eq(&last.settings, &settings);
        last.filter(same).or_else(|| {
            let name = &self.shared.id.function;
            let index = loaded.release.manifest.functions.iter().position(|function| function.name == *name)?;
            let world = self.app.world(&self.context);
            Some(Last { loaded: loaded.clone(), index, settings: settings.clone(), world })
        })
    }

    /// Turn and permit for the next call: those of the last one, or new ones.
    async fn hold(&mut self, alone: bool) -> Held {
        let (app, context) = (&self.app, &self.context);
        match self.held.take() {
            Some(held) if held.calls < HELD_CALLS_MAX && !alone && app.slow.has_room() && context.slow.has_room() => return held,
            // With neither in hand: who waits for them goes first, and so does everything else on this thread.
            Some(held) => {
                drop(held);
                tokio::task::yield_now().await;
            }
            None => {}
        }
        // Slow calls of this app leave instances for other apps, and those of all functions some for requests.
        app.slow.room().await;
        context.slow.room().await;
        let turn = app.lane.begin(alone).await;
        // Only now: a call that waits for its turn holds no instance, which others could use.
        let permit = context.engine.permit().await;
        Held { _turn: turn, permit, calls: 0 }
    }

    pub async fn run(&mut self, Job { line, items, epoch }: Job) -> Ran {
        // A worker may outlive the queues that it was begun for.
        self.epoch = epoch;
        let mut ran = Ran { line, ended: Ended::Through, unparked: None, rest: Vec::new() };
        let mut items = items.into_iter();
        for item in items.by_ref() {
            match self.one(&item).await {
                (Next::Settled, at) if item.parked.is_some() => ran.unparked = Some((item.event.seq, at)),
                (Next::Settled, _) => {}
                (Next::Parked(waiting), _) => {
                    ran.ended = Ended::Parked(waiting);
                    break;
                }
                (Next::Reset, _) => {
                    ran.ended = Ended::Reset;
                    break;
                }
            }
        }
        ran.rest = items.collect();
        ran
    }

    /// What became of an event, and the moment of the lane at which it did.
    async fn one(&mut self, item: &Item) -> (Next, u64) {
        // It may have waited for long: what its owner may not see any more does not reach the app.
        if (self.context.sight)(&self.app.id).is_some_and(|eyes| !super::eyes::reaches(&*eyes, &item.event)) {
            return self.pass_over(item);
        }
        let mut alone = false;
        loop {
            let mut held = self.hold(alone).await;
            let last = self.last.take();
            let Some(last) = self.live(last) else {
                // A release without this function went live; its consumer is being stopped.
                return (Next::Reset, 0);
            };
            let Last { loaded, index, world, .. } = &last;
            let (app, context, shared) = (&self.app, &self.context, &self.shared);
            let function = &loaded.release.manifest.functions[*index];
            let now = clock::now();
            let call: Arc<str> = format!("{}-{}", item.event.id(), function.name).into();
            let attempt = Attempt { function, event: &item.event, call: call.clone(), number: item.attempts + 1, now };
            let (outcome, waited) = {
                let running = pin!(context.engine.call(&held.permit, loaded, attempt, world.clone()));
                let mut running = Waits::new(running, shared, [&app.slow, &context.slow]);
                ((&mut running).await, running.waited)
            };
            held.calls += 1;
            crate::fault::point("call");
            let took = outcome.took;
            let (fold, next, noted) = self.fold(item, function, &call, loaded.release.number, outcome, now);
            let folded = app.lane.fold(self.epoch, fold, false);
            match folded {
                Ok(_) => shared.stats.recorder.counted(noted),
                Err(_) => shared.stats.recorder.lost(noted),
            }
            self.last = Some(last);
            match folded {
                Ok(folded) => {
                    self.held = Some(held).filter(|_| folded.goes_on && !alone && !waited);
                    self.shared.stats.count(&next_kind(&next), took);
                    return (next, folded.at);
                }
                Err(Refused::Reset) => return (Next::Reset, 0),
                Err(Refused::Stale) => {
                    self.shared.stats.reruns.fetch_add(1, Ordering::Relaxed);
                    alone = true;
                }
            }
        }
    }

    /// Settles an event that is none of the app's business.
    fn pass_over(&self, item: &Item) -> (Next, u64) {
        let is_parked = item.parked.is_some();
        let settled = Some((self.shared.clone(), if is_parked { 0 } else { item.event.seq }));
        let unpark = is_parked.then(|| (self.shared.id.clone(), item.event.seq));
        let fold = Fold { settled, received: Some(item.event.received), unpark, ..Fold::default() };
        match self.app.lane.fold(self.epoch, fold, false) {
            Ok(folded) => (Next::Settled, folded.at),
            Err(_) => (Next::Reset, 0),
        }
    }

    fn fold(&self, item: &Item, function: &Function, call: &str, release: u64, outcome: Outcome, now: Micros) -> (Fold, Next, Noted) {
        let attempts = item.attempts + 1;
        let origin = Origin { function: &self.shared.id, event: Some(&item.event), call, attempt: attempts, now };
        let (mut collected, took, spent) = (outcome.collected, outcome.took, outcome.spent);
        let Taken { mut effects, logs, logs_dropped, reads } = collected.take();
        // Trying again would come to the same: the event stays as far away from its beginning as it is.
        let result = outcome.result.and_then(|()| {
            let refusal = origin.refusal(&effects).or_else(|| outgoing::not_said(function, &effects));
            refusal.map_or(Ok(()), |reason| Err(Failure::Reject(reason)))
        });
        let verdict = verdict(&result, call, attempts, &function.delivery, now);
        let error = result.as_ref().err().map(ToString::to_string);
        let tail = log_tail(&logs, &verdict);
        let mut fold = Fold { reads, ..Fold::default() };
        // 0: a parked event's place in the log is settled already.
        fold.settled = Some((self.shared.clone(), if item.parked.is_some() { 0 } else { item.event.seq }));
        fold.received = Some(item.event.received);
        let unpark = item.parked.is_some().then(|| (self.shared.id.clone(), item.event.seq));
        let failure = error.as_ref().map(|error| said(&verdict, attempts, error));
        let noted = self.shared.stats.recorder.note(verdict != Verdict::Done, now);
        let record = if let Noted::Written { skipped } = noted {
            let (replay, error) = (item.parked.is_some_and(|parked| parked.replay), error.as_deref());
            let ended = record::Ended { release, took, spent, outcome: outcome_of(&verdict), error, skipped, replay };
            if verdict != Verdict::Done {
                effects = Effects::default();
            }
            origin.recorded(&origin.run(&ended, &effects))
        } else {
            None
        };
        let next = match verdict {
            Verdict::Done => {
                fold.writes = std::mem::take(&mut effects.writes);
                fold.events = origin.effects(effects);
                fold.unpark = unpark;
                Next::Settled
            }
            Verdict::Retry { due } => {
                let parked = self.parked(item, attempts, due, error.unwrap_or_default());
                let waiting = Waiting { seq: parked.seq, due, attempts };
                fold.park = Some(parked);
                Next::Parked(waiting)
            }
            Verdict::Dead => {
                fold.unpark = unpark;
                fold.dead = Some(DeadLetter {
                    function: self.shared.id.clone(),
                    seq: item.event.seq,
                    event: item.event.body.clone(),
                    attempts,
                    error: error.unwrap_or_default(),
                    log_tail: tail,
                    time: now,
                    release,
                });
                Next::Settled
            }
        };
        fold.events.extend(origin.logs(logs, logs_dropped, failure.as_deref()));
        fold.events.extend(record);
        (fold, next, noted)
    }

    fn parked(&self, item: &Item, attempts: u32, due: Micros, error: String) -> Parked {
        Parked {
            function: self.shared.id.clone(),
            seq: item.event.seq,
            event: item.event.body.clone(),
            attempts,
            due,
            error,
            replay: item.parked.is_some_and(|parked| parked.replay),
        }
    }

    /// Settles an event in the log by parking it behind one of its line that waits.
    pub fn park_behind(&self, item: &Item) -> Result<Waiting, Refused> {
        let parked = self.parked(item, item.attempts, Micros(0), String::new());
        let waiting = Waiting { seq: parked.seq, due: parked.due, attempts: parked.attempts };
        let settled = Some((self.shared.clone(), item.event.seq));
        self.app.lane.fold(self.epoch, Fold { settled, park: Some(parked), ..Fold::default() }, false)?;
        Ok(waiting)
    }
}

fn outcome_of(verdict: &Verdict) -> RunOutcome {
    match verdict {
        Verdict::Done => RunOutcome::Done,
        Verdict::Retry { .. } => RunOutcome::Retry,
        Verdict::Dead => RunOutcome::Dead,
    }
}

fn next_kind(next: &Next) -> super::stats::Kind {
    match next {
        Next::Settled | Next::Reset => super::stats::Kind::Settled,
        Next::Parked(_) => super::stats::Kind::Retried,
    }
}

fn log_tail(logs: &[LogLine], verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Dead => logs.iter().rev().take(LOG_TAIL_LINES).rev().map(|line| line.message.clone()).collect(),
        _ => Vec::new(),
    }
}

fn said(verdict: &Verdict, attempt: u32, error: &str) -> String {
    match verdict {
        Verdict::Retry { due } => format!("attempt {attempt} failed, again at {due}: {error}"),
        _ => format!("attempt {attempt} failed, to the dead letters: {error}"),
    }
}
