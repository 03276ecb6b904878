//! Which hosts a manifest grants, and how far their names may lead.

use super::Grant;
use std::net::IpAddr;

/// How far a grant goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Where the name leads on the public internet.
    Public,
    /// Wherever it leads: somebody said that this is meant.
    Anywhere,
}

impl Grant {
    /// What is granted of a host, an IPv6 address in brackets. An address, and `localhost`, mean what they say; a name leads anywhere only
    /// under `http-private`.
    pub fn reach(&self, host: &str, port: Option<u16>, tls: bool) -> Option<Reach> {
        let host = host.to_ascii_lowercase();
        let grants = |one: &String| grants(one, &host, port, tls);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let is_literal = host == "localhost" || bare.parse::<IpAddr>().is_ok();
        match (self.http_private.iter().any(grants), self.http.iter().any(grants)) {
            (true, _) => Some(Reach::Anywhere),
            // A wildcard is never literal, whatever it covers.
            (_, true) if is_literal && self.http.iter().any(|one| !one.starts_with("*.") && grants(one)) => Some(Reach::Anywhere),
            (_, true) => Some(Reach::Public),
            (false, false) => None,
        }
    }
}

/// The port that a scheme means where none is said.
pub fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Whether `grant` (`host`, `*.domain`, either with `:port`) covers a host in lower case. Without a port it means the scheme's own.
fn grants(grant: &str, actual: &str, port: Option<u16>, tls: bool) -> bool {
    let default = default_port(tls);
    let (host, granted) = match grant.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && port.chars().all(|c| c.is_ascii_digit()) => (host, port.parse().unwrap_or(0)),
        _ => (grant, default),
    };
    if port.unwrap_or(default) != granted {
        return false;
    }
    let wanted = host.to_ascii_lowercase();
    match wanted.strip_prefix("*.") {
        Some(domain) => actual.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1),
        None => wanted == actual,
    }
}
