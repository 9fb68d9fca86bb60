//! Chunks of a body (RFC 9112 section 7.1), taken apart as they come.
//!
//! Strict: a line ends with CRLF, a size is hexadecimal digits and fits, what stands behind a size
//! is bounded and ignored, and a trailer section is bounded in fields and bytes. Requests must have
//! extensions behind a size and nothing else (section 7.1.1); of answers anything on that line is
//! passed over, for some servers fill it up with blanks.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{MAX_FIELDS, Malformed, is_forbidden_trailer, rule};

/// Bytes of chunk extensions and padding that a whole body may have.
const MAX_EXTENSIONS: u32 = 16 * 1024;

/// A reader of chunks, and where in the body it is.
#[derive(Debug)]
pub struct Chunked {
    at: At,
    /// Of this chunk's size first, then bytes of its content still to come.
    left: u64,
    extensions: u32,
    /// What stands behind a size need not be extensions.
    lenient: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// Before the first digit.
    Size,
    /// Behind a digit.
    MoreSize,
    /// Behind blanks, where an extension must follow.
    Padding,
    /// Before the name of an extension.
    Name,
    MoreName,
    /// Behind blanks, where a value or another extension must follow.
    PastName,
    /// Before the first character of a value.
    Value,
    MoreValue,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind the quote that ends a value.
    PastQuoted,
    /// Anywhere behind a size whose extensions are not looked at.
    Anything,
    SizeEnd,
    Content,
    ContentCr,
    ContentLf,
    /// In the trailer section; what has come of it.
    Trailers(Vec<u8>),
    End,
    /// What was wrong; it stays wrong.
    Failed(Malformed),
}

/// What stands next in the body.
#[derive(Debug)]
pub enum Next {
    /// Content of a chunk: see [`Chunked::take`].
    Content,
    /// More must be read to tell.
    Unknown,
    /// The trailers, and nothing behind them.
    Trailers(HeaderMap),
    /// The end.
    End,
}

impl Chunked {
    /// A reader of a request's chunks.
    pub fn of_request() -> Self {
        Self { at: At::Size, left: 0, extensions: 0, lenient: false }
    }

    /// A reader of an answer's chunks.
    pub fn of_answer() -> Self {
        Self { lenient: true, ..Self::of_request() }
    }

    /// Takes framing off `input` up to the next content or the end. `limit` is for the bytes of the
    /// trailer section.
    ///
    /// # Errors
    /// [`Malformed`], now and whenever it is called again.
    pub fn next(&mut self, input: &mut Bytes, limit: usize) -> Result<Next, Malformed> {
        self.skip(input);
        match &mut self.at {
            At::Content if !input.is_empty() => Ok(Next::Content),
            At::End => Ok(Next::End),
            At::Failed(malformed) => Err(*malformed),
            At::Trailers(section) => {
                let ended = gather(section, input, limit);
                match ended.and_then(|ended| if ended { fields(section) } else { Ok(None) }) {
                    Ok(Some(trailers)) => {
                        self.at = At::End;
                        Ok(if trailers.is_empty() { Next::End } else { Next::Trailers(trailers) })
                    }
                    Ok(None) => Ok(Next::Unknown),
                    Err(malformed) => {
                        self.at = At::Failed(malformed);
                        Err(malformed)
                    }
                }
            }
            _ => Ok(Next::Unknown),
        }
    }

    /// Whether `input`, of which framing is taken off, holds the end and nothing more to hand out.
    pub fn is_over(&mut self, input: &mut Bytes) -> bool {
        self.skip(input);
        match &self.at {
            At::Trailers(section) if section.is_empty() && input.starts_with(b"\r\n") => {
                input.advance(2);
                self.at = At::End;
                true
            }
            At::End => true,
            _ => false,
        }
    }

    /// Takes off the framing in front of the next content or the trailer section.
    fn skip(&mut self, input: &mut Bytes) {
        loop {
            match self.at {
                At::Content if self.left == 0 => self.at = At::ContentCr,
                At::Content | At::Trailers(_) | At::End | At::Failed(_) => return,
                _ => {
                    let Some(&byte) = input.first() else { return };
                    input.advance(1);
                    self.at = self.step(byte).unwrap_or_else(At::Failed);
                }
            }
        }
    }

    /// Takes content of the present chunk off `input`.
    pub fn take(&mut self, input: &mut Bytes) -> Bytes {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let content = input.split_to(left.min(input.len()));
        self.left = self.left.saturating_sub(u64::try_from(content.len()).unwrap_or(u64::MAX));
        content
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<At, Malformed> {
        Ok(match (&self.at, byte) {
            (At::Size | At::MoreSize, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.left = push_digit(self.left, byte)?;
                At::MoreSize
            }
            (At::MoreSize, b'\r') => At::SizeEnd,
            (At::MoreSize, b' ' | b'\t' | b';') => {
                let at = if byte == b';' { At::Name } else { At::Padding };
                self.extend(if self.lenient { At::Anything } else { at })?
            }
            (
                At::Padding
                | At::Name
                | At::MoreName
                | At::PastName
                | At::Value
                | At::MoreValue
                | At::Quoted
                | At::Escaped
                | At::PastQuoted
                | At::Anything,
                _,
            ) => match behind_size(&self.at, byte) {
                Some(At::SizeEnd) => At::SizeEnd,
                Some(at) => self.extend(at)?,
                None => return Err(Malformed::Rule("a chunk extension is malformed")),
            },
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailers(Vec::new()),
            (At::SizeEnd, b'\n') => At::Content,
            (At::ContentCr, b'\r') => At::ContentLf,
            (At::ContentLf, b'\n') => At::Size,
            (At::ContentCr | At::ContentLf, _) => {
                return Err(Malformed::Rule("a chunk is longer than its size"));
            }
            _ => return Err(Malformed::Rule("a chunk size is malformed")),
        })
    }

    fn extend(&mut self, at: At) -> Result<At, Malformed> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Malformed::Rule("its chunk extensions are too long"));
        }
        Ok(at)
    }
}

/// Where one more byte behind a size leads to (RFC 9112 section 7.1.1, RFC 9110 section 5.6).
fn behind_size(at: &At, byte: u8) -> Option<At> {
    Some(match (at, byte) {
        (At::Anything, b'\r') => At::SizeEnd,
        (At::Anything, b'\n' | b'\0') => return None,
        (At::Anything, _) => At::Anything,
        (At::MoreName | At::MoreValue | At::PastQuoted, b'\r') => At::SizeEnd,
        (At::Padding | At::MoreName | At::PastName | At::MoreValue | At::PastQuoted, b';') => At::Name,
        (At::MoreName | At::PastName, b'=') => At::Value,
        (At::Value, b'"') => At::Quoted,
        (At::Padding | At::MoreValue | At::PastQuoted, b' ' | b'\t') => At::Padding,
        (At::MoreName | At::PastName, b' ' | b'\t') => At::PastName,
        (At::Name, b' ' | b'\t') => At::Name,
        (At::Value, b' ' | b'\t') => At::Value,
        (At::Name | At::MoreName, _) if is_token(byte) => At::MoreName,
        (At::Value | At::MoreValue, _) if is_token(byte) => At::MoreValue,
        (At::Quoted, b'"') => At::PastQuoted,
        (At::Quoted, b'\\') => At::Escaped,
        (At::Quoted | At::Escaped, b'\t' | b' '..=b'~' | 0x80..) => At::Quoted,
        _ => return None,
    })
}

/// Whether a token may hold this (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn push_digit(size: u64, digit: u8) -> Result<u64, Malformed> {
    let value = char::from(digit).to_digit(16).unwrap_or_default();
    match size.checked_mul(16) {
        Some(size) => Ok(size | u64::from(value)),
        None => Err(Malformed::Rule("a chunk size is too large")),
    }
}

/// Moves bytes of a trailer section from `input` to `section`, up to and with the empty line that
/// ends it; `true` once it is there.
fn gather(section: &mut Vec<u8>, input: &mut Bytes, limit: usize) -> Result<bool, Malformed> {
    while let Some(position) = input.iter().position(|&byte| byte == b'\n') {
        section.extend_from_slice(&input.split_to(position + 1));
        if section.len() > limit {
            return Err(Malformed::TooLarge);
        }
        if !section.ends_with(b"\r\n") {
            return Err(Malformed::Rule("a line of the trailers ends without CR"));
        }
        if section.as_slice() == b"\r\n" || section.ends_with(b"\r\n\r\n") {
            return Ok(true);
        }
    }
    section.extend_from_slice(&input.split_to(input.len()));
    if section.len() > limit { Err(Malformed::TooLarge) } else { Ok(false) }
}

/// The fields of a whole section. Those that frame or route a message are left out (RFC 9110
/// section 6.5.1).
fn fields(section: &[u8]) -> Result<Option<HeaderMap>, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let httparse::Status::Complete((_, lines)) =
        httparse::parse_headers(section, &mut lines).map_err(rule)?
    else {
        return Err(Malformed::Rule("the trailers are malformed"));
    };
    let mut trailers = HeaderMap::new();
    for line in lines {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(line.name.as_bytes()), HeaderValue::from_bytes(line.value))
        else {
            return Err(Malformed::Rule("the trailers are malformed"));
        };
        if !is_forbidden_trailer(&name) {
            trailers.append(name, value);
        }
    }
    Ok(Some(trailers))
}
