//! Reading the head of an answer, and how its body is delimited (RFC 9112 section 6.3).
//!
//! Stricter than the RFC asks where a second reader could see another message: one coding, which is
//! `chunked`; lengths of digits that agree; no transfer coding from HTTP/1.0. The values of the
//! fields are slices of what was read.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use super::{MAX_FIELDS, Malformed, encode};

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

/// How the body of an answer is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Length {
    /// By its length, which may be none.
    Known(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    Close,
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
    let mut reusable = version == Version::HTTP_11 && !seen.close;
    if seen.chunked && seen.length.is_some() {
        // The length is a lie, and who tells it may tell others (section 6.3).
        headers.remove(header::CONTENT_LENGTH);
        reusable = false;
    }
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

/// The name of a field. Those that nearly every answer has are known by sight, in the two ways in
/// which servers write them.
fn name(text: &str) -> Result<HeaderName, Malformed> {
    let (likely, titled) = match text.len() {
        4 => (header::DATE, "Date"),
        6 => (header::SERVER, "Server"),
        12 => (header::CONTENT_TYPE, "Content-Type"),
        14 => (header::CONTENT_LENGTH, "Content-Length"),
        17 => (header::TRANSFER_ENCODING, "Transfer-Encoding"),
        _ => (header::CONNECTION, "Connection"),
    };
    if text == likely.as_str() || text == titled {
        return Ok(likely);
    }
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| Malformed::Rule("a field has a malformed name"))
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
            let length = encode::decimal(value.as_bytes());
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
            let mut tokens = value.as_bytes().split(|&byte| byte == b',');
            self.close |= tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
        Ok(())
    }
}

/// Which rule the parser saw broken.
pub(super) fn rule(error: httparse::Error) -> Malformed {
    Malformed::Rule(match error {
        httparse::Error::HeaderName => "a field has a malformed name",
        httparse::Error::HeaderValue => "a field has a malformed value",
        httparse::Error::NewLine => "a line ends as no line does",
        httparse::Error::Status => "its status is no status",
        httparse::Error::Token => "its first line is malformed",
        httparse::Error::TooManyHeaders => "it has more than 100 fields",
        httparse::Error::Version => "it is not HTTP/1",
    })
}
