//! Writing a request: its head, and the framing of its body.
//!
//! The framing is decided here alone. Whatever the caller's headers say of it is compared with the
//! body and then written anew, so that there is never more than one framing field (RFC 9112 section
//! 6) and a length is never anything but digits. What speaks of a connection is ours too, and
//! never copied.

use http::header;
use http::{HeaderMap, HeaderValue, Method, Uri};

use crate::base::{Fault, FaultKind};
use crate::wire::http1::text::{check_lines, decimal, push_decimal, push_field};
use crate::wire::http1::{Framing, Size};

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
        Framing::Chunked { .. } | Framing::Close | Framing::Nothing => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            lines += 1;
        }
    }
    out.extend_from_slice(b"\r\n");
    check_lines(out.get(begin..).unwrap_or_default(), lines)
        .map_err(|_| bad("a header field holds a control character"))?;
    Ok(framing)
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
        (None, None) => Ok(Framing::Chunked { trailers: true }),
    }
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
}
