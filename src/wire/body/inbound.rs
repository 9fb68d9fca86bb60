//! Bodies as they arrive from a socket. They come from a [`Feed`] of one of our own codecs, or, of an
//! answer to a refused upgrade, from hyper; this is the only place that names its `Incoming`.

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::base::{Fault, FaultKind};
use crate::wire::splice::{Passage, Spliced};

/// Where a codec of our own gives the body of a message to whoever reads it. The codec keeps one
/// handle, [`Inbound`] the other; both live on the connection's thread.
pub trait Feed {
    /// The next frame. After `None`, an error or trailers it is not asked again.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>>;

    /// As [`Spliced::poll_splice`]. After an error it is not asked again.
    fn poll_splice(
        &self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let _ = (passage, cx);
        Poll::Ready(Ok(None))
    }

    /// Whether nothing more will come: see [`Body::is_end_stream`].
    fn is_end_stream(&self) -> bool;

    /// What is known of the length of what is still to come.
    fn size_hint(&self) -> SizeHint;

    /// Whether all of it is known to lie ready, so that nothing will be waited for.
    fn has_come(&self) -> bool {
        false
    }

    /// Nobody reads the rest. Called once, at the latest when the [`Inbound`] is dropped, and also
    /// after the end.
    fn let_go(&self);
}

/// A body read from a connection, or none at all.
pub struct Inbound {
    from: Reading,
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
        f.debug_struct("Inbound").field("from", &from).finish()
    }
}

impl Inbound {
    /// A body that a codec of ours feeds.
    pub fn fed(feed: Rc<dyn Feed>) -> Self {
        Self { from: Reading::Feed(feed) }
    }

    /// The body of a version's answer that comes from hyper.
    pub fn response(incoming: Incoming) -> Self {
        Self { from: Reading::Hyper(incoming) }
    }

    /// No body.
    pub fn empty() -> Self {
        Self { from: Reading::Nothing }
    }

    /// Whether all of it is known to lie ready, so that nothing will be waited for.
    pub fn has_come(&self) -> bool {
        match &self.from {
            Reading::Nothing => true,
            Reading::Feed(feed) => feed.has_come(),
            Reading::Hyper(_) => false,
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if let Reading::Feed(feed) = std::mem::replace(&mut self.from, Reading::Nothing) {
            feed.let_go();
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
        let frame = match &mut self.from {
            Reading::Nothing => return Poll::Ready(None),
            Reading::Feed(feed) => ready!(feed.poll_frame(cx)),
            Reading::Hyper(incoming) => {
                ready!(Pin::new(incoming).poll_frame(cx)).map(|frame| frame.map_err(|error| classify(&error)))
            }
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

impl Spliced for Inbound {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let Reading::Feed(feed) = &self.from else { return Poll::Ready(Ok(None)) };
        let moved = ready!(feed.poll_splice(passage, cx));
        if moved.is_err()
            && let Reading::Feed(feed) = std::mem::replace(&mut self.from, Reading::Nothing)
        {
            feed.let_go();
        }
        Poll::Ready(moved)
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
fn classify(error: &hyper::Error) -> Fault {
    let broken = error.is_parse()
        || causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    match broken {
        true => Fault::new(FaultKind::UpstreamProtocol, "the body of the answer is malformed"),
        false => Fault::new(FaultKind::UpstreamReset, "the answer broke off before its end"),
    }
}
