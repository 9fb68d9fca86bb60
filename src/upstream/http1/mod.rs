//! HTTP/1.1 as a client speaks it (RFC 9112): our own, because it is most of what a request costs.
//!
//! There is no task per connection or request. A [`Connection`] is a box that moves between the
//! pool's idle list and the exchange that uses it, and is polled by the request's own future and
//! then by the body of its answer. In reading order: `encode` writes the head and frames the body,
//! `upload` sends both, `decode` reads the head of the answer, `exchange` ties these together up to
//! the head, `reply` is the body of the answer. What a server's end has as well is in
//! `wire::http1`.
//!
//! What two readers could understand differently is refused or ends the connection: at most one
//! framing field is ever written, no control character leaves but the line ends we wrote, a body
//! that breaks its declared length breaks the connection, and an answer is framed by the letter of
//! RFC 9112 section 6.3. Upgrades (RFC 9110 section 7.8) are not spoken here; see `pool::upgrade`.

mod connection;
mod decode;
mod encode;
mod exchange;
mod reply;
mod upload;

pub(super) use connection::{Connection, Home};
pub use decode::read_head;
pub(super) use exchange::{Exchange, Failure, unanswered};
pub(super) use reply::Reply;
pub(super) use upload::Upload;

use std::io;

use crate::base::Fault;

/// Why a request cannot be sent any further.
#[derive(Debug)]
enum Broken {
    /// The connection failed.
    Io(io::Error),
    /// The request's own body failed, or is not what was declared.
    Body(Fault),
}

#[cfg(test)]
mod tests;
