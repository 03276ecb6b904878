//! One HTTP request to a function: what it asked for before its head is durable before the head is sent.

use super::{
    App, Context, Dispatch,
    answer::{Answer, Pace},
    batch::{Durable, Fold, Lost},
    body::{Kept, Source},
    lane::{Refused, Turn},
    outgoing::Origin,
    stats::Kind,
};
use crate::{
    clock,
    engine::{Failure, Head, HttpCall, Loaded, Permit, Responded},
    host::Taken,
    ledger::{Dedup, LedgerError},
    model::{FunctionId, Micros, limit::HTTP_BODY_IDLE_SECONDS, manifest::Function},
};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
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
}

/// One try at a request.
#[derive(Clone, Copy)]
struct Try {
    now: Micros,
    /// A call with the request's key counts already: what this one asks for is dropped.
    repeat: bool,
    /// The request's key is spent, on what this very try asked for before.
    spent: bool,
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
        let request = Request { context: self.context.clone(), app, function, id, dedup, parts, body: Kept::new(source, BODY_IDLE) };
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
        let this = Try { now, repeat: self.is_repeat(now)?, spent: false };
        let loaded = self.app.loaded.load_full();
        let mut responded = self.call(permit, loaded, now);
        match responded.head().await {
            Some(Head { response: Ok(head), taken }) => self.head(turn, place, responded, head, taken, this).await,
            Some(Head { response: Err(code), taken }) => {
                let error = Failure::Trap(format!("the handler answered with the error {code}"));
                self.failed(turn, taken, error, this).await
            }
            None => {
                let ended = responded.end().await;
                let taken = responded.collected.lock().take();
                let none = || Failure::Trap("the handler returned without an answer".into());
                self.failed(turn, taken, ended.err().unwrap_or_else(none), this).await
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
        let fold = self.fold(taken, None, this);
        let spent = fold.dedup.is_some();
        let folded = match self.app.lane.fold_or_check(turn.epoch, fold) {
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
        let mut taken = responded.collected.lock().take();
        // With it ends a handler that still writes to nobody.
        drop((responded, place));
        if failure.is_some() || this.repeat {
            taken.effects = Default::default();
        }
        if taken.effects.is_empty() {
            // Nothing rests on what it read: the answer was checked with the head.
            taken.reads.clear();
        }
        let fold = self.fold(taken, failure.clone(), this);
        let stored = match self.app.lane.fold_or_check(epoch, fold).map(|folded| folded.durable) {
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
    async fn failed(&self, turn: Turn, mut taken: Taken, failure: Failure, this: Try) -> Result<Step, HttpFailure> {
        taken.effects = Default::default();
        let fold = self.fold(taken, Some(failure.to_string()), this);
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
