//! The form a request has on the wire of each HTTP version.
//!
//! HTTP/1.1 carries the path alone and a `Host` (RFC 9112 section 3.2.1), HTTP/2 a scheme and an
//! authority (RFC 9113 section 8.3.1). Nothing is parsed where the form is right already.

use std::cell::RefCell;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body::Body;

use super::Target;
use crate::base::{Fault, FaultKind};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The authority of the last `Host`, because clients of one upstream mostly use one.
#[derive(Default)]
pub(super) struct LastAuthority(RefCell<Option<(HeaderValue, Authority)>>);

impl LastAuthority {
    fn of(&self, host: HeaderValue) -> Option<Authority> {
        if let Some((known, authority)) = &*self.0.borrow()
            && *known == host
        {
            return Some(authority.clone());
        }
        let authority = Authority::try_from(host.as_bytes()).ok()?;
        *self.0.borrow_mut() = Some((host, authority.clone()));
        Some(authority)
    }
}

/// Makes `request` one that HTTP/1.1 can carry: origin-form with a `Host`, from the header, else
/// from the URI, else the upstream's own. The crumbs that HTTP/2 allows of a cookie are joined
/// (RFC 9113 section 8.2.3).
pub(super) fn http1<B>(request: &mut Request<B>, target: &Target) {
    if request.version() == Version::HTTP_2 {
        join_cookies(request);
    }
    *request.version_mut() = Version::HTTP_11;
    if !request.headers().contains_key(HOST) {
        let host = request.uri().authority().and_then(host_value);
        let host = host.unwrap_or_else(|| target.authority().clone());
        request.headers_mut().insert(HOST, host);
    }
    let uri = request.uri();
    if uri.authority().is_some() || uri.path_and_query().is_none() {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
}

/// Makes `request` one that HTTP/2 can carry: absolute-form with the authority taken from `Host`,
/// else from the URI, else the upstream's own, and without headers that belong to a connection.
///
/// # Errors
/// `BadRequest` when `Host` is no authority.
pub(super) fn http2<B>(request: &mut Request<B>, target: &Target, last: &LastAuthority) -> Result<(), Fault> {
    *request.version_mut() = Version::HTTP_2;
    strip_connection(request.headers_mut());
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if target.tls().is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    let named = match host {
        None => parts.authority.take().or_else(|| Some(target.uri_authority().clone())),
        Some(host) if host == target.authority() => Some(target.uri_authority().clone()),
        Some(host) => last.of(host),
    };
    parts.authority = named;
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    let uri = Uri::from_parts(parts);
    *request.uri_mut() = uri.map_err(|_| Fault::new(FaultKind::BadRequest, "Host is not a host and port"))?;
    Ok(())
}

/// Removes what belongs to a connection of HTTP/1.1 and what `Connection` names (RFC 9113 section
/// 8.2.2). One pass finds out that there is nothing to do, as mostly there is.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    let stays = |name: &HeaderName, value: &HeaderValue| match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => false,
        "te" => value == "trailers",
        _ => true,
    };
    if headers.iter().all(|(name, value)| stays(name, value)) {
        return;
    }
    for value in headers.get_all(CONNECTION).iter().cloned().collect::<Vec<_>>() {
        for name in value.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    if headers.get_all(TE).iter().any(|value| value != "trailers") {
        headers.remove(TE);
    }
}

/// Declares the length of a body that knows it and is not declared, as HTTP/2 leaves one free to
/// (RFC 9110 section 8.6).
pub(super) fn content_length<B: Body>(request: &mut Request<B>) {
    let Some(length) = request.body().size_hint().exact() else { return };
    let bare = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    if (length != 0 || !bare) && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn host_value(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_user, host)| host);
    HeaderValue::from_str(host).ok()
}

fn join_cookies<B>(request: &mut Request<B>) {
    let crumbs = request.headers().get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let mut joined = Vec::new();
    for crumb in crumbs {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        request.headers_mut().insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Address, UpstreamSpec};

    fn target() -> Target {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 9001 };
        Target::new(&UpstreamSpec::new(address, "own:9001".to_owned())).unwrap()
    }

    fn request(uri: &str, host: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri(uri).version(Version::HTTP_2).body(()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host.parse().unwrap());
        }
        request
    }

    #[test]
    fn http1_gets_a_path_and_a_host() {
        for (uri, host, path, expected) in [
            ("/a?b=c", Some("h"), "/a?b=c", "h"),
            ("http://u@x:1/a?b", None, "/a?b", "x:1"),
            ("http://x:1", Some("h:2"), "/", "h:2"),
            ("/a", None, "/a", "own:9001"),
            ("*", None, "*", "own:9001"),
        ] {
            let mut request = request(uri, host);
            http1(&mut request, &target());
            assert_eq!(request.uri().to_string(), path);
            assert_eq!(request.headers()[HOST], expected);
            assert_eq!(request.version(), Version::HTTP_11);
        }
    }

    #[test]
    fn http2_gets_a_scheme_and_an_authority_and_no_host() {
        let last = LastAuthority::default();
        for (uri, host, expected) in [
            ("/a?b=c", Some("h"), "http://h/a?b=c"),
            ("/a?b=c", Some("h"), "http://h/a?b=c"),
            ("/a", Some("own:9001"), "http://own:9001/a"),
            ("https://x:1/a", None, "http://x:1/a"),
            ("https://x:1/a", Some("h:2"), "http://h:2/a"),
            ("/a", None, "http://own:9001/a"),
        ] {
            let mut request = request(uri, host);
            http2(&mut request, &target(), &last).unwrap();
            assert_eq!(request.uri().to_string(), expected);
            assert!(!request.headers().contains_key(HOST));
        }
        let fault = http2(&mut request("/", Some("a b")), &target(), &last).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest);
    }

    #[test]
    fn cookie_crumbs_become_one_field_on_http1() {
        let mut request = request("/", Some("h"));
        request.headers_mut().append(COOKIE, "a=1".parse().unwrap());
        request.headers_mut().append(COOKIE, "b=2".parse().unwrap());
        http1(&mut request, &target());
        let cookies: Vec<_> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }
}
