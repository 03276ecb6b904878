//! One HTTP request, one instance: a head when the guest gives one, an end when it returns.

use super::{
    Engine, Failure, Loaded, Permit, TICK,
    call::{Room, Seat, failure, within},
    concurrent,
};
use crate::{
    host::{CallStart, Collected, Metered, Spent, Taken, World},
    model::{Micros, manifest::Function},
};
use bytes::Bytes;
use futures::FutureExt;
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{
    any::Any,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinHandle};
use wasmtime_wasi_http::{
    Error, WasiBody, WasiHttpView,
    p2::bindings::http::types::{ErrorCode, Scheme},
};

/// A request to a handler, and who it is for.
pub struct HttpCall<'a, B> {
    pub function: &'a Function,
    /// The client's idempotency key, or one made for this request: the same in every attempt.
    pub id: String,
    pub request: http::Request<B>,
    pub now: Micros,
}

/// A handler at work. Dropping it ends the call.
///
/// It runs where its head is waited for: most handlers have done everything in the very moment in which they answer, and then a
/// task of their own would only be a detour. One that goes on after its head gets a task ([`Responded::go_on`]).
pub struct Responded {
    head: oneshot::Receiver<Head>,
    /// What the call asks for after the head; still growing until the end.
    pub collected: Arc<Mutex<Collected>>,
    work: Work,
}

enum Work {
    Here(Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>),
    Task(Task),
    Ended(Result<(), Failure>),
}

/// What the handler answered, and what it had asked for at that very moment: it runs on while this is on its way.
pub struct Head {
    /// Or the name of an error, where the handler answered with one.
    pub response: Result<http::Response<WasiBody>, String>,
    pub taken: Taken,
}

/// The call's task; aborted when dropped.
struct Task(JoinHandle<Result<(), Failure>>);

impl Engine {
    /// Starts a handler, in an instance of its own where its manifest does not say `reuse`. The permit goes back when the handler has returned.
    pub fn call_http<B>(&self, permit: Permit, loaded: Arc<Loaded>, call: HttpCall<'_, B>, world: Arc<dyn World>) -> Responded
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let HttpCall { function, id, request, now } = call;
        let (engine, function, timeout) = (self.clone(), function.clone(), function.timeout);
        let (sender, head) = oneshot::channel();
        let collected = Arc::new(Mutex::new(Collected::within(&loaded.release.manifest.limits)));
        let start = CallStart { id: id.into(), now, world, end: Instant::now() + timeout, collected: collected.clone() };
        let (of_call, at_end) = (collected.clone(), collected.clone());
        let work = async move {
            // Given back last: who gets it next finds the instance's place in the pool free.
            let _permit = permit;
            // Whoever asked waits for memory no longer than for the answer.
            let seat = Seat::of(&function);
            let room = engine.room(&loaded, &seat, start);
            let Ok((mut room, _)) = tokio::time::timeout(timeout, room).await else { return Err(Failure::Timeout(timeout)) };
            let output_max = loaded.release.manifest.limits.output_bytes;
            let answer = move |response: Result<http::Response<WasiBody>, String>| {
                let response = response.map(|response| response.map(|body| bounded(body, output_max)));
                // Who waited may have gone.
                let _ = sender.send(Head { response, taken: of_call.lock().take() });
            };
            let meter = room.store.data().meter.clone();
            let ran = {
                let call = pin!(run(&loaded, request, answer, &mut room));
                within(timeout + 2 * TICK, Metered { call, meter: meter.clone() }).await
            };
            at_end.lock().spent = Spent { cpu: meter.used(), memory_bytes: room.store.data().memory.bytes() };
            match ran {
                None => Err(Failure::Timeout(timeout)),
                Some(Err(trap)) => Err(failure(&trap, room.store.data(), timeout)),
                Some(Ok(())) => {
                    loaded.keep(&seat, room, Instant::now());
                    Ok(())
                }
            }
        };
        // A fault of the host's in one call is the failure of that call.
        let work = AssertUnwindSafe(work).catch_unwind().map(|ended| match ended {
            Ok(result) => result,
            Err(panic) => Err(Failure::Trap(format!("the host panicked: {}", words(&*panic)))),
        });
        Responded { head, collected, work: Work::Here(Box::pin(work)) }
    }
}

async fn run<B>(
    loaded: &Loaded,
    request: http::Request<B>,
    answer: impl FnOnce(Result<http::Response<WasiBody>, String>) + Send + Sync + 'static,
    room: &mut Room,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let Room { store, handlers, .. } = room;
    if let Some(service) = &loaded.service {
        return concurrent::respond(store, &loaded.pre, service, request, answer).await;
    }
    let answer = |response: Result<_, ErrorCode>| answer(response.map_err(|code| format!("{code:?}")));
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam_from_callback(answer)?;
    if handlers.is_none() {
        let instance = loaded.pre.instantiate_async(&mut *store).await?;
        *handlers = Some(loaded.handlers(store, &instance)?);
    }
    let proxy = handlers.as_ref().and_then(|handlers| handlers.http.as_ref());
    let proxy = proxy.ok_or_else(|| wasmtime::Error::msg("the component exports no HTTP handler"))?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
}

/// The body of an answer breaks off where it is longer than the manifest says.
fn bounded(body: WasiBody, bytes_max: u64) -> WasiBody {
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let limited = http_body_util::Limited::new(body, most);
    let over = move |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(_) => Error::HttpResponseBodySize(Some(bytes_max)),
    };
    limited.map_err(over).boxed_unsync()
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

impl Responded {
    /// Runs the handler until it has answered; none when it ended without a head.
    pub async fn head(&mut self) -> Option<Head> {
        poll_fn(|cx| {
            // As far as it comes: what it asks for after its head may be there with the head.
            let ended = self.work.poll(cx);
            match Pin::new(&mut self.head).poll(cx) {
                Poll::Ready(head) => Poll::Ready(head.ok()),
                // Nobody is left who could answer.
                Poll::Pending if ended.is_ready() => Poll::Ready(self.head.try_recv().ok()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether the handler has returned, and has asked for nothing since its head.
    pub fn is_done(&self) -> bool {
        matches!(self.work, Work::Ended(Ok(()))) && !self.collected.lock().has_more()
    }

    /// From here on the handler runs by itself, whatever its head waits for.
    pub fn go_on(&mut self) {
        let ended = Work::Ended(Ok(()));
        self.work = match std::mem::replace(&mut self.work, ended) {
            Work::Here(work) => Work::Task(Task(tokio::spawn(work))),
            other => other,
        };
    }

    /// Waits until the handler has returned.
    pub async fn end(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| self.work.poll(cx)).await
    }
}

impl Work {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let result = match self {
            Work::Here(work) => ready!(work.as_mut().poll(cx)),
            Work::Task(task) => match ready!(Pin::new(&mut task.0).poll(cx)) {
                Ok(result) => result,
                Err(error) if error.is_cancelled() => Err(Failure::Timeout(Duration::ZERO)),
                Err(error) => Err(Failure::Trap(format!("the host panicked: {error}"))),
            },
            Work::Ended(result) => return Poll::Ready(result.clone()),
        };
        *self = Work::Ended(result.clone());
        Poll::Ready(result)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
