//! Outbound HTTP: the one thing that leaves a call at once. Granted by host, denied otherwise, and not undone.
//!
//! A granted name is looked up once, every address it has is checked, and the connection goes to one of those: a name that
//! changes its mind in between changes nothing. A redirect is for the guest to follow, with a request of its own.

use super::Collected;
use crate::model::{Release, manifest::Grant};
use http::{HeaderValue, uri::Authority};
use parking_lot::Mutex;
use send::{Sent, Target};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

mod address;
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

/// How far a grant goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Where the name leads on the public internet.
    Public,
    /// Wherever it leads: the manifest says that this is meant.
    Anywhere,
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
    /// The only time that the name is looked up. One address that may not be asked is enough to refuse: which one is
    /// taken must not be a matter of luck.
    async fn find(self) -> Result<Target> {
        let addresses: Vec<SocketAddr> = match self.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, self.port)],
            Err(_) => tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(not_found)?.collect(),
        };
        if addresses.is_empty() {
            return Err(Error::DestinationNotFound);
        }
        if self.reach == Reach::Public && !addresses.iter().all(|address| address::is_public(address.ip())) {
            tracing::debug!(host = self.host, ?addresses, "a function may not ask this host: not an address of the internet");
            return Err(Error::DestinationIpProhibited);
        }
        Ok(Target { addresses, host: self.host, tls: self.tls })
    }
}

fn not_found(error: std::io::Error) -> Error {
    Error::DnsError { rcode: Some(error.to_string()), info_code: None }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// An IPv6 address stands in brackets where a port could follow.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// What is granted of an authority. An address, and `localhost`, mean what they say; a name leads anywhere only under `http-private`.
fn reach(grant: &Grant, authority: &Authority, tls: bool) -> Option<Reach> {
    let granted = |list: &[String]| list.iter().any(|grant| grants(grant, authority, tls));
    let host = authority.host().to_ascii_lowercase();
    let is_literal = host == "localhost" || bare(&host).parse::<IpAddr>().is_ok();
    match (granted(&grant.http_private), granted(&grant.http)) {
        (true, _) => Some(Reach::Anywhere),
        // A wildcard is never literal, whatever it covers.
        (_, true) if is_literal && grant.http.iter().any(|one| !one.starts_with("*.") && grants(one, authority, tls)) => {
            Some(Reach::Anywhere)
        }
        (_, true) => Some(Reach::Public),
        (false, false) => None,
    }
}

/// Whether `grant` (`host`, `*.domain`, either with `:port`) covers an authority. Without a port it means the scheme's own.
fn grants(grant: &str, authority: &Authority, tls: bool) -> bool {
    let default = default_port(tls);
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

    fn grant(http: &[&str], private: &[&str]) -> Grant {
        let list = |hosts: &[&str]| hosts.iter().map(ToString::to_string).collect();
        Grant { http: list(http), http_private: list(private), ..Grant::default() }
    }

    #[test]
    fn a_name_leads_into_a_private_net_only_where_the_manifest_says_so() {
        for (http, private, authority, wanted) in [
            (&["nas.example.com"][..], &[][..], "nas.example.com", Some(Reach::Public)),
            (&["nas.example.com"], &["nas.example.com"], "nas.example.com", Some(Reach::Anywhere)),
            (&[], &["*.lan:8080"], "nas.lan:8080", Some(Reach::Anywhere)),
            (&[], &["*.lan:8080"], "nas.lan", None),
            (&["192.168.1.9", "localhost"], &[], "192.168.1.9", Some(Reach::Anywhere)),
            (&["192.168.1.9", "localhost"], &[], "LOCALHOST", Some(Reach::Anywhere)),
            (&["[::1]"], &[], "[::1]", Some(Reach::Anywhere)),
            (&["*.0.0.1"], &[], "127.0.0.1", Some(Reach::Public)),
            (&["127.1"], &[], "127.1", Some(Reach::Public)),
            (&["api.example.com"], &["nas.lan"], "169.254.169.254", None),
        ] {
            assert_eq!(reach(&grant(http, private), &authority.parse().unwrap(), false), wanted, "{http:?} {private:?} on {authority}");
        }
    }

    #[tokio::test]
    async fn what_a_name_means_is_checked_after_it_was_looked_up() {
        // An old way to write 127.0.0.1, which no list of texts would recognise.
        let admitted = |host: &str, reach| Admitted { host: host.to_owned(), port: 80, tls: false, reach };
        assert!(matches!(admitted("127.1", Reach::Public).find().await, Err(Error::DestinationIpProhibited)));
        assert!(matches!(admitted("localhost", Reach::Public).find().await, Err(Error::DestinationIpProhibited)));
        assert!(matches!(admitted("::ffff:127.0.0.1", Reach::Public).find().await, Err(Error::DestinationIpProhibited)));
        let target = admitted("127.1", Reach::Anywhere).find().await.unwrap();
        assert_eq!(target.addresses, ["127.0.0.1:80".parse().unwrap()]);
    }
}
