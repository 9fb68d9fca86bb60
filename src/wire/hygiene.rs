//! What may pass from one side to the other: one function for each direction.
//!
//! A proxy ends one connection and begins another, so whatever speaks of a connection must not
//! pass (RFC 9110 section 7.6.1), and whatever two servers could understand differently must not
//! pass either (RFC 9112 section 11.2, request smuggling). Everything else passes untouched:
//! repeated fields stay repeated and in order, values that are not text stay as they are.
//!
//! Most messages have nothing to strip. Both functions look at each field once, by the length of
//! its name first, and allocate only where something unusual must be rebuilt.
//!
//! What is *not* done here: the version of a forwarded request, `Host`/`:authority` and
//! [`ask_upgrade`] are the upstream adapter's, because it alone knows what it speaks. Framing is
//! the codecs'; it is made anew on both sides from the body's size.

use http::header::{self, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

use super::grpc;
use crate::base::{Fault, FaultKind};

/// What a client asked for by fields that are not passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The protocols of `Upgrade`, where the client may switch (HTTP/1.1 with `Connection:
    /// upgrade`). Give it to [`ask_upgrade`]. An upgrade to `h2c` is not heard (RFC 9113 took it
    /// out).
    pub upgrade: Option<HeaderValue>,
    /// `Expect: 100-continue`: the client waits before it sends its body. `net` answers when the
    /// body is first polled, so refuse before that.
    pub expects_continue: bool,
    /// A gRPC call: faults are answered in gRPC's way.
    pub grpc: bool,
    /// `TE: trailers`; it stays on the request.
    pub trailers: bool,
}

/// Checks a client's request and takes off it what must not pass.
///
/// Afterwards there is at most one `Host` and, where the target has an authority too (HTTP/2, or
/// the absolute form), they agree. `Trailer` stays: it speaks of the message, not of the
/// connection; `TE: trailers` stays; `parts.version` stays the client's.
///
/// # Errors
/// [`FaultKind::BadRequest`] for a request that servers could read differently: no `Host` or
/// several, a malformed one or one that contradicts the target (RFC 9112 section 3.2), differing
/// or malformed lengths, a length together with `Transfer-Encoding` (section 6.3), an expectation
/// other than `100-continue`. [`FaultKind::NotImplemented`] for `CONNECT`, `TRACE` and transfer
/// codings other than `chunked`.
pub fn request(parts: &mut http::request::Parts) -> Result<Asked, Fault> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Fault::new(FaultKind::NotImplemented, "CONNECT and TRACE are not served"));
    }
    let seen = Seen::of(&parts.headers, FaultKind::BadRequest)?;
    if let Some(length) = seen.length {
        if seen.has(Field::TransferEncoding) {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        if !is_number(length) {
            return Err(bad("Content-Length is not a number"));
        }
    }
    if seen.other_coding {
        return Err(Fault::new(FaultKind::NotImplemented, "a transfer coding other than chunked"));
    }
    if seen.has(Field::Disguised) {
        return Err(bad("a field whose name some servers take for that of the length or the coding"));
    }
    check_target(parts, &seen)?;

    let mut asked = Asked {
        grpc: seen.content_type.is_some_and(grpc::is_grpc_type),
        trailers: seen.te_trailers,
        ..Asked::default()
    };
    if seen.has(Field::Expect) {
        // An HTTP/1.0 client cannot expect anything (RFC 9110 section 10.1.1).
        if parts.version >= Version::HTTP_11 {
            if seen.other_expectation {
                return Err(bad("an expectation other than 100-continue"));
            }
            asked.expects_continue = true;
        }
    }
    let repeated = seen.fields & REPEATED_LENGTH != 0;
    let mut strips = seen.fields & STRIPPED_OF_REQUEST;
    if seen.te_plain {
        strips &= !Field::Te.bit();
    }
    if strips != 0 {
        if seen.wants_upgrade && parts.version == Version::HTTP_11 {
            asked.upgrade = upgrade_of(&parts.headers);
        }
        strip(&mut parts.headers, strips);
        if asked.trailers && strips & Field::Te.bit() != 0 {
            parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    if repeated {
        keep_first(&mut parts.headers, &header::CONTENT_LENGTH);
    }
    Ok(asked)
}

/// Takes off a version's answer what must not pass, and gives it the client's HTTP version (to an
/// HTTP/1.0 client 1.1, which the codec lowers).
///
/// A `101` keeps `Upgrade` and `Connection: upgrade`. The length of an answer to `HEAD` and of a
/// `304` stays, for it speaks of the answer to `GET` (RFC 9110 section 8.6); a `204` has none.
///
/// # Errors
/// [`FaultKind::UpstreamProtocol`] for differing or malformed lengths, transfer codings other
/// than `chunked`, and a `101` without `Upgrade` or to a client that does not speak HTTP/1.1.
pub fn response(parts: &mut http::response::Parts, downstream: Version) -> Result<(), Fault> {
    let seen = Seen::of(&parts.headers, FaultKind::UpstreamProtocol)?;
    let broken = |detail| Err(Fault::new(FaultKind::UpstreamProtocol, detail));
    if seen.other_coding {
        return broken("the answer has a transfer coding other than chunked");
    }
    if seen.length.is_some_and(|length| !is_number(length)) {
        return broken("the Content-Length of the answer is not a number");
    }
    let mut strips = seen.fields & STRIPPED_OF_RESPONSE;
    let repeated = seen.fields & REPEATED_LENGTH != 0;
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let switched = if switching { parts.headers.get(header::UPGRADE).cloned() } else { None };
    if switching && (downstream != Version::HTTP_11 || switched.is_none()) {
        return broken("the answer switches protocols, but not as HTTP/1.1 does");
    }
    // RFC 9112 section 6.3: where both are there, the length is a lie and must not be forwarded.
    if parts.status.is_informational()
        || parts.status == StatusCode::NO_CONTENT
        || seen.has(Field::TransferEncoding)
    {
        strips |= seen.fields & Field::ContentLength.bit();
    }
    if strips != 0 {
        strip(&mut parts.headers, strips);
    }
    if repeated && strips & Field::ContentLength.bit() == 0 {
        keep_first(&mut parts.headers, &header::CONTENT_LENGTH);
    }
    if let Some(protocol) = switched {
        ask_upgrade(&mut parts.headers, protocol);
    }
    // What the version's own connection spoke says nothing of the client's: the codec there writes
    // the client's version in any case.
    parts.version = downstream.max(Version::HTTP_11);
    Ok(())
}

/// Puts a client's upgrade back on the request to an HTTP/1.1 upstream.
pub fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// `host[:port]` that the client asked for: of the target where it has one, else of `Host`.
pub fn authority(parts: &http::request::Parts) -> Option<&str> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    }
}

// === fields ===

/// Fields that mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Field {
    Connection,
    KeepAlive,
    ProxyConnection,
    ProxyAuthorization,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    Te,
    TransferEncoding,
    Upgrade,
    Expect,
    SwitchbackError,
    Host,
    ContentLength,
    ContentType,
    Http2Settings,
    /// A name that servers behind CGI, WSGI and their like take for that of the length or the coding:
    /// to them a hyphen and an underscore are one.
    Disguised,
}

impl Field {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Not a field: the length was there more than once, each time the same.
const REPEATED_LENGTH: u32 = 1 << 31;
/// Not a field: there was more than one `Host`.
const REPEATED_HOST: u32 = 1 << 30;

/// Fields of a connection (RFC 9110 section 7.6.1) and those that older RFCs and practice add.
const HOP_BY_HOP: u32 = Field::Connection.bit()
    | Field::KeepAlive.bit()
    | Field::ProxyConnection.bit()
    | Field::Te.bit()
    | Field::TransferEncoding.bit()
    | Field::Upgrade.bit()
    | Field::Http2Settings.bit();

/// `Expect` is answered by `net`; credentials for a proxy end at the proxy (RFC 9110 section
/// 11.7.2); a reason for a fault is ours to give.
const STRIPPED_OF_REQUEST: u32 =
    HOP_BY_HOP | Field::ProxyAuthorization.bit() | Field::Expect.bit() | Field::SwitchbackError.bit();

/// A version that asks for a proxy's credentials is not heard. `x-switchback-error` stays: it is
/// the reason of another Switchback further up.
const STRIPPED_OF_RESPONSE: u32 =
    HOP_BY_HOP | Field::ProxyAuthenticate.bit() | Field::ProxyAuthenticationInfo.bit();

fn field(name: &HeaderName) -> Option<Field> {
    let name = name.as_str();
    Some(match (name.len(), name) {
        (2, "te") => Field::Te,
        (4, "host") => Field::Host,
        (6, "expect") => Field::Expect,
        (7, "upgrade") => Field::Upgrade,
        (10, "connection") => Field::Connection,
        (10, "keep-alive") => Field::KeepAlive,
        (12, "content-type") => Field::ContentType,
        (14, "content-length") => Field::ContentLength,
        (14, "http2-settings") => Field::Http2Settings,
        (14, "content_length") | (17, "transfer_encoding") => Field::Disguised,
        (16, "proxy-connection") => Field::ProxyConnection,
        (17, "transfer-encoding") => Field::TransferEncoding,
        (18, "x-switchback-error") => Field::SwitchbackError,
        (18, "proxy-authenticate") => Field::ProxyAuthenticate,
        (19, "proxy-authorization") => Field::ProxyAuthorization,
        (25, "proxy-authentication-info") => Field::ProxyAuthenticationInfo,
        _ => return None,
    })
}

static STRIPPABLE: [(Field, HeaderName); 13] = [
    (Field::Connection, header::CONNECTION),
    (Field::KeepAlive, HeaderName::from_static("keep-alive")),
    (Field::ProxyConnection, HeaderName::from_static("proxy-connection")),
    (Field::ProxyAuthorization, header::PROXY_AUTHORIZATION),
    (Field::ProxyAuthenticate, header::PROXY_AUTHENTICATE),
    (Field::ProxyAuthenticationInfo, HeaderName::from_static("proxy-authentication-info")),
    (Field::Te, header::TE),
    (Field::TransferEncoding, header::TRANSFER_ENCODING),
    (Field::Upgrade, header::UPGRADE),
    (Field::Http2Settings, HeaderName::from_static("http2-settings")),
    (Field::Expect, header::EXPECT),
    (Field::SwitchbackError, HeaderName::from_static("x-switchback-error")),
    (Field::ContentLength, header::CONTENT_LENGTH),
];

/// Fields meant for everyone along the way. A sender must not name them in `Connection` (RFC 9110
/// section 7.6.1); one that does, does it to have a proxy drop what the server relies on.
fn is_end_to_end(name: &str) -> bool {
    const NAMES: [&str; 15] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "authorization",
        "cookie",
        "set-cookie",
        "cache-control",
        "trailer",
        "forwarded",
        "x-real-ip",
        "x-request-id",
        "traceparent",
        "tracestate",
        "te",
    ];
    let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        || starts("x-forwarded-")
        || starts("x-switchback-")
        || starts("grpc-")
}

// === one look at every field ===

/// What one pass over the fields finds.
#[derive(Default)]
struct Seen<'a> {
    fields: u32,
    host: Option<&'a HeaderValue>,
    length: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    te_trailers: bool,
    /// `TE: trailers` and nothing else, as every gRPC call has it: nothing to do.
    te_plain: bool,
    wants_upgrade: bool,
    other_coding: bool,
    other_expectation: bool,
}

impl<'a> Seen<'a> {
    /// `kind` is whom to blame for what no reader could accept.
    fn of(headers: &'a HeaderMap, kind: FaultKind) -> Result<Self, Fault> {
        let mut seen = Self::default();
        for (name, value) in headers {
            let Some(field) = field(name) else { continue };
            let again = seen.has(field);
            seen.fields |= field.bit();
            match field {
                Field::Host if again => seen.fields |= REPEATED_HOST,
                Field::Host => seen.host = Some(value),
                Field::ContentLength if again => {
                    if seen.length != Some(value) {
                        return Err(Fault::new(kind, "Content-Length twice, and not the same"));
                    }
                    seen.fields |= REPEATED_LENGTH;
                }
                Field::ContentLength => seen.length = Some(value),
                Field::ContentType => seen.content_type = Some(value),
                Field::TransferEncoding => {
                    seen.other_coding |= again || !value.as_bytes().eq_ignore_ascii_case(b"chunked");
                }
                Field::Expect => {
                    seen.other_expectation |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
                }
                Field::Te => {
                    seen.te_trailers |= has_token(value, b"trailers");
                    seen.te_plain = !again && value.as_bytes() == b"trailers";
                }
                Field::Connection => seen.wants_upgrade |= has_token(value, b"upgrade"),
                _ => {}
            }
        }
        Ok(seen)
    }

    fn has(&self, field: Field) -> bool {
        self.fields & field.bit() != 0
    }
}

/// Host and target (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
fn check_target(parts: &http::request::Parts, seen: &Seen<'_>) -> Result<(), Fault> {
    let authority = parts.uri.authority();
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(bad("the target is an asterisk, and the method is not OPTIONS"));
    }
    // A URL may lack a path, but `:path` may not (RFC 9113 section 8.3.1), and not every server would put
    // the slash there that it needs. A fragment has been taken off by then: `Uri` does that itself, and HTTP/1.1
    // alone can look before (`#x` comes here as no path at all, which is a slash).
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if parts.version == Version::HTTP_2 && !path.starts_with(['/', '*']) {
        return Err(bad("the path does not begin with a slash"));
    }
    if seen.fields & REPEATED_HOST != 0 {
        return Err(bad("more than one Host"));
    }
    match seen.host {
        None if parts.version == Version::HTTP_11 => return Err(bad("no Host")),
        None => {}
        Some(host) => {
            // HTTP/1.0 did not know Host, and some of its clients send it empty.
            let may_lack = host.is_empty() && parts.version < Version::HTTP_11;
            if !may_lack && !is_host_and_port(host.as_bytes()) {
                return Err(bad("Host is malformed"));
            }
            if let Some(authority) = authority
                && !same_host(parts.uri.scheme(), authority.as_str(), host.as_bytes())
            {
                return Err(bad("Host is not that of the target"));
            }
        }
    }
    let Some(authority) = authority else { return Ok(()) };
    if authority.as_str().contains('@') {
        return Err(bad("the target has user information"));
    }
    if !is_host_and_port(authority.as_str().as_bytes()) {
        return Err(bad("the host of the target is malformed"));
    }
    match parts.uri.scheme() {
        Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
            Err(bad("the target is neither http nor https"))
        }
        // The authority form is for CONNECT only (RFC 9112 section 3.2.3).
        None => Err(bad("the target is neither a path nor a whole URL")),
        Some(_) => Ok(()),
    }
}

/// Whether this is a host and, if there is a colon behind it, a port, which may be empty (RFC 3986
/// section 3.2.2, RFC 9110 section 4.2.1). Nothing here is for two servers to cut differently.
fn is_host_and_port(text: &[u8]) -> bool {
    let (host_ends, port) = match text.iter().rposition(|&byte| !byte.is_ascii_digit()) {
        Some(colon) if text.get(colon) == Some(&b':') => (colon, text.len() - colon - 1),
        _ => (text.len(), 0),
    };
    let host = text.get(..host_ends).unwrap_or_default();
    port <= 5 && if host.first() == Some(&b'[') { is_ip_literal(host) } else { is_name(host) }
}

/// An IPv6 address in brackets; nobody has seen another version yet.
fn is_ip_literal(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let address = inner.and_then(|inner| std::str::from_utf8(inner).ok());
    address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A registered name, but for the comma, which no host has and joined fields do.
fn is_name(host: &[u8]) -> bool {
    if host.is_empty() {
        return false;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
    let mut rest = host;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match (byte, behind) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
            _ if plain(byte) => behind,
            _ => return false,
        };
    }
    true
}

fn same_host(scheme: Option<&Scheme>, authority: &str, host: &[u8]) -> bool {
    let port: &[u8] = if scheme == Some(&Scheme::HTTPS) { b":443" } else { b":80" };
    let bare = |name: &[u8]| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    authority.as_bytes().eq_ignore_ascii_case(host) || bare(authority.as_bytes()) == bare(host)
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.len() <= 19 && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// The items of a comma-separated list, without their parameters.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(|item| item.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii())
}

fn has_token(value: &HeaderValue, wanted: &[u8]) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::UPGRADE).iter();
    let first = lines.next()?;
    if headers.get_all(header::UPGRADE).iter().any(|line| has_token(line, b"h2c")) {
        return None;
    }
    match lines.next() {
        None => Some(first.clone()),
        Some(_) => {
            let lines: SmallVec<[&[u8]; 4]> =
                headers.get_all(header::UPGRADE).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()
        }
    }
}

// === taking off ===

/// Removes the fields of `which`, and those that `Connection` names. The order of the others may
/// change; that of one field's values does not.
fn strip(headers: &mut HeaderMap, which: u32) {
    if which & Field::Connection.bit() != 0 {
        strip_named(headers);
    }
    for (field, name) in &STRIPPABLE {
        if which & field.bit() != 0 {
            headers.remove(name);
        }
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let plain = |token: &[u8]| {
        [&b"close"[..], b"keep-alive", b"upgrade", b"te", b""].iter().any(|p| token.eq_ignore_ascii_case(p))
    };
    let lines: SmallVec<[HeaderValue; 2]> =
        headers.get_all(header::CONNECTION).iter().filter(|line| !tokens(line).all(plain)).cloned().collect();
    for token in lines.iter().flat_map(tokens) {
        if let Ok(name) = std::str::from_utf8(token)
            && !is_end_to_end(name)
        {
            headers.remove(name);
        }
    }
}

fn keep_first(headers: &mut HeaderMap, name: &HeaderName) {
    if let Some(value) = headers.get(name).cloned() {
        headers.insert(name, value);
    }
}

#[cold]
fn bad(detail: &'static str) -> Fault {
    Fault::new(FaultKind::BadRequest, detail)
}

#[cfg(test)]
mod tests;
