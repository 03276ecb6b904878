//! One HTTP request to a function: what it asked for before its head is durable before the head is sent.

use super::{
    App, Context, Dispatch,
    answer::{Answer, Pace},
    batch::{Durable, Fold, Lost},
    body::{Kept, Source},
    lane::{Folded, Refused, Turn},
    outgoing::Origin,
    record::{self, Noted},
    stats::{Kind, Stats},
};
use crate::{
    clock,
    engine::{Failure, Head, HttpCall, Loaded, Permit, Responded},
    host::{Spent, Taken},
    ledger::{Dedup, LedgerError},
    model::{Effects, FunctionId, Micros, NewEvent, RunOutcome, limit::HTTP_BODY_IDLE_SECONDS, manifest::Function},
};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime_wasi_http::WasiBody;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type HttpResponse = http::Response<Answer>;

/// How long a request waits for a free instance, and before that for one of those that its app may have.
const PERMIT_WAIT: Duration = Duration::from_secs(10);
/// A body that goes neither way for so long is the end of its call.
const BODY_IDLE: Duration = Duration::from_secs(HTTP_BODY_IDLE_SECONDS);
/// Times a request runs again after others came before it; all but the first run alone, so more is a fault.
const RERUNS_MAX: u32 = 16;
/// Told to the client whose idempotency key was seen before: this answer's effects were dropped.
pub const DUPLICATE_HEADER: &str = "tawi-duplicate";

#[derive(Debug, thiserror::Error)]
pub enum HttpFailure {
    #[error("the function failed: {failure}")]
    Call { id: String, failure: Failure },
    #[error("every instance that the request could have was busy for {PERMIT_WAIT:?}")]
    Busy,
    #[error("other calls changed the app's state while the request's body, over what is kept, was streamed")]
    Conflict,
    #[error("what the call did could not be stored: {0}")]
    Ledger(Arc<LedgerError>),
    #[error("the app is being stopped")]
    Stopped,
}

struct Request {
    context: Arc<Context>,
    app: Arc<App>,
    function: Function,
    id: String,
    dedup: Option<String>,
    parts: http::request::Parts,
    body: Kept,
    stats: Arc<Stats>,
    /// What the last try asked for before its head, where it goes on after it: for its record.
    before: Mutex<Effects>,
}

/// One try at a request.
#[derive(Clone, Copy)]
struct Try {
    now: Micros,
    /// A call with the request's key counts already: what this one asks for is dropped.
    repeat: bool,
    /// The request's key is spent, on what this very try asked for before.
    spent: bool,
    began: Instant,
    release: u64,
    /// What was answered; 0 before that.
    status: u16,
}

/// A place among the HTTP calls of the app, and of the node. Goes back when the handler has returned.
struct Place {
    _app: Arc<OwnedSemaphorePermit>,
    _node: OwnedSemaphorePermit,
}

enum Step {
    Answer(HttpResponse),
    Again,
}

impl Dispatch {
    /// Runs `function` of `app` on a request. `key`: the client's idempotency key.
    pub async fn serve<B>(
        &self,
        app: Arc<App>,
        function: Function,
        key: Option<String>,
        request: http::Request<B>,
    ) -> Result<HttpResponse, HttpFailure>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let source: Source = Box::pin(body.map_err(Into::into));
        let id = match &key {
            Some(key) => format!("{}-{}-{key}", app.id.app, function.name),
            None => format!("{}-{}-{:016x}", app.id.app, function.name, rand::random::<u64>()),
        };
        let dedup = key.map(|key| format!("call:{}:{}:{key}", app.id.app, function.name));
        let stats = app.http_stats(function.name.as_str());
        let began = Instant::now();
        let request = Request {
            context: self.context.clone(),
            app,
            function,
            id,
            dedup,
            parts,
            body: Kept::new(source, BODY_IDLE),
            stats: stats.clone(),
            before: Mutex::default(),
        };
        let answer = Arc::new(request).answer().await;
        stats.count(&if answer.is_ok() { Kind::Settled } else { Kind::Failed }, began.elapsed());
        answer
    }
}

impl Request {
    async fn answer(self: Arc<Self>) -> Result<HttpResponse, HttpFailure> {
        let of_app = Arc::new(place(&self.app.http_calls).await?);
        for run in 0..RERUNS_MAX {
            match self.attempt(of_app.clone(), run > 0).await? {
                Step::Answer(response) => return Ok(response),
                Step::Again if !self.body.is_whole() => return Err(HttpFailure::Conflict),
                Step::Again => {}
            }
        }
        Err(HttpFailure::Conflict)
    }

    async fn attempt(self: &Arc<Self>, of_app: Arc<OwnedSemaphorePermit>, alone: bool) -> Result<Step, HttpFailure> {
        // Before its turn, which others of the app wait for: a place may be long in coming.
        let place = Place { _app: of_app, _node: place(&self.context.http_calls).await? };
        let turn = self.app.lane.begin(alone).await;
        // Only now: a call that waits for its turn holds no instance, which others could use.
        let permit = match self.context.engine.try_permit() {
            Some(permit) => permit,
            None => in_time(self.context.engine.permit()).await?,
        };
        let now = clock::now();
        let loaded = self.app.loaded.load_full();
        let (repeat, release) = (self.is_repeat(now)?, loaded.release.number);
        let this = Try { now, repeat, spent: false, began: Instant::now(), release, status: 0 };
        let mut responded = self.call(permit, loaded, now);
        match responded.head().await {
            Some(Head { response: Ok(head), taken }) => self.head(turn, place, responded, head, taken, this).await,
            Some(Head { response: Err(code), taken }) => {
                let error = Failure::Trap(format!("the handler answered with the error {code}"));
                let spent = responded.collected.lock().spent;
                self.failed(turn, taken, error, spent, this).await
            }
            None => {
                let ended = responded.end().await;
                let (taken, spent) = {
                    let mut collected = responded.collected.lock();
                    (collected.take(), collected.spent)
                };
                let none = || Failure::Trap("the handler returned without an answer".into());
                self.failed(turn, taken, ended.err().unwrap_or_else(none), spent, this).await
            }
        }
    }

    fn is_repeat(&self, now: Micros) -> Result<bool, HttpFailure> {
        let Some(key) = &self.dedup else { return Ok(false) };
        self.context.ledger.is_repeat(&self.app.id, key, now).map_err(|error| HttpFailure::Ledger(Arc::new(error)))
    }

    fn call(&self, permit: Permit, loaded: Arc<Loaded>, now: Micros) -> Responded {
        let request = http::Request::from_parts(self.parts.clone(), self.body.again());
        let call = HttpCall { function: &self.function, id: self.id.clone(), request, now };
        self.context.engine.call_http(permit, loaded, call, self.app.world(&self.context))
    }

    /// Commits what there is, then lets the head and the body go.
    async fn head(
        self: &Arc<Self>,
        mut turn: Turn,
        place: Place,
        mut responded: Responded,
        head: http::Response<WasiBody>,
        taken: Taken,
        this: Try,
    ) -> Result<Step, HttpFailure> {
        responded.go_on();
        let this = Try { status: head.status().as_u16(), ..this };
        // One that goes on is recorded at its end.
        let (noted, record) = match responded.is_done() {
            true => self.record(&taken.effects, None, responded.collected.lock().spent, this),
            false => {
                *self.before.lock() = taken.effects.clone();
                (None, None)
            }
        };
        let fold = self.fold(taken, None, this);
        let spent = fold.dedup.is_some();
        let folded = match self.fold_recorded(turn.epoch, fold, noted, record) {
            Err(Refused::Stale | Refused::Reset) if self.app.lane.is_stopped() => return Err(HttpFailure::Stopped),
            Err(_) => return Ok(Step::Again),
            Ok(folded) => folded,
        };
        // Its own writes are no reason to doubt what it read before them.
        responded.collected.lock().reads.values_mut().for_each(|at| *at = (*at).max(folded.at));
        turn.share();
        let durable = match folded.durable {
            Some(durable) => durable.await.unwrap_or(Err(Lost::Stopped)),
            None => Ok(Durable::Committed),
        };
        let repeat = match durable {
            Ok(durable) => this.repeat || folded.repeat || durable == Durable::Duplicate,
            Err(Lost::Conflict) => return Ok(Step::Again),
            Err(Lost::Ledger(error)) => return Err(HttpFailure::Ledger(error)),
            Err(Lost::Stopped) => return Err(HttpFailure::Stopped),
        };
        let (mut parts, body) = head.into_parts();
        if repeat {
            parts.headers.insert(DUPLICATE_HEADER, http::HeaderValue::from_static("true"));
        }
        let body = match responded.is_done() {
            true => Answer::of_ended(body),
            false => self.rest(turn, place, responded, body, Try { repeat, spent, ..this }),
        };
        Ok(Step::Answer(http::Response::from_parts(parts, body)))
    }

    /// Lets the body go while a task sees to the rest of the call.
    fn rest(self: &Arc<Self>, turn: Turn, place: Place, responded: Responded, body: WasiBody, this: Try) -> Answer {
        let (ended, end) = oneshot::channel();
        let (epoch, mark) = (turn.epoch, turn.mark());
        drop(turn);
        let pace = Pace::new();
        let finish = self.clone().finish(place, responded, epoch, this, pace.clone(), ended);
        tokio::spawn(async move {
            let _mark = mark;
            finish.await;
        });
        Answer::of_running(body, end, pace)
    }

    /// After the head: waits for the handler, commits the rest. The client learns of a failure by a connection that breaks off.
    async fn finish(
        self: Arc<Self>,
        place: Place,
        mut responded: Responded,
        epoch: u64,
        this: Try,
        pace: Arc<Pace>,
        ended: oneshot::Sender<Result<(), String>>,
    ) {
        let failure = tokio::select! {
            result = responded.end() => result.err().map(|failure| failure.to_string()),
            () = pace.stalled(BODY_IDLE) => Some(format!("the client took nothing of it for {BODY_IDLE:?}")),
        };
        let failure = failure.map(|failure| format!("after the answer's head: {failure}"));
        let (mut taken, used) = {
            let mut collected = responded.collected.lock();
            (collected.take(), collected.spent)
        };
        // With it ends a handler that still writes to nobody.
        drop((responded, place));
        if failure.is_some() || this.repeat {
            taken.effects = Default::default();
        }
        if taken.effects.is_empty() {
            // Nothing rests on what it read: the answer was checked with the head.
            taken.reads.clear();
        }
        let mut effects = std::mem::take(&mut *self.before.lock());
        effects.extend(taken.effects.clone());
        let (noted, record) = self.record(&effects, failure.as_deref(), used, this);
        let fold = self.fold(taken, failure.clone(), this);
        let stored = match self.fold_recorded(epoch, fold, noted, record).map(|folded| folded.durable) {
            Ok(None) => Ok(()),
            Ok(Some(durable)) => durable.await.unwrap_or(Err(Lost::Stopped)).map(drop).map_err(|lost| lost.to_string()),
            Err(_) => Err("other calls changed the app's state after the answer's head was sent".to_owned()),
        };
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => stored,
        };
        if let Err(reason) = &outcome {
            tracing::warn!(call = %self.id, %reason, "an answer was broken off");
        }
        // Nobody listens when the client has gone.
        let _ = ended.send(outcome);
    }

    /// Keeps the call's log lines, drops the rest.
    async fn failed(&self, turn: Turn, mut taken: Taken, failure: Failure, spent: Spent, this: Try) -> Result<Step, HttpFailure> {
        taken.effects = Default::default();
        let (_, record) = self.record(&taken.effects, Some(&failure.to_string()), spent, this);
        let mut fold = self.fold(taken, Some(failure.to_string()), this);
        fold.events.extend(record);
        match self.app.lane.fold(turn.epoch, fold, true) {
            // It may have failed because of what it read.
            Err(_) if self.app.lane.is_stopped() => return Err(HttpFailure::Stopped),
            Err(_) => return Ok(Step::Again),
            Ok(folded) => {
                drop(turn);
                if let Some(durable) = folded.durable {
                    // The answer is a failure either way; that its log line could not be stored is in the node's own log.
                    let _ = durable.await;
                }
            }
        }
        Err(HttpFailure::Call { id: self.id.clone(), failure })
    }

    /// The call's record, where it is one that is kept.
    fn record(&self, effects: &Effects, failure: Option<&str>, spent: Spent, this: Try) -> (Option<Noted>, Option<NewEvent>) {
        let noted = self.stats.recorder.note(failure.is_some(), this.now);
        let Noted::Written { skipped } = noted else { return (Some(noted), None) };
        let id = FunctionId { app: self.app.id.clone(), function: self.function.name.clone() };
        let origin = Origin { function: &id, event: None, call: &self.id, attempt: 1, now: this.now };
        let outcome = if failure.is_some() { RunOutcome::Failed } else { RunOutcome::Done };
        let Try { release, began, status, .. } = this;
        let ended = record::Ended { release, took: began.elapsed(), spent, outcome, error: failure, skipped, replay: false };
        // What a repeat asks for is dropped.
        let none = Effects::default();
        let run = origin.run(&ended, if this.repeat { &none } else { effects }).with_request(
            self.parts.method.as_str(),
            self.parts.uri.path(),
            u64::from(status),
        );
        (Some(noted), origin.recorded(&run))
    }

    /// Folds, or checks where there is nothing to store but the record: nobody waits for that.
    fn fold_recorded(&self, epoch: u64, mut fold: Fold, noted: Option<Noted>, record: Option<NewEvent>) -> Result<Folded, Refused> {
        let lane = &self.app.lane;
        let is_alone = fold.is_empty();
        if !is_alone {
            fold.events.extend(record.clone());
        }
        let folded = lane.fold_or_check(epoch, fold);
        if is_alone
            && folded.is_ok()
            && let Some(record) = record
        {
            // Refused only where the app is being stopped: then nobody is told of this call.
            let _ = lane.fold(epoch, Fold { events: vec![record], ..Fold::default() }, false);
        }
        match (&folded, noted) {
            (Ok(_), Some(noted)) => self.stats.recorder.counted(noted),
            (Err(_), Some(noted)) => self.stats.recorder.lost(noted),
            (_, None) => {}
        }
        folded
    }

    /// The key goes with the first effects of the call, whether they come before its head or after it.
    fn fold(&self, taken: Taken, failure: Option<String>, this: Try) -> Fold {
        let now = this.now;
        let id = FunctionId { app: self.app.id.clone(), function: self.function.name.clone() };
        let origin = Origin { function: &id, event: None, call: &self.id, attempt: 1, now };
        let Taken { effects, logs, logs_dropped, reads } = taken;
        let effects = if this.repeat { Default::default() } else { effects };
        let dedup = self.dedup.clone().filter(|_| !effects.is_empty() && !this.spent).map(|key| Dedup { key, now });
        let mut fold = Fold { reads, writes: effects.writes.clone(), dedup, ..Fold::default() };
        fold.events = origin.effects(effects);
        fold.events.extend(origin.logs(logs, logs_dropped, failure.as_deref()));
        fold
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, HttpFailure> {
    if let Ok(place) = places.clone().try_acquire_owned() {
        return Ok(place);
    }
    // The semaphores are never closed.
    in_time(places.clone().acquire_owned()).await?.map_err(|_| HttpFailure::Stopped)
}

async fn in_time<T>(wait: impl Future<Output = T>) -> Result<T, HttpFailure> {
    tokio::time::timeout(PERMIT_WAIT, wait).await.map_err(|_| HttpFailure::Busy)
}
