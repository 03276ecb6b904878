//! The second engine: that of components with an HTTP handler of WASI 0.3, whose calls wait for several things at once.
//!
//! What makes that possible costs every call of an engine some microseconds and every store some tables, so it is not in the engine
//! for everybody else, and this one is not opened before the first such component comes.

use super::{EngineError, TICK, answer::Answer, core::Core};
use crate::host::Call;
use http_body::Body;
use parking_lot::Mutex;
use std::{future::poll_fn, sync::Arc};
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi_http::{
    Error, WasiBody, WasiHttpView,
    p3::{Request, bindings::ServiceIndices},
};

/// The second engine, once somebody has asked for it.
#[derive(Default)]
pub(super) struct Second(Mutex<Option<Arc<Core>>>);

impl Second {
    pub fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    pub fn get(&self, open: impl FnOnce() -> Result<Arc<Core>, EngineError>) -> Result<Arc<Core>, EngineError> {
        let mut core = self.0.lock();
        match &*core {
            Some(core) => Ok(core.clone()),
            None => {
                tracing::info!("opens the engine for handlers of WASI 0.3");
                Ok(core.insert(open()?).clone())
            }
        }
    }

    pub fn keeps_pages(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|core| core.keeps_pages)
    }

    /// Puts another one in the place of one that keeps pages.
    pub fn renew(&self, open: impl FnOnce() -> Result<Arc<Core>, EngineError>) -> Result<(), EngineError> {
        let mut core = self.0.lock();
        if core.as_ref().is_some_and(|core| core.keeps_pages) {
            *core = Some(open()?);
        }
        Ok(())
    }
}

/// Runs a handler to its end: `answer` has the head as soon as there is one, and what the handler began goes on after that.
pub(super) async fn respond<B>(
    store: &mut Store<Call>,
    pre: &InstancePre<Call>,
    indices: &ServiceIndices,
    request: http::Request<B>,
    answer: impl FnOnce(Result<http::Response<WasiBody>, String>),
) -> wasmtime::Result<()>
where
    B: Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let until = store.data().end + 3 * TICK;
    let (request, _read) = Request::from_http(store.data_mut().http().hooks, addressed(request));
    let instance = pre.instantiate_async(&mut *store).await?;
    let service = indices.load(&mut *store, &instance)?;
    store
        .run_concurrent(async |accessor| {
            match service.handle(accessor, request).await? {
                Ok(response) => {
                    let (sent, told) = Answer::<WasiBody>::told();
                    let response = accessor.with(|access| response.into_http(access, sent))?;
                    answer(Ok(response.map(|body| Answer::of(body, told, until))));
                }
                Err(code) => answer(Err(format!("{code:?}"))),
            }
            // The handler has returned; what it left running, like the writer of its body, is part of the call.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            wasmtime::error::Ok(())
        })
        .await?
}

/// The scheme and the authority have fields of their own in WASI, and `host` is no header there.
fn addressed<B>(mut request: http::Request<B>) -> http::Request<B> {
    let authority = request.headers().get(http::header::HOST).and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.authority.is_none() {
        parts.authority = authority;
    }
    parts.scheme = parts.authority.is_some().then_some(http::uri::Scheme::HTTP);
    // Scheme, authority and path are all there or only the last; there is no other way for this to fail.
    *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    request
}
