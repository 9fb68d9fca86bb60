//! Bodies as they arrive from a socket: the only place that names hyper's `Incoming`.
//!
//! A failure means another thing on either side. A request that breaks off is a client that went
//! away; an answer that breaks off is a version's failure.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Side;
use crate::base::{Fault, FaultKind};

/// A body read from a connection, or none at all.
#[derive(Debug)]
pub struct Inbound {
    /// `None` once it has ended: the channel to the connection is let go of at once.
    incoming: Option<Incoming>,
    side: Side,
}

impl Inbound {
    /// The body of a client's request.
    pub fn request(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), side: Side::Request }
    }

    /// The body of a version's answer.
    pub fn response(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), side: Side::Response }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { incoming: None, side: Side::Response }
    }
}

/// How long the mark of the end of a body that has come whole is waited for.
const LATE_END: Duration = Duration::from_secs(1);

impl Drop for Inbound {
    /// HTTP/2 clients may mark the end of a body in an empty frame of its own. A request that came
    /// whole may be answered before that; letting go of its body then would reset the stream, and
    /// some clients take that for a failed request (RFC 9113 section 8.1 allows it, but they do).
    /// So the mark is waited for, for a while.
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let is_whole = incoming.size_hint().exact() == Some(0) && !incoming.is_end_stream();
        if let (Side::Request, true, Ok(runtime)) = (self.side, is_whole, Handle::try_current()) {
            runtime.spawn(timeout(LATE_END, incoming.collect()));
        }
    }
}

impl Default for Inbound {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        match ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if !frame.is_data() {
                    self.incoming = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.incoming = None;
                Poll::Ready(Some(Err(classify(&error, self.side))))
            }
            None => {
                self.incoming = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The [`Fault`] that a request body of ours failed with and that made hyper's client fail.
///
/// Only its HTTP/1.1 client carries it, which upgrades still go through; [`super::Meter::fault`] has
/// it always.
pub fn fault_in(error: &hyper::Error) -> Option<Fault> {
    causes(error).find_map(|cause| cause.downcast_ref::<Fault>()).cloned()
}

/// What lies below `error`, nearest first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// hyper reports a broken chunk or a trailer section over the limit as an I/O error of kind
/// `InvalidInput` or `InvalidData`, and everything else (end of file, reset, stream error) means
/// that the peer is gone.
#[cold]
fn classify(error: &hyper::Error, side: Side) -> Fault {
    let broken = error.is_parse()
        || causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    match (side, broken) {
        (Side::Request, true) => Fault::new(FaultKind::BadRequest, "the request body is malformed"),
        (Side::Request, false) => {
            Fault::new(FaultKind::Cancelled, "the client left before its body was complete")
        }
        (Side::Response, true) => {
            Fault::new(FaultKind::UpstreamProtocol, "the body of the answer is malformed")
        }
        (Side::Response, false) => {
            Fault::new(FaultKind::UpstreamReset, "the answer broke off before its end")
        }
    }
}
