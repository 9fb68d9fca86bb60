//! HTTP/1.1 as a client speaks it (RFC 9112): our own, because it is most of what a request costs.
//!
//! There is no task per connection or request. A [`Connection`] is a box that moves between the
//! pool's idle list and the exchange that uses it, and is polled by the request's own future and
//! then by the body of its answer. In reading order: `encode` writes the head and frames the body,
//! `upload` sends both, `decode` reads the head of the answer, `chunked` its chunks, `exchange`
//! ties these together up to the head, `reply` is the body of the answer, `lender` holds the
//! buffers that all connections of a pool share.
//!
//! What two readers could understand differently is refused or ends the connection: at most one
//! framing field is ever written, no control character leaves but the line ends we wrote, a body
//! that breaks its declared length breaks the connection, and an answer is framed by the letter of
//! RFC 9112 section 6.3. Upgrades (RFC 9110 section 7.8) are not spoken here; see `pool::upgrade`.

mod chunked;
mod connection;
mod decode;
mod encode;
mod exchange;
mod lender;
mod reply;
mod upload;

pub(super) use connection::{Connection, Home};
pub(super) use exchange::{Exchange, Failure, unanswered};
pub(super) use lender::Lender;
pub(super) use reply::Reply;
pub(super) use upload::Upload;

use std::io;

use http::HeaderName;

use crate::base::Fault;

/// Fields of a header section, and of a trailer section, of an answer.
const MAX_FIELDS: usize = 100;

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Malformed {
    /// The header section is over its limit.
    TooLarge,
    /// What rule it breaks.
    Rule(&'static str),
}

/// Why a request cannot be sent any further.
#[derive(Debug)]
enum Broken {
    /// The connection failed.
    Io(io::Error),
    /// The request's own body failed, or is not what was declared.
    Body(Fault),
}

/// Fields that a trailer section must not hold, because they frame or route the message or are
/// needed before its content (RFC 9110 section 6.5.1).
fn is_forbidden_trailer(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "host"
            | "keep-alive"
            | "max-forwards"
            | "proxy-connection"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests;
