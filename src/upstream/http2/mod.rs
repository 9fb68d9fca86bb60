//! HTTP/2 as a client speaks it (RFC 9113), on the `h2` crate's frames and flow control.
//!
//! One task drives each connection; a request has none of its own. Its stream is polled by the
//! request's future and then by the body of its answer, both of which send what is left of the
//! request while they wait. In reading order: `driver` is the connection, `stream` counts what
//! goes on it, `upload` sends a request's body, `exchange` is a request up to the head of its
//! answer, `reply` the body of the answer.
//!
//! Whatever is dropped before its end resets its stream with CANCEL: `h2` does that once nobody
//! refers to a stream that is still open.

mod driver;
mod exchange;
mod reply;
mod stream;
mod upload;

pub(super) use driver::{Driver, handshake};
pub(super) use exchange::{Exchange, Failure};
pub(super) use reply::Reply;
pub(super) use stream::{Activity, Stream, Streams};
