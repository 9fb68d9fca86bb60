//! Writing a request: its head, and the framing of its body.
//!
//! The framing is decided here alone. Whatever the caller's headers say of it is compared with the
//! body and then written anew, so that there is never more than one framing field (RFC 9112 section
//! 6) and a length is never anything but digits. What speaks of a connection is ours too, and
//! never copied.

use http::header;
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body::{Body, SizeHint};

use super::is_forbidden_trailer;
use crate::base::{Fault, FaultKind};

/// How a request body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length; bytes still to come.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// What a request body tells of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    ended: bool,
    exact: Option<u64>,
}

impl Size {
    pub(super) fn of(body: &impl Body) -> Self {
        let hint: SizeHint = body.size_hint();
        Self { ended: body.is_end_stream(), exact: hint.exact() }
    }

    /// Whether there is no content and nothing behind it.
    pub(super) fn is_ended(self) -> bool {
        self.ended || self.exact == Some(0)
    }
}

/// Appends the head of a request to `out` and returns the framing of its body.
///
/// # Errors
/// `BadRequest` where the declared length is malformed or not that of the body, and where anything
/// would end a line or the target early. `out` must not be sent then.
pub(super) fn head(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    size: Size,
    out: &mut Vec<u8>,
) -> Result<Framing, Fault> {
    let begin = out.len();
    let mut lines = 2_usize;
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    push_target(uri, out)?;
    out.extend_from_slice(b" HTTP/1.1\r\n");

    let mut declared = None;
    for (name, value) in headers {
        let name = name.as_str();
        if is_ours(name) {
            if name == "content-length" {
                declared = Some(agreed(declared, value)?);
            }
            continue;
        }
        push_field(name, value, out);
        lines += 1;
    }
    let framing = framing(size, declared)?;
    match framing {
        // RFC 9110 section 8.6: methods that expect content say that there is none.
        Framing::Length(0) if declared.is_none() && !expects_content(method) => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_decimal(length, out);
            out.extend_from_slice(b"\r\n");
            lines += 1;
        }
        Framing::Chunked => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            lines += 1;
        }
    }
    out.extend_from_slice(b"\r\n");
    check_lines(out.get(begin..).unwrap_or_default(), lines)?;
    Ok(framing)
}

/// Appends the size line of a chunk (RFC 9112 section 7.1).
pub(super) fn push_chunk_size(size: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let (mut left, mut count) = (size, 0);
    for digit in digits.iter_mut().rev() {
        let nibble = (left & 15) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        (left, count) = (left >> 4, count + 1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk with those of `trailers` that may stand there.
///
/// # Errors
/// `BadRequest` where a field would end its line early.
pub(super) fn push_end(trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Fault> {
    let begin = out.len();
    out.extend_from_slice(b"0\r\n");
    let mut lines = 2;
    for (name, value) in trailers {
        if !is_forbidden_trailer(name) {
            push_field(name.as_str(), value, out);
            lines += 1;
        }
    }
    out.extend_from_slice(b"\r\n");
    check_lines(out.get(begin..).unwrap_or_default(), lines)
}

/// Fields that are written anew or belong to the connection to the client.
fn is_ours(name: &str) -> bool {
    match name.len() {
        10 => name == header::CONNECTION.as_str() || name == "keep-alive",
        14 => name == header::CONTENT_LENGTH.as_str(),
        16 => name == "proxy-connection",
        17 => name == header::TRANSFER_ENCODING.as_str(),
        _ => false,
    }
}

fn push_field(name: &str, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The origin-form or asterisk-form (RFC 9112 section 3.2).
fn push_target(uri: &Uri, out: &mut Vec<u8>) -> Result<(), Fault> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if target.as_bytes().contains(&b' ') {
        return Err(bad("the target of the request holds a space"));
    }
    if !target.starts_with('/') && target != "*" {
        out.push(b'/');
    }
    out.extend_from_slice(target.as_bytes());
    Ok(())
}

fn expects_content(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

/// The length that all lines of `Content-Length` agree on.
fn agreed(known: Option<u64>, value: &HeaderValue) -> Result<u64, Fault> {
    let length = decimal(value.as_bytes()).ok_or_else(|| bad("Content-Length is not a number"))?;
    match known {
        Some(other) if other != length => Err(bad("Content-Length twice, and not the same")),
        _ => Ok(length),
    }
}

fn framing(size: Size, declared: Option<u64>) -> Result<Framing, Fault> {
    let known = if size.is_ended() { Some(0) } else { size.exact };
    match (known, declared) {
        (Some(known), Some(declared)) if known != declared => {
            Err(bad("the request body is not as long as its Content-Length says"))
        }
        (Some(length), _) | (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::Chunked),
    }
}

/// `HeaderValue` and `Uri` hold no line ends. Should that ever fail to be so, the head would be
/// two requests: so the control characters are counted, and must be our own line ends and no others.
fn check_lines(written: &[u8], lines: usize) -> Result<(), Fault> {
    // Sums of bytes over short runs: the compiler makes vector code of it.
    let controls: usize = written
        .chunks(240)
        .map(|run| usize::from(run.iter().map(|&byte| u8::from(byte < b' ' && byte != b'\t')).sum::<u8>()))
        .sum();
    if controls == lines * 2 { Ok(()) } else { Err(bad("a header field holds a control character")) }
}

/// A length as RFC 9110 section 8.6 writes it: digits only.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut left, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        (left, count) = (left / 10, count + 1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

#[cold]
fn bad(detail: &'static str) -> Fault {
    Fault::new(FaultKind::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn written(method: &str, uri: &str, fields: &[(&str, &str)], size: Size) -> Result<String, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut out = Vec::new();
        head(&method.parse().unwrap(), &uri.parse().unwrap(), &headers, size, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const NOTHING: Size = Size { ended: true, exact: Some(0) };
    const FIVE: Size = Size { ended: false, exact: Some(5) };
    const UNKNOWN: Size = Size { ended: false, exact: None };

    #[test]
    fn a_request_has_one_framing_field_at_most() {
        for (method, fields, size, expected) in [
            ("GET", &[][..], NOTHING, ""),
            ("GET", &[("content-length", "0")], NOTHING, "content-length: 0\r\n"),
            ("POST", &[], NOTHING, "content-length: 0\r\n"),
            ("POST", &[], FIVE, "content-length: 5\r\n"),
            ("POST", &[("content-length", "5"), ("content-length", "05")], FIVE, "content-length: 5\r\n"),
            (
                "POST",
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                FIVE,
                "content-length: 5\r\n",
            ),
            ("POST", &[("transfer-encoding", "gzip")], UNKNOWN, "transfer-encoding: chunked\r\n"),
            ("POST", &[("content-length", "7")], UNKNOWN, "content-length: 7\r\n"),
            (
                "POST",
                &[("connection", "close, x"), ("keep-alive", "1"), ("te", "trailers")],
                FIVE,
                "te: trailers\r\ncontent-length: 5\r\n",
            ),
        ] {
            let text = written(method, "/a?b", fields, size).unwrap();
            assert_eq!(text, format!("{method} /a?b HTTP/1.1\r\n{expected}\r\n"));
        }
    }

    #[test]
    fn a_length_that_is_not_the_bodys_is_refused() {
        for (fields, size) in [
            (&[("content-length", "5")][..], NOTHING),
            (&[("content-length", "6")], FIVE),
            (&[("content-length", "5"), ("content-length", "6")], FIVE),
            (&[("content-length", "+5")], FIVE),
            (&[("content-length", "")], FIVE),
            (&[("content-length", "5, 5")], FIVE),
            (&[("content-length", "18446744073709551616")], UNKNOWN),
        ] {
            let fault = written("POST", "/", fields, size).unwrap_err();
            assert_eq!(fault.kind, FaultKind::BadRequest, "{fields:?}");
        }
    }

    #[test]
    fn the_target_is_a_path_or_an_asterisk() {
        for (uri, expected) in [("/a?b", "/a?b"), ("*", "*"), ("http://x", "/"), ("http://x?q", "/?q")] {
            assert!(written("GET", uri, &[], NOTHING).unwrap().starts_with(&format!("GET {expected} HTTP")));
        }
    }

    #[test]
    fn nothing_ends_a_line_but_us() {
        assert!(check_lines(b"a: b\r\n\r\n", 2).is_ok());
        for bad in [&b"a: b\r\nc: d\r\n\r\n"[..], b"a: b\nc\r\n\r\n", b"a: b\0\r\n\r\n", b"a: b\r\r\n\r\n"] {
            assert_eq!(check_lines(bad, 2).unwrap_err().kind, FaultKind::BadRequest);
        }
        let tabs = [b"a:\t".as_slice(), &[b'x'; 1000], b"\xff\r\n\r\n"].concat();
        assert!(check_lines(&tabs, 2).is_ok());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 255, 256, 65_535, 1 << 40, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(decimal(&out), Some(number));
            out.clear();
            push_chunk_size(number as usize, &mut out);
            assert_eq!(out, format!("{number:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn trailers_are_written_but_for_those_that_frame() {
        let mut trailers = HeaderMap::new();
        for (name, value) in [("grpc-status", "0"), ("content-length", "9"), ("host", "x"), ("x-sum", "7")] {
            trailers.insert(name, value.parse().unwrap());
        }
        let mut out = Vec::new();
        push_end(&trailers, &mut out).unwrap();
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\nx-sum: 7\r\n\r\n");
    }
}
