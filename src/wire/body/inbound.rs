//! Bodies as they arrive from a socket. They come from a [`Feed`] of one of our own codecs, or from
//! hyper; this is the only place that names its `Incoming`.
//!
//! A failure means another thing on either side. A request that breaks off is a client that went
//! away; an answer that breaks off is a version's failure.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
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

/// Where a codec of our own gives the body of a message to whoever reads it. The codec keeps one
/// handle, [`Inbound`] the other; both live on the connection's thread.
pub trait Feed {
    /// The next frame. After `None`, an error or trailers it is not asked again.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>>;

    /// Whether nothing more will come: see [`Body::is_end_stream`].
    fn is_end_stream(&self) -> bool;

    /// What is known of the length of what is still to come.
    fn size_hint(&self) -> SizeHint;

    /// Nobody reads the rest. Called once, at the latest when the [`Inbound`] is dropped, and also
    /// after the end.
    fn let_go(&self);
}

/// A body read from a connection, or none at all.
pub struct Inbound {
    from: Reading,
    side: Side,
}

/// What a body is read from; nothing once it has ended: the connection is let go of at once.
enum Reading {
    Nothing,
    Hyper(Incoming),
    Feed(Rc<dyn Feed>),
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &self.from {
            Reading::Nothing => "nothing",
            Reading::Hyper(_) => "hyper",
            Reading::Feed(_) => "feed",
        };
        f.debug_struct("Inbound").field("from", &from).field("side", &self.side).finish()
    }
}

impl Inbound {
    /// The body of a client's request that a codec of ours feeds.
    pub fn fed(feed: Rc<dyn Feed>) -> Self {
        Self { from: Reading::Feed(feed), side: Side::Request }
    }

    /// The body of a client's request.
    pub fn request(incoming: Incoming) -> Self {
        Self { from: Reading::Hyper(incoming), side: Side::Request }
    }

    /// The body of a version's answer.
    pub fn response(incoming: Incoming) -> Self {
        Self { from: Reading::Hyper(incoming), side: Side::Response }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { from: Reading::Nothing, side: Side::Response }
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
        let incoming = match std::mem::replace(&mut self.from, Reading::Nothing) {
            Reading::Nothing => return,
            Reading::Feed(feed) => return feed.let_go(),
            Reading::Hyper(incoming) => incoming,
        };
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
        let side = self.side;
        let frame = match &mut self.from {
            Reading::Nothing => return Poll::Ready(None),
            Reading::Feed(feed) => ready!(feed.poll_frame(cx)),
            Reading::Hyper(incoming) => ready!(Pin::new(incoming).poll_frame(cx))
                .map(|frame| frame.map_err(|error| classify(&error, side))),
        };
        if !frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_data))
            && let Reading::Feed(feed) = std::mem::replace(&mut self.from, Reading::Nothing)
        {
            feed.let_go();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Reading::Nothing => true,
            Reading::Feed(feed) => feed.is_end_stream(),
            Reading::Hyper(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Reading::Nothing => SizeHint::with_exact(0),
            Reading::Feed(feed) => feed.size_hint(),
            Reading::Hyper(incoming) => incoming.size_hint(),
        }
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
