//! Reading the head of an answer, and how its body is delimited (RFC 9112 section 6.3).
//!
//! Stricter than the RFC asks where a second reader could see another message: lines end with CRLF;
//! one coding, which is `chunked`, and no length beside it; lengths of digits that agree; no transfer
//! coding from HTTP/1.0. The values of the fields are slices of what was read.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use crate::wire::http1::names::name;
use crate::wire::http1::text::{count_controls, decimal, has_token};
use crate::wire::http1::{Length, MAX_FIELDS, Malformed, rule};

/// The head of an answer.
#[derive(Debug)]
pub(in crate::upstream) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) length: Length,
    /// The upstream will not close the connection behind this answer.
    pub(super) reusable: bool,
}

/// Takes the head of an answer off `input`; `None` where it is not complete. `to_head` where the
/// request was a HEAD. The fields are put into `headers`, whose room is used and whose content is
/// dropped.
///
/// # Errors
/// [`Malformed`]; the connection is of no use then.
pub(super) fn head(
    input: &mut Bytes,
    limit: usize,
    to_head: bool,
    headers: &mut HeaderMap,
) -> Result<Option<Head>, Malformed> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, input, &mut lines);
    let size = match status.map_err(rule)? {
        httparse::Status::Complete(size) if size <= limit => size,
        httparse::Status::Partial if input.len() <= limit => return Ok(None),
        _ => return Err(Malformed::TooLarge),
    };
    // The parser takes a lone LF for a line's end.
    if count_controls(input.get(..size).unwrap_or_default()) != (parsed.headers.len() + 2) * 2 {
        return Err(Malformed::Rule("a line does not end with CRLF"));
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed::Rule("its status is no status"))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };

    let mut headers = std::mem::take(headers);
    headers.clear();
    let mut seen = Seen::default();
    for line in parsed.headers.iter() {
        let name = name(line.name)?;
        let value = HeaderValue::from_maybe_shared(input.slice_ref(line.value));
        let value = value.map_err(|_| Malformed::Rule("a field has a malformed value"))?;
        seen.note(&name, &value)?;
        headers.append(name, value);
    }
    input.advance(size);

    let bodyless = to_head
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if seen.chunked && version == Version::HTTP_10 {
        return Err(Malformed::Rule("HTTP/1.0 has no transfer codings"));
    }
    if seen.chunked && seen.length.is_some() {
        return Err(Malformed::Rule("both Content-Length and Transfer-Encoding"));
    }
    // A body that such an answer cannot have may come all the same, and would be the next answer.
    // The length of a 304 speaks of another one (RFC 9110 section 8.6).
    let promises_more = match status {
        StatusCode::NO_CONTENT => seen.chunked || seen.length.is_some_and(|length| length > 0),
        StatusCode::NOT_MODIFIED => seen.chunked,
        _ => false,
    };
    let mut reusable = version == Version::HTTP_11 && !seen.close && !promises_more;
    let length = match seen.length {
        _ if bodyless => Length::Known(0),
        _ if seen.chunked => Length::Chunked,
        Some(length) => Length::Known(length),
        None => {
            reusable = false;
            Length::Close
        }
    };
    Ok(Some(Head { status, version, headers, length, reusable }))
}

/// The head of an answer as a connection reads it, for tools that hold readers against each other; and
/// how its body is delimited. It is taken off `input`; `None` where it is not complete.
///
/// # Errors
/// [`Malformed`]; the connection is of no use then.
pub fn read_head(
    input: &mut Bytes,
    limit: usize,
    to_head: bool,
) -> Result<Option<(Response<()>, Length)>, Malformed> {
    let read = head(input, limit, to_head, &mut HeaderMap::new())?;
    Ok(read.map(|head| {
        let mut answer = Response::new(());
        *answer.status_mut() = head.status;
        *answer.version_mut() = head.version;
        *answer.headers_mut() = head.headers;
        (answer, head.length)
    }))
}

/// What the fields say of the framing.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl Seen {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Malformed> {
        if *name == header::CONTENT_LENGTH {
            let length = decimal(value.as_bytes());
            let length = length.ok_or(Malformed::Rule("its Content-Length is not a number"))?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Malformed::Rule("Content-Length twice, and not the same"));
            }
            self.length = Some(length);
        } else if *name == header::TRANSFER_ENCODING {
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Rule("a transfer coding other than chunked"));
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            self.close |= has_token(value, b"close");
        }
        Ok(())
    }
}
