//! What a manifest grants of an authority.

use crate::model::manifest::Grant;
pub use crate::model::manifest::{Reach, default_port};
use http::uri::Authority;

/// An IPv6 address stands in brackets where a port could follow.
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// How far an authority may lead; none: it is not granted.
pub fn reach(grant: &Grant, authority: &Authority, tls: bool) -> Option<Reach> {
    grant.reach(authority.host(), authority.port_u16(), tls)
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
            let is = reach(&self::grant(&[grant], &[]), &authority.parse().unwrap(), https).is_some();
            assert_eq!(is, yes, "{grant} on {authority}");
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
