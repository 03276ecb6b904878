//! Runs one event of the past again, out of order: to see what comes of it now, or to have that count.

use super::{
    App, Dispatch, Feed,
    batch::{Fold, Lost},
    events,
    lane::Refused,
    outgoing::Origin,
    record::Ended,
};
use crate::{
    clock,
    engine::{Attempt, Loaded},
    host::{HistoryPage, HistoryQuery, Seen, Taken, World},
    ledger::LedgerError,
    model::{AppId, Event, FunctionId, Id, LogLine, Run, RunOutcome, manifest::Function, run::RunEffect},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc};

/// Times a replay that is to count runs again after others came before it; all but the first run alone, so more is a fault.
const RERUNS_MAX: u32 = 16;

/// What a call in the past is told that asks for history.
pub(super) const NO_HISTORY: &str = "a replay reads no history: it would find what has come since";

pub struct Replay {
    /// With whatever release.
    pub loaded: Arc<Loaded>,
    pub function: Id,
    pub event: Arc<Event>,
    /// What the call asks for is done.
    pub apply: bool,
}

/// What came of it.
pub struct Replayed {
    pub run: Run,
    /// All that it asked for; nothing where it failed.
    pub effects: Vec<RunEffect>,
    pub logs: Vec<LogLine>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("`{0}` does not run on this node now, so there is no state to run it in")]
    NotLive(AppId),
    #[error("release {release} of `{app}` has no function `{function}`")]
    NoFunction { app: Id, release: u64, function: Id },
    #[error("other calls changed the app's state {RERUNS_MAX} times while it ran")]
    Conflict,
    #[error("what the call did could not be stored: {0}")]
    Ledger(Arc<LedgerError>),
    #[error("the app is being stopped")]
    Stopped,
}

/// What a call in the past sees: the app's state and settings as they are now, and no history, which would be that of now.
struct Now(Arc<dyn World>);

impl World for Now {
    fn state(&self, key: &str) -> Result<Seen<Option<Bytes>>, String> {
        self.0.state(key)
    }

    fn state_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Seen<Vec<(String, Bytes)>>, String> {
        self.0.state_entries(prefix, after, limit)
    }

    fn history(&self, _: HistoryQuery) -> BoxFuture<'static, Result<HistoryPage, String>> {
        Box::pin(async { Err(NO_HISTORY.to_owned()) })
    }

    fn may_command(&self, device: &Id) -> bool {
        self.0.may_command(device)
    }

    fn config(&self) -> Arc<BTreeMap<String, String>> {
        self.0.config()
    }

    fn secrets(&self) -> Arc<BTreeMap<String, String>> {
        self.0.secrets()
    }
}

impl Dispatch {
    /// Whether an app may be given an event, now. Blocks for as long as it takes to know.
    pub fn shows(&self, app: &AppId, event: &Event) -> bool {
        (self.context.sight)(app).is_none_or(|eyes| eyes.reach(event.seq).is_ok() && super::eyes::reaches(&*eyes, event))
    }

    /// Functions of a release that such an event is for, whatever sensors they select.
    pub fn concerned(loaded: &Loaded, event: &Event) -> Vec<Id> {
        let any: super::Fits = Arc::new(|_, _| true);
        let all = events(loaded).filter(|(_, _, feed): &(_, _, Feed)| feed.concerns(event, &any, None));
        all.map(|(id, _, _)| id.function).collect()
    }

    /// Runs an event again, with the clock and the randomness of its first attempt, whatever else is under way.
    pub async fn replay(&self, replay: Replay) -> Result<Replayed, ReplayError> {
        let id = replay.loaded.app.clone();
        let app = self.app(&id).ok_or(ReplayError::NotLive(id))?;
        let release = &replay.loaded.release;
        let function = release.manifest.function(replay.function.as_str()).ok_or_else(|| ReplayError::NoFunction {
            app: app.id.app.clone(),
            release: release.number,
            function: replay.function.clone(),
        })?;
        for run in 0..RERUNS_MAX {
            if let Some(replayed) = self.try_replay(&app, &replay, function, run > 0).await? {
                return Ok(replayed);
            }
        }
        Err(ReplayError::Conflict)
    }

    /// None when others came before it.
    async fn try_replay(&self, app: &Arc<App>, replay: &Replay, function: &Function, alone: bool) -> Result<Option<Replayed>, ReplayError> {
        let Replay { loaded, event, .. } = replay;
        let turn = app.lane.begin(alone).await;
        let permit = self.context.engine.permit().await;
        let now = clock::now();
        let call: Arc<str> = format!("{}-{}", event.id(), function.name).into();
        let attempt = Attempt { function, event, call: call.clone(), number: 1, now: event.received };
        let world = Arc::new(Now(app.world(&self.context)));
        let outcome = self.context.engine.call(&permit, loaded, attempt, world).await;
        drop(permit);

        let id = FunctionId { app: app.id.clone(), function: function.name.clone() };
        let origin = Origin { function: &id, event: Some(event), call: &call, attempt: 1, now };
        let mut collected = outcome.collected;
        let Taken { effects, logs, logs_dropped, reads } = collected.take();
        let error = origin.judged(outcome.result, function, &effects).err().map(|failure| failure.to_string());
        let effects = if error.is_none() { effects } else { Default::default() };
        let ended = Ended {
            release: loaded.release.number,
            took: outcome.took,
            spent: outcome.spent,
            outcome: if error.is_none() { RunOutcome::Done } else { RunOutcome::Failed },
            error: error.as_deref(),
            skipped: 0,
            replay: true,
        };
        let run = origin.run(&ended, &effects);
        let replayed = Replayed { effects: RunEffect::all(&effects).collect(), logs: logs.clone(), run };
        if !replay.apply {
            return Ok(Some(replayed));
        }
        let mut fold = Fold { reads, writes: effects.writes.clone(), events: origin.effects(effects), ..Fold::default() };
        fold.events.extend(origin.logs(logs, logs_dropped, error.as_deref()));
        fold.events.extend(origin.recorded(&replayed.run));
        let folded = match app.lane.fold(turn.epoch, fold, true) {
            Err(Refused::Stale | Refused::Reset) if app.lane.is_stopped() => return Err(ReplayError::Stopped),
            Err(_) => return Ok(None),
            Ok(folded) => folded,
        };
        drop(turn);
        let Some(durable) = folded.durable else { return Ok(Some(replayed)) };
        match durable.await.unwrap_or(Err(Lost::Stopped)) {
            Ok(_) => Ok(Some(replayed)),
            Err(Lost::Conflict) => Ok(None),
            Err(Lost::Ledger(error)) => Err(ReplayError::Ledger(error)),
            Err(Lost::Stopped) => Err(ReplayError::Stopped),
        }
    }
}
