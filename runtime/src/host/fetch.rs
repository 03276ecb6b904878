//! Outbound HTTP: the one thing that leaves a call at once. Granted by host, denied otherwise, and not undone.
//!
//! Where a granted name may lead is decided in `egress`. A redirect is for the guest to follow, with a request of its own.

use super::Collected;
use crate::{
    egress::{EgressError, Reach, Target, bare, default_port, reach},
    model::Release,
};
use http::HeaderValue;
use parking_lot::Mutex;
use send::Sent;
use std::sync::Arc;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

mod send;

/// The gate of one call.
pub struct Egress {
    release: Arc<Release>,
    call: Arc<str>,
    collected: Arc<Mutex<Collected>>,
}

/// Requests one call may begin.
pub const FETCHES_MAX: u32 = 64;

/// A request that may be made, if its address is one that may be asked.
struct Admitted {
    host: String,
    port: u16,
    tls: bool,
    reach: Reach,
}

impl Egress {
    pub(super) fn new(release: Arc<Release>, call: Arc<str>, collected: Arc<Mutex<Collected>>) -> Egress {
        Egress { release, call, collected }
    }

    /// For the next call of the same instance.
    pub(super) fn renew(&mut self, call: Arc<str>, collected: Arc<Mutex<Collected>>) {
        (self.call, self.collected) = (call, collected);
    }

    /// Refuses what is not granted; gives every request an id that is the same in every attempt.
    fn admit(&self, request: &mut http::Request<WasiBody>) -> Result<Admitted> {
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let tls = request.uri().scheme_str() == Some("https");
        let reach = reach(&self.release.manifest.grant, authority, tls).ok_or(Error::HttpRequestDenied)?;
        let port = authority.port_u16().unwrap_or(default_port(tls));
        let admitted = Admitted { host: bare(authority.host()).to_owned(), port, tls, reach };
        let number = {
            let mut collected = self.collected.lock();
            if !collected.has_effects() {
                return Err(Error::HttpRequestDenied);
            }
            collected.fetches += 1;
            collected.fetches
        };
        if number > FETCHES_MAX {
            return Err(Error::HttpRequestDenied);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("{}-h{number}", self.call)) {
            request.headers_mut().entry("idempotency-key").or_insert(id);
        }
        Ok(admitted)
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent>> + Send> {
        let admitted = self.admit(&mut request);
        Box::new(async move {
            let target = admitted?.find().await?;
            send::send(target, request, options).await
        })
    }
}

impl Admitted {
    async fn find(self) -> Result<Target> {
        Target::find(self.host, self.port, self.tls, self.reach).await.map_err(refusal)
    }
}

/// In the words that a guest is told it in.
fn refusal(error: EgressError) -> Error {
    match error {
        EgressError::Lookup { source, .. } => Error::DnsError { rcode: Some(source.to_string()), info_code: None },
        EgressError::NoAddress(_) => Error::DestinationNotFound,
        EgressError::Private(_) => Error::DestinationIpProhibited,
        EgressError::Connect { source, .. } => Error::Connect(source),
        EgressError::Tls { source, .. } => Error::Tls(source),
        // The others are of requests that this room does not make.
        other => Error::Connect(std::io::Error::other(other)),
    }
}
