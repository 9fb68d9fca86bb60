//! HTTP/1.1 as a server speaks it (RFC 9112): our own, because it is half of what a small request
//! costs.
//!
//! A connection is one task and one [`Link`](link::Link), in which its socket and the request under
//! way meet. In reading order: `serve` is the life of a connection, `decode` reads the head of a
//! request, `link` feeds its body to the handler and notices a client that left, `exchange` is one
//! request from its handler's first poll to the last byte of its answer, `encode` writes the head
//! of the answer, with `date` for a field in it, `close` refuses and says goodbye. `place` keeps the memory
//! that exchanges are run in, `shared` what the connections of a listener share.
//!
//! While a connection waits for a request it owns no buffer, and while its handler works no more
//! of its client is read than one buffer. What two readers could understand differently is refused
//! here where it frames the message; the meaning of fields is `wire::hygiene`'s.
//!
//! Absent on purpose: interim answers other than `100` and `101`.

mod close;
mod date;
mod decode;
mod encode;
mod exchange;
mod link;
mod place;
mod serve;
mod shared;

pub use decode::read_head;
pub(super) use serve::{Http1, ServeHttp1};

#[cfg(test)]
mod tests;
