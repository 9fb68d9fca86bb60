//! What both ends of HTTP/1.1 have in common (RFC 9112): the codec towards clients (`net`) and the
//! one towards model servers (`upstream`) are made of these pieces.
//!
//! In reading order: `fill` reads into the buffers of `lender`, `names` knows common fields by
//! sight, `content` takes a body off what was read, with `chunked` for its chunks; `outgoing`
//! writes a message's head and body, with `text` for what is written, and `stuck` counts those that
//! nobody takes.
//!
//! Nothing here knows which end it serves: start lines, connections and who is to blame are the
//! codecs' own.

mod chunked;
mod content;
mod fill;
mod lender;
pub mod names;
mod outgoing;
mod stuck;
pub mod text;

pub use chunked::{Chunked, Next};
pub use content::{Content, Length};
pub use fill::{Filled, ends_head, poll_fill};
pub use lender::Lender;
pub use outgoing::{Framing, Outgoing, Put, Size};

use http::HeaderName;

use crate::wire::forward;

/// Fields of a trailer section, and of the head of an answer.
pub const MAX_FIELDS: usize = 100;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The header or trailer section is over its limit.
    TooLarge,
    /// What rule it breaks.
    Rule(&'static str),
}

/// Which rule the parser saw broken.
pub fn rule(error: httparse::Error) -> Malformed {
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

/// Fields that a trailer section must not hold, because they frame or route the message or are
/// needed before its content (RFC 9110 section 6.5.1), or say where it comes from: there nobody
/// could tell whose word that is.
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    forward::is_claim(name)
        || matches!(
            name.as_str(),
            "authorization"
                | "cache-control"
                | "connection"
                | "content-encoding"
                | "content-length"
                | "content-range"
                | "content-type"
                | "expect"
                | "host"
                | "http2-settings"
                | "keep-alive"
                | "max-forwards"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "range"
                | "set-cookie"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

#[cfg(test)]
mod tests;
