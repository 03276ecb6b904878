//! One HTTP request, one instance: a head when the guest gives one, an end when it returns.

use super::{
    Engine, Failure, Loaded, Permit, TICK,
    call::{Room, failure},
};
use crate::{
    host::{CallStart, Collected, Metered, Taken, World},
    model::{Micros, manifest::Function},
};
use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinHandle};
use wasmtime_wasi_http::{
    Error, WasiHttpView,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::HyperOutgoingBody,
    },
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
pub struct Responded {
    /// None when the handler ended without one.
    pub head: oneshot::Receiver<Head>,
    /// What the call asks for after the head; still growing until `end`.
    pub collected: Arc<Mutex<Collected>>,
    pub end: Task,
}

/// What the handler answered, and what it had asked for at that very moment: it runs on while this is on its way.
pub struct Head {
    pub response: Result<http::Response<HyperOutgoingBody>, ErrorCode>,
    pub taken: Taken,
}

/// The call's task; aborted when dropped.
pub struct Task(JoinHandle<Result<(), Failure>>);

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
        let of_call = collected.clone();
        let task = async move {
            // Given back last: who gets it next finds the instance's place in the pool free.
            let _permit = permit;
            // Whoever asked waits for memory no longer than for the answer.
            let room = engine.room(&loaded, &function, start);
            let Ok(mut room) = tokio::time::timeout(timeout, room).await else { return Err(Failure::Timeout(timeout)) };
            let output_max = loaded.release.manifest.limits.output_bytes;
            let answer = move |response: Result<http::Response<HyperOutgoingBody>, ErrorCode>| {
                let response = response.map(|response| response.map(|body| bounded(body, output_max)));
                // Who waited may have gone.
                let _ = sender.send(Head { response, taken: of_call.lock().take() });
            };
            let meter = room.store.data().meter.clone();
            let ran = {
                let call = pin!(run(&loaded, request, answer, &mut room));
                tokio::time::timeout(timeout + 2 * TICK, Metered { call, meter }).await
            };
            match ran {
                Err(_) => Err(Failure::Timeout(timeout)),
                Ok(Err(trap)) => Err(failure(&trap, room.store.data(), timeout)),
                Ok(Ok(())) => {
                    loaded.keep(&function, room);
                    Ok(())
                }
            }
        };
        Responded { head, collected, end: Task(tokio::spawn(task)) }
    }
}

async fn run<B>(
    loaded: &Loaded,
    request: http::Request<B>,
    answer: impl FnOnce(Result<http::Response<HyperOutgoingBody>, ErrorCode>) + Send + Sync + 'static,
    room: &mut Room,
) -> wasmtime::Result<()>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let Room { store, handlers, .. } = room;
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
fn bounded(body: HyperOutgoingBody, bytes_max: u64) -> HyperOutgoingBody {
    let most = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let limited = http_body_util::Limited::new(body, most);
    let over = move |error: Box<dyn std::error::Error + Send + Sync>| match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(_) => Error::HttpResponseBodySize(Some(bytes_max)),
    };
    limited.map_err(over).boxed_unsync()
}

impl Task {
    pub async fn wait(&mut self) -> Result<(), Failure> {
        match (&mut self.0).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Failure::Timeout(Duration::ZERO)),
            Err(error) => Err(Failure::Trap(format!("the host panicked: {error}"))),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
