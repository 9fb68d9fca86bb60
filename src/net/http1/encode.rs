//! Writing the head of an answer, and framing its body (RFC 9112 section 6).
//!
//! The framing is decided here alone: whatever the answer's fields say of it is compared with its
//! body and written anew. Fields of the connection are ours as well, but for those of a `101`.
//! `HeaderValue` holds no line ends, so none can be written into the head.

use http::{HeaderMap, StatusCode, header};

use super::date::Clock;
use super::decode::Ask;
use crate::wire::http1::text::{decimal, has_token, push_decimal, push_field};
use crate::wire::http1::{Framing, Size};

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framed {
    pub(super) framing: Framing,
    /// Nothing is to be read of the body.
    pub(super) ended: bool,
    /// The connection goes on behind it.
    pub(super) keep: bool,
}

/// Appends the head of an answer to a request of `ask` to `out`. `keep` is whether the connection
/// can go on, as far as the request and the listener are concerned.
pub(super) fn head(
    status: StatusCode,
    headers: &HeaderMap,
    size: Size,
    ask: Ask,
    keep: bool,
    clock: &Clock,
    out: &mut Vec<u8>,
) -> Framed {
    push_status(status, ask.is_old, out);
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut keep = keep && ask.keep_alive;
    let (mut declared, mut dated) = (None, false);
    for (name, value) in headers {
        let name = name.as_str();
        match (name.len(), name) {
            (14, "content-length") => declared = declared.or(decimal(value.as_bytes())),
            (17, "transfer-encoding") | (16, "proxy-connection") | (10, "keep-alive") => {}
            (10, "connection") if !switching => keep &= !has_token(value, b"close"),
            _ => {
                dated |= name == header::DATE.as_str();
                push_field(name, value, out);
            }
        }
    }
    let bodyless =
        switching || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || ask.to_head;
    let framing = if bodyless { Framing::Nothing } else { framing(size, declared, ask) };
    keep &= framing != Framing::Close;
    match framing {
        Framing::Length(length) => push_length(length, out),
        Framing::Chunked { .. } => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Nothing => {
            if let Some(length) = told(status, size, declared) {
                push_length(length, out);
            }
        }
        Framing::Close => {}
    }
    if !switching {
        match (keep, ask.is_old) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, false) => {}
        }
    }
    if !dated {
        out.extend_from_slice(b"date: ");
        clock.push_date(out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Framed { framing, ended: size.is_ended(), keep }
}

/// What the body itself knows counts for more than what a field says of it.
fn framing(size: Size, declared: Option<u64>, ask: Ask) -> Framing {
    match (size.is_ended(), size.exact, declared) {
        (true, ..) => Framing::Length(0),
        (false, Some(length), _) | (false, None, Some(length)) => Framing::Length(length),
        (false, None, None) if ask.is_old => Framing::Close,
        (false, None, None) => Framing::Chunked { trailers: ask.trailers },
    }
}

/// The length that an answer without a body tells: that of the answer to `GET` (RFC 9110 section
/// 8.6). An empty body knows nothing of that one.
fn told(status: StatusCode, size: Size, declared: Option<u64>) -> Option<u64> {
    match status {
        StatusCode::NO_CONTENT | StatusCode::SWITCHING_PROTOCOLS => None,
        StatusCode::NOT_MODIFIED => declared,
        _ => declared.or(size.exact.filter(|_| !size.is_ended())),
    }
}

/// The version is the client's own: a strict one of HTTP/1.0 takes no other.
fn push_status(status: StatusCode, is_old: bool, out: &mut Vec<u8>) {
    if status == StatusCode::OK && !is_old {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"content-length: ");
    push_decimal(length, out);
    out.extend_from_slice(b"\r\n");
}
