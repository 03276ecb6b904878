//! One HTTP request, one fresh instance: a head when the guest gives one, an end when it returns.

use super::{Engine, Failure, Handler, Loaded, Permit, TICK, call::failure, concurrent};
use crate::{
    host::{Call, Collected, Taken, World},
    model::{Micros, manifest::Function},
};
use bytes::Bytes;
use http_body::Body;
use parking_lot::Mutex;
use std::{
    sync::Arc,
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
pub struct Responded {
    /// None when the handler ended without one.
    pub head: oneshot::Receiver<Head>,
    /// What the call asks for after the head; still growing until `end`.
    pub collected: Arc<Mutex<Collected>>,
    pub end: Task,
}

/// What the handler answered, and what it had asked for at that very moment: it runs on while this is on its way.
pub struct Head {
    /// Or the name of an error, where the handler answered with one.
    pub response: Result<http::Response<WasiBody>, String>,
    pub taken: Taken,
}

/// The call's task; aborted when dropped.
pub struct Task(JoinHandle<Result<(), Failure>>);

impl Engine {
    /// Starts a handler in an instance of its own. The permit goes back when the handler has returned.
    pub fn call_http<B>(&self, permit: Permit, loaded: Arc<Loaded>, call: HttpCall<'_, B>, world: Arc<dyn World>) -> Responded
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let timeout = call.function.timeout;
        let mut data = Call::new(call.id, loaded.app.clone(), loaded.release.clone(), call.now, world, &self.shared);
        let collected = data.collected.clone();
        let engine = self.clone();
        let (sender, head) = oneshot::channel();
        let request = call.request;
        let at_head = collected.clone();
        let answer = move |response| {
            // Who waited may have gone.
            let _ = sender.send(Head { response, taken: at_head.lock().take() });
        };
        let task = async move {
            // Given back last: who gets it next finds the instance's place in the pool free.
            let _permit = permit;
            // Whoever asked waits for memory no longer than for the answer.
            if tokio::time::timeout(timeout, data.memory.reserve(loaded.initial_bytes)).await.is_err() {
                return Err(Failure::Timeout(timeout));
            }
            let mut store = engine.store(&loaded, data, timeout);
            let until = Instant::now() + timeout + 3 * TICK;
            let run = async {
                let indices = match loaded.http.as_ref().ok_or_else(|| wasmtime::Error::msg("the component exports no HTTP handler"))? {
                    Handler::P2(indices) => indices,
                    Handler::P3(indices) => return concurrent::respond(&mut store, &loaded.pre, indices, request, until, answer).await,
                };
                let answer = |response: Result<_, ErrorCode>| answer(response.map_err(|code| format!("{code:?}")));
                let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
                let out = store.data_mut().http().new_response_outparam_from_callback(answer)?;
                let instance = loaded.pre.instantiate_async(&mut store).await?;
                let proxy = indices.load(&mut store, &instance)?;
                proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
            };
            match tokio::time::timeout(timeout + 2 * TICK, run).await {
                Err(_) => Err(Failure::Timeout(timeout)),
                Ok(Err(trap)) => Err(failure(&trap, store.data(), timeout)),
                Ok(Ok(())) => Ok(()),
            }
        };
        Responded { head, collected, end: Task(tokio::spawn(task)) }
    }
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
