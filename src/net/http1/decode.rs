//! Reading the head of a request, and how its body is delimited (RFC 9112 sections 3, 5 and 6).
//!
//! Stricter than the RFC asks where a second reader could see another message: every line ends
//! with CRLF, a length is digits and there is one of it or the same again, the one transfer coding
//! is `chunked` and never stands beside a length. The values of the fields are slices of what was
//! read. `Host` and all that does not frame the message is left to `wire::hygiene`.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Method, Request, Uri, Version};
use httparse::{Header, ParserConfig, Status};

use crate::base::{Fault, FaultKind};
use crate::wire::http1::names::name;
use crate::wire::http1::text::{count_controls, decimal, has_token};
use crate::wire::http1::{Length, Malformed, rule};

/// As many fields are parsed on the stack; only where more are allowed, memory is asked for.
const FIELDS_ON_STACK: usize = 100;
/// Empty lines in front of a request that are passed over (RFC 9112 section 2.2 asks for one).
const EMPTY_LINES: usize = 4;

/// What the codec must know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) ask: Ask,
    /// How its body is delimited; never by the end of the connection.
    pub(super) length: Length,
    /// It waits for `100 Continue` before it sends its body.
    pub(super) expects: bool,
    /// It asks to speak another protocol.
    pub(super) upgrade: bool,
}

/// What the answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    /// `HEAD`: the answer has no body.
    pub(super) to_head: bool,
    /// HTTP/1.0, which has no chunks.
    pub(super) is_old: bool,
    /// The client wants the connection to go on.
    pub(super) keep_alive: bool,
    /// It takes trailers.
    pub(super) trailers: bool,
}

/// Takes the head of a request off `input` and puts it into `request`, whose header map is empty;
/// `None` where it is not complete.
///
/// # Errors
/// What to tell the client; the connection is of no use then, nor is `request`.
pub(super) fn head(
    input: &mut Bytes,
    max_bytes: usize,
    max_fields: usize,
    request: &mut Request<()>,
) -> Result<Option<Head>, Fault> {
    for _ in 0..EMPTY_LINES {
        if !input.starts_with(b"\r\n") {
            break;
        }
        input.advance(2);
    }
    let parsed = if max_fields <= FIELDS_ON_STACK {
        let mut lines = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        parse(input, max_bytes, lines.get_mut(..max_fields).unwrap_or_default(), request)?
    } else {
        parse(input, max_bytes, &mut vec![MaybeUninit::uninit(); max_fields], request)?
    };
    Ok(parsed.map(|(head, size)| {
        input.advance(size);
        head
    }))
}

/// The head of a request as a connection reads it, for tools that hold readers against each other;
/// and how its body is delimited. It is taken off `input`; `None` where it is not complete.
///
/// # Errors
/// What a client would be told.
pub fn read_head(
    input: &mut Bytes,
    max_bytes: usize,
    max_fields: usize,
) -> Result<Option<(Request<()>, Length)>, Fault> {
    let mut request = Request::new(());
    let read = head(input, max_bytes, max_fields, &mut request)?;
    Ok(read.map(|head| (request, head.length)))
}

/// As [`head`]; also how long it is.
fn parse<'a>(
    input: &'a Bytes,
    max_bytes: usize,
    lines: &mut [MaybeUninit<Header<'a>>],
    request: &mut Request<()>,
) -> Result<Option<(Head, usize)>, Fault> {
    let max_fields = lines.len();
    let mut parsed = httparse::Request::new(&mut []);
    let status = ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, input, lines);
    let size = match status {
        Ok(Status::Complete(size)) if size <= max_bytes => size,
        Ok(Status::Partial) if input.len() <= max_bytes => return Ok(None),
        Ok(_) => return Err(too_large(format!("the head is larger than {max_bytes} bytes"))),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(too_large(format!("more than {max_fields} header fields")));
        }
        Err(error) => return Err(broken(rule(error))),
    };
    // The parser takes a lone LF for a line's end.
    if count_controls(input.get(..size).unwrap_or_default()) != (parsed.headers.len() + 2) * 2 {
        return Err(bad("a line does not end with CRLF"));
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(bad("its first line is malformed"));
    };
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return Err(bad("its method is malformed"));
    };
    // `Uri` would cut a fragment off without a word, and another server might not (section 3.2).
    if target.as_bytes().contains(&b'#') {
        return Err(bad("its target has a fragment"));
    }
    let Ok(uri) = Uri::from_maybe_shared(input.slice_ref(target.as_bytes())) else {
        return Err(bad("its target is malformed"));
    };
    let is_old = version == Version::HTTP_10;
    let to_head = method == Method::HEAD;
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;

    let mut seen = Seen::default();
    let headers = request.headers_mut();
    for line in parsed.headers.iter() {
        let value = HeaderValue::from_maybe_shared(input.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name(line.name), value) else {
            return Err(bad("a field is malformed"));
        };
        if seen.note(name.as_str(), &value)? {
            headers.append(name, value);
        }
    }
    let length = seen.length(is_old)?;
    let ask = Ask {
        to_head,
        is_old,
        keep_alive: !seen.close && (!is_old || seen.keep_alive),
        trailers: seen.trailers,
    };
    let expects = seen.expects && !is_old && length != Length::Known(0);
    Ok(Some((Head { ask, length, expects, upgrade: seen.upgrade && !is_old }, size)))
}

/// What the fields say of the framing and the connection.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expects: bool,
    trailers: bool,
}

impl Seen {
    /// Looks at the few fields that matter here, by the length of their names first; `false` for a
    /// line that only repeats another.
    fn note(&mut self, name: &str, value: &HeaderValue) -> Result<bool, Fault> {
        match (name.len(), name) {
            (2, "te") => self.trailers |= has_token(value, b"trailers"),
            (6, "expect") => self.expects |= value.as_bytes().eq_ignore_ascii_case(b"100-continue"),
            (10, "connection") => {
                self.close |= has_token(value, b"close");
                self.keep_alive |= has_token(value, b"keep-alive");
                self.upgrade |= has_token(value, b"upgrade");
            }
            (14, "content-length") => {
                let length =
                    decimal(value.as_bytes()).ok_or_else(|| bad("Content-Length is not a number"))?;
                if self.length.is_some_and(|known| known != length) {
                    return Err(bad("Content-Length twice, and not the same"));
                }
                return Ok(self.length.replace(length).is_none());
            }
            (17, "transfer-encoding") => {
                if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    let detail = "a transfer coding other than chunked";
                    return Err(Fault::new(FaultKind::NotImplemented, detail));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(true)
    }

    /// RFC 9112 section 6.3, without the leniency that it allows.
    fn length(&self, is_old: bool) -> Result<Length, Fault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("both Content-Length and Transfer-Encoding")),
            (true, None) if is_old => Err(bad("HTTP/1.0 has no transfer codings")),
            (true, None) => Ok(Length::Chunked),
            (false, length) => Ok(Length::Known(length.unwrap_or(0))),
        }
    }
}

#[cold]
fn broken(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::TooLarge => too_large("the head is too large".into()),
        Malformed::Rule(rule) => bad(rule),
    }
}

#[cold]
fn too_large(detail: String) -> Fault {
    Fault::new(FaultKind::HeadersTooLarge, detail)
}

#[cold]
fn bad(detail: &'static str) -> Fault {
    Fault::new(FaultKind::BadRequest, detail)
}
