//! What a version is told about the client: `x-forwarded-*`, `x-request-id` and `traceparent`.
//!
//! What a proxy in front says is kept and added to, never replaced, if the operator says that this
//! peer is to be believed (`trustedPeers`). What all others say of where they come from is taken off.
//!
//! Switchback makes no spans, so a valid `traceparent` passes as it is. Values that are the same
//! for a whole connection are made once, in [`Peer`].

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{Entry, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

/// `x-forwarded-for`: the addresses a request came through, the client's first.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-forwarded-proto`: what the client spoke, `http` or `https`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-forwarded-host`: the host that the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `x-request-id`: one id along the whole way, the same on a mirrored copy.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `traceparent` of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` of W3C Trace Context; it has no meaning without its `traceparent`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The other end of a client's connection. Made once per connection and shared by its requests.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address; a Unix socket has none.
    pub address: Option<IpAddr>,
    /// The address as `x-forwarded-for` has it; not added where there is no address.
    pub forwarded_for: Option<HeaderValue>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Name of the listener it came to.
    pub listener: Arc<str>,
    /// Whether it may choose a version by `x-switchback-version`.
    pub allow_pin: bool,
    /// Whether its forwarding fields are believed; those of others are taken off.
    pub trusted: bool,
    /// Bytes per second that its bodies must come at, once they have been waited for; 0: any.
    pub body_rate: u64,
    /// Header fields that its requests may have. The HTTP/1.1 codec counts for itself; HTTP/2's
    /// knows only bytes.
    pub max_fields: usize,
}

impl Peer {
    /// The peer of a connection to `listener`, with any number of header fields.
    pub fn new(address: Option<IpAddr>, tls: bool, listener: Arc<str>, allow_pin: bool) -> Self {
        // An IPv4 client of a dual-stack socket is told by its own address.
        let address = address.map(|address| address.to_canonical());
        let forwarded_for =
            address.and_then(|address| HeaderValue::from_maybe_shared(address.to_string()).ok());
        Self {
            address,
            forwarded_for,
            scheme: if tls { "https" } else { "http" },
            listener,
            allow_pin,
            trusted: true,
            body_rate: 0,
            max_fields: usize::MAX,
        }
    }
}

/// Adds to a request what its version should know of the client. Call it after
/// [`super::hygiene::request`] and before the host is rewritten.
pub fn request(parts: &mut http::request::Parts, peer: &Peer) {
    let headers = &mut parts.headers;
    let mut seen = Seen::of(headers);
    if seen.came_from && !peer.trusted {
        let claims: SmallVec<[HeaderName; 8]> =
            headers.keys().filter(|name| is_claim(name)).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
        (seen.forwarded_for, seen.forwarded_proto, seen.forwarded_host) = (false, false, false);
    }
    if let Some(address) = &peer.forwarded_for {
        match seen.forwarded_for {
            true => append_address(headers, address),
            false => drop(headers.append(X_FORWARDED_FOR, address.clone())),
        }
    }
    if !seen.forwarded_proto {
        headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme));
    }
    if !seen.forwarded_host {
        let host = match parts.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => headers.get(HOST).cloned(),
        };
        if let Some(host) = host {
            headers.append(X_FORWARDED_HOST, host);
        }
    }
    if !seen.request_id {
        headers.insert(X_REQUEST_ID, request_id());
    }
    if !(seen.parents == 1 && has_valid_parent(headers)) {
        if seen.state {
            headers.remove(TRACESTATE);
        }
        match seen.parents {
            0 => drop(headers.append(TRACEPARENT, traceparent())),
            _ => drop(headers.insert(TRACEPARENT, traceparent())),
        }
    }
}

/// Which of the fields are there already: one look at each, by the length of its name first, costs
/// less than asking the map for them.
#[derive(Default)]
struct Seen {
    /// Any field that says where the request comes from.
    came_from: bool,
    forwarded_for: bool,
    forwarded_proto: bool,
    forwarded_host: bool,
    /// The first `x-request-id` is not empty.
    request_id: bool,
    parents: u32,
    state: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        let mut ids = 0;
        for (name, value) in headers {
            let text = name.as_str();
            match (text.len(), text) {
                (10, "tracestate") => seen.state = true,
                (11, "traceparent") => seen.parents += 1,
                (12, "x-request-id") => {
                    seen.request_id |= ids == 0 && !value.is_empty();
                    ids += 1;
                }
                (15, "x-forwarded-for") => seen.forwarded_for = true,
                (16, "x-forwarded-host") => seen.forwarded_host = true,
                (17, "x-forwarded-proto") => seen.forwarded_proto = true,
                _ => seen.came_from |= is_claim(name),
            }
        }
        seen.came_from |= seen.forwarded_for || seen.forwarded_host || seen.forwarded_proto;
        seen
    }
}

/// Whether a field says where a request comes from: `forwarded` (RFC 7239), `x-real-ip`, and whatever
/// begins with `x-forwarded-`. Servers that give programs their fields by the names of variables read
/// `_` and `-` as the same.
pub fn is_claim(name: &HeaderName) -> bool {
    let begins = |name: &[u8], text: &[u8]| {
        let same = |(a, b): (&u8, &u8)| a == b || (*a == b'_' && *b == b'-');
        name.len() >= text.len() && name.iter().zip(text).all(same)
    };
    match name.as_str().as_bytes() {
        name @ [b'x', b'-' | b'_', b'f', ..] => begins(name, b"x-forwarded-"),
        name @ [b'x', b'-' | b'_', b'r', ..] => name.len() == 9 && begins(name, b"x-real-ip"),
        name => name == b"forwarded",
    }
}

/// Appends to the last line. Several lines become one, because many servers read only one.
fn append_address(headers: &mut HeaderMap, address: &HeaderValue) {
    let mut entry = match headers.entry(X_FORWARDED_FOR) {
        Entry::Vacant(entry) => {
            entry.insert(address.clone());
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    let mut all = SmallVec::<[u8; 128]>::new();
    for line in entry.iter().filter(|line| !line.is_empty()) {
        all.extend_from_slice(line.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(address.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        entry.insert(value);
    }
}

/// A random UUID (version 4, RFC 9562 section 5.4). Ids are for finding, not for secrecy, so the
/// generator need not be a cryptographic one.
fn request_id() -> HeaderValue {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let id = fastrand::u128(..) & !VERSION & !VARIANT | (4 << 76) | (0b10 << 62);
    let [a, b, c, d] = hex32(id);
    let mut text = SmallVec::<[u8; 36]>::new();
    text.extend_from_slice(&a);
    for part in [b, c] {
        let (first, last) = part.split_at(4);
        text.push(b'-');
        text.extend_from_slice(first);
        text.push(b'-');
        text.extend_from_slice(last);
    }
    text.extend_from_slice(&d);
    value(&text)
}

/// A new trace. The `sampled` flag is clear, as the specification asks of one who starts a trace
/// without recording it (section 3.2.2.5.1).
fn traceparent() -> HeaderValue {
    let mut text = SmallVec::<[u8; 55]>::new();
    text.extend_from_slice(b"00-");
    text.extend_from_slice(hex32(fastrand::u128(1..)).as_flattened());
    text.push(b'-');
    let span = fastrand::u64(1..);
    text.extend_from_slice([hex8((span >> 32) as u32), hex8(span as u32)].as_flattened());
    text.extend_from_slice(b"-00");
    value(&text)
}

/// The 32 hexadecimal digits of a number, in four groups of eight.
fn hex32(number: u128) -> [[u8; 8]; 4] {
    let [high, low] = [(number >> 64) as u64, number as u64];
    [hex8((high >> 32) as u32), hex8(high as u32), hex8((low >> 32) as u32), hex8(low as u32)]
}

/// Eight hexadecimal digits at once: each nibble is spread to a byte of a word, then all eight are
/// made digits together. Two ids are made for nearly every request, so it is worth the trouble.
fn hex8(number: u32) -> [u8; 8] {
    let n = u64::from(number);
    let n = ((n & 0xffff_0000) << 16) | (n & 0xffff);
    let n = ((n & 0x0000_ff00_0000_ff00) << 8) | (n & 0x0000_00ff_0000_00ff);
    let n = ((n & 0x00f0_00f0_00f0_00f0) << 4) | (n & 0x000f_000f_000f_000f);
    let letters = ((n + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (n + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// Hexadecimal digits and dashes are always a header value. It is different every time, so HPACK
/// must not waste its table on it (RFC 7541 section 6.2.3).
fn value(text: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn has_valid_parent(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    matches!((lines.next(), lines.next()), (Some(one), None) if is_valid_parent(one.as_bytes()))
}

/// W3C Trace Context section 3.2: version 00 is 55 characters; later ones may go on after a dash.
fn is_valid_parent(text: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let Some((parent, later)) = text.split_at_checked(55) else { return false };
    let mut parts = parent.split(|byte| *byte == b'-');
    let (Some(version), Some(trace), Some(span), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2)
        && [version, trace, span, flags].into_iter().all(hex)
        && version != b"ff"
        && !zero(trace)
        && !zero(span)
        && (later.is_empty() || (version != b"00" && later.starts_with(b"-")))
}

#[cfg(test)]
mod tests;
