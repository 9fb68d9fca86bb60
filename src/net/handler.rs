//! The seam between connections and requests: what a connection knows of itself, and what it
//! hands its requests to. Nothing above this line knows which codec is below it.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::base::Fault;
use crate::wire::body::Inbound;

/// The body of a request as it comes from the client: polled with backpressure, trailers included.
pub type IncomingBody = Inbound;

/// What a connection hands its requests to. One per connection, cheap to clone.
pub trait Handler: Clone + 'static {
    /// Body of the answers. A [`Fault`] in it ends the answer early: HTTP/1.1 closes the
    /// connection without the last chunk, HTTP/2 resets the stream.
    type Body: Body<Data = Bytes, Error = Fault> + 'static;

    /// Answers one request.
    ///
    /// The future borrows nothing from `self` (`use<Self>`), so that it is stored as it is, with no
    /// clone and no box of ours: clone what it needs before the `async move`.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at any await when the client goes away, resets the stream, or the
    /// drain deadline passes: what must happen in any case belongs in a `Drop`.
    fn handle(
        &self,
        request: Request<IncomingBody>,
    ) -> impl Future<Output = Response<Self::Body>> + use<Self>;

    /// Whether others wait for what the rest of an answer holds. Then a client that is slow to take it
    /// has to go.
    fn is_in_the_way(rest: &Self::Body) -> bool {
        let _ = rest;
        false
    }
}

/// What is known of a connection before its first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Name of the listener that accepted it.
    pub listener: Rc<str>,
    /// The client's address, IPv4-mapped IPv6 addresses as IPv4; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether its requests may choose a version by header.
    pub allow_pin: bool,
    /// Whether what it says of others is believed: its forwarding fields.
    pub trusted: bool,
    /// Whether it is TLS: `https` in `X-Forwarded-Proto`.
    pub tls: bool,
    /// HTTP/2; otherwise HTTP/1.x.
    pub http2: bool,
}
