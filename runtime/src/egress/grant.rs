//! Which hosts a manifest grants, and how far their names may lead. Pure.

use super::Reach;
use crate::model::manifest::Grant;
use http::uri::Authority;
use std::net::IpAddr;

/// The port that a scheme means where none is said.
pub fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// An IPv6 address stands in brackets where a port could follow.
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// What is granted of an authority. An address, and `localhost`, mean what they say; a name leads anywhere only under `http-private`.
pub fn reach(grant: &Grant, authority: &Authority, tls: bool) -> Option<Reach> {
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
}
