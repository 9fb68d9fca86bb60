//! Where questions may come from. [`access`](super::access) says who may ask.
//!
//! Where callers are not told apart, whoever can connect can ask, so: on an address that others can
//! reach, only health and metrics answer. On loopback the other danger is a browser on the same machine, which any web
//! page can make send requests here; hence no foreign `Origin` may change anything, and `Host` must
//! not be a name that somebody else's DNS may have pointed at 127.0.0.1 (DNS rebinding). With tokens
//! neither address nor name matters: a page that does not know the token learns nothing. A browser
//! shows a certificate for any page, but only under a name that the server's own is for.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method};

use crate::base::BindAddress;

/// What connects to the operator's side can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A Unix socket: who may open the file.
    Socket,
    /// This machine.
    Loopback,
    /// Other machines.
    Network,
}

impl Reach {
    /// From where `address` can be reached.
    pub(super) fn of(address: &BindAddress) -> Self {
        match address {
            BindAddress::Unix(_) => Self::Socket,
            BindAddress::Tcp(address) if address.ip().to_canonical().is_loopback() => Self::Loopback,
            BindAddress::Tcp(_) => Self::Network,
        }
    }
}

/// Whether a path may be asked for from anywhere, by anybody.
pub(super) fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// Why a request may not be answered, if it may not.
pub(super) fn refusal(
    reach: Reach,
    has_callers: bool,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<&'static str> {
    if is_open(path) {
        return None;
    }
    if reach == Reach::Network && !has_callers {
        return Some(
            "only /healthz, /readyz and /metrics answer here, because the admin address can be reached from other machines: set admin.tokens or admin.clients, or set admin.address to a loopback address such as 127.0.0.1:9901 or to unix:/path",
        );
    }
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    if reach == Reach::Loopback && !has_callers && host.is_some_and(|host| !is_local(host)) {
        return Some("the Host header must be localhost or an IP address");
    }
    if !method.is_safe()
        && let Some(origin) = headers.get(ORIGIN)
        && origin.to_str().ok().and_then(|o| o.strip_prefix("http://").or(o.strip_prefix("https://"))) != host
    {
        return Some("web pages of other origins may not change anything here");
    }
    None
}

/// Whether a host is one that no DNS server decides about.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn addresses_are_told_apart_by_who_can_reach_them() {
        for (address, reach) in [
            ("127.0.0.1:1", Reach::Loopback),
            ("127.9.9.9:1", Reach::Loopback),
            ("[::1]:1", Reach::Loopback),
            ("[::ffff:127.0.0.1]:1", Reach::Loopback),
            ("0.0.0.0:1", Reach::Network),
            ("[::]:1", Reach::Network),
            ("10.0.0.1:1", Reach::Network),
            ("unix:/run/a.sock", Reach::Socket),
        ] {
            assert_eq!(Reach::of(&address.parse().unwrap()), reach, "{address}");
        }
    }

    #[test]
    fn from_the_network_only_health_and_metrics_are_answered() {
        let refused = |path| refusal(Reach::Network, false, &Method::GET, path, &HeaderMap::new()).is_some();
        assert!(["/", "/api/v1/status", "/metrics/", "/api/v1/config/reload"].into_iter().all(refused));
        assert!(!["/metrics", "/healthz", "/readyz"].into_iter().any(refused));
    }

    #[test]
    fn a_rebound_name_and_a_foreign_page_are_refused_on_loopback() {
        let refused = |method, pairs: &[_]| {
            refusal(Reach::Loopback, false, &method, "/api/v1/config/reload", &headers(pairs)).is_some()
        };
        assert!(refused(Method::GET, &[(HOST, "evil.example:9901")]));
        assert!(refused(Method::GET, &[(HOST, "localhost.evil.example")]));
        assert!(refused(Method::POST, &[(HOST, "127.0.0.1:9901"), (ORIGIN, "http://evil.example")]));
        assert!(refused(Method::POST, &[(HOST, "127.0.0.1:9901"), (ORIGIN, "null")]));
        for origin in ["http://127.0.0.1:9901", "https://127.0.0.1:9901"] {
            assert!(!refused(Method::POST, &[(HOST, "127.0.0.1:9901"), (ORIGIN, origin)]));
        }
        for host in ["127.0.0.1:9901", "LOCALHOST:9901", "[::1]:9901"] {
            assert!(!refused(Method::POST, &[(HOST, host)]), "{host}");
        }
        assert!(!refused(Method::POST, &[]));
    }

    #[test]
    fn with_tokens_any_address_and_name_will_do_but_no_foreign_page() {
        let refused = |reach, pairs: &[_]| {
            refusal(reach, true, &Method::POST, "/api/v1/config/reload", &headers(pairs)).is_some()
        };
        for reach in [Reach::Network, Reach::Loopback, Reach::Socket] {
            assert!(!refused(reach, &[(HOST, "switchback.example:9901")]));
            assert!(refused(reach, &[(HOST, "a.example"), (ORIGIN, "http://evil.example")]));
        }
    }
}
