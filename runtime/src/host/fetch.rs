//! Outbound HTTP: the one thing that leaves a call at once. Granted by host, denied otherwise, and not undone.

use super::Collected;
use crate::model::Release;
use http::{HeaderValue, uri::Authority};
use parking_lot::Mutex;
use std::sync::Arc;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// The gate of one call.
pub struct Egress {
    release: Arc<Release>,
    call: String,
    collected: Arc<Mutex<Collected>>,
}

/// Requests one call may begin.
pub const FETCHES_MAX: u32 = 64;

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>);

impl Egress {
    pub(super) fn new(release: Arc<Release>, call: String, collected: Arc<Mutex<Collected>>) -> Egress {
        Egress { release, call, collected }
    }

    /// Refuses what is not granted; gives every request an id that is the same in every attempt.
    fn admit(&self, request: &mut http::Request<WasiBody>) -> Result<()> {
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let https = request.uri().scheme_str() == Some("https");
        if !self.release.manifest.grant.http.iter().any(|grant| grants(grant, authority, https)) {
            return Err(Error::HttpRequestDenied);
        }
        let number = {
            let mut collected = self.collected.lock();
            collected.fetches += 1;
            collected.fetches
        };
        if number > FETCHES_MAX {
            return Err(Error::HttpRequestDenied);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("{}-h{number}", self.call)) {
            request.headers_mut().entry("idempotency-key").or_insert(id);
        }
        Ok(())
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
            use http_body_util::BodyExt;
            admitted?;
            let (response, io) = wasmtime_wasi_http::default_send_request(request, options).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::new(io) as Box<dyn Future<Output = Result<()>> + Send>))
        })
    }
}

/// Whether `grant` (`host`, `*.domain`, either with `:port`) covers an authority. Without a port it means the scheme's own.
fn grants(grant: &str, authority: &Authority, https: bool) -> bool {
    let default = if https { 443 } else { 80 };
    let (host, port) = match grant.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && port.chars().all(|c| c.is_ascii_digit()) => (host, port.parse().unwrap_or(0)),
        _ => (grant, default),
    };
    if authority.port_u16().unwrap_or(default) != port {
        return false;
    }
    let wanted = host.to_ascii_lowercase();
    let actual = authority.host().to_ascii_lowercase();
    match wanted.strip_prefix("*.") {
        Some(domain) => actual.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => wanted == actual,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_host_and_port_and_nothing_like_it() {
        for (grant, authority, https, yes) in [
            ("api.example.com", "api.example.com", true, true),
            ("api.example.com", "API.example.com:443", true, true),
            ("api.example.com", "api.example.com:8443", true, false),
            ("api.example.com", "api.example.com.evil.org", true, false),
            ("*.example.com", "a.example.com", true, true),
            ("*.example.com", "example.com", true, false),
            ("*.example.com", "aexample.com", true, false),
            ("127.0.0.1:9000", "127.0.0.1:9000", false, true),
            ("127.0.0.1:9000", "127.0.0.1", false, false),
            ("[::1]:80", "[::1]", false, true),
        ] {
            assert_eq!(grants(grant, &authority.parse().unwrap(), https), yes, "{grant} on {authority}");
        }
    }
}
