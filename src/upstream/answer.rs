//! The body of an upstream's answer, which owns what carries it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::fleet::Busy;
use super::{failure, http1, http2};
use crate::base::Fault;

/// The body of an upstream's answer.
///
/// At its end an HTTP/1.1 connection goes back to its pool, and an HTTP/2 stream makes room for
/// the next. Dropped earlier it closes its connection (HTTP/1.1) or resets its stream (HTTP/2), so
/// that the upstream stops working for nobody. What is left of the request is sent while this
/// is polled; at the end of the answer it is given up, and the connection closed or the stream
/// reset. It belongs to its worker: `!Send`.
pub struct Answer {
    kind: Kind,
    /// What is to know when it is over, and whether it broke off.
    busy: Option<Box<Busy>>,
}

enum Kind {
    Http1(http1::Reply),
    Http2(http2::Reply),
    Hyper(ByHyper),
}

/// An answer that hyper reads: to a request that asked for an upgrade.
struct ByHyper {
    body: Incoming,
    /// What keeps a connection open that is used once.
    hold: Option<Box<dyn Any>>,
    ended: bool,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("ended", &self.is_end_stream()).finish_non_exhaustive()
    }
}

impl From<http1::Reply> for Answer {
    fn from(reply: http1::Reply) -> Self {
        Self { kind: Kind::Http1(reply), busy: None }
    }
}

impl From<http2::Reply> for Answer {
    fn from(reply: http2::Reply) -> Self {
        Self { kind: Kind::Http2(reply), busy: None }
    }
}

impl Answer {
    pub(super) fn by_hyper(body: Incoming, hold: Option<Box<dyn Any>>) -> Self {
        let mut answer = ByHyper { body, hold, ended: false };
        if answer.body.is_end_stream() {
            answer.finish();
        }
        Self { kind: Kind::Hyper(answer), busy: None }
    }

    /// Keeps `busy` until it is over, or dropped.
    pub(super) fn held_by(mut self, mut busy: Busy) -> Self {
        if self.is_end_stream() {
            // Whoever reads it need not ask for more.
            busy.ended(None);
        } else {
            self.busy = Some(Box::new(busy));
        }
        self
    }
}

impl Answer {
    /// Lets go of what waits for the end.
    fn watch(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, Fault>>>) {
        let trailers = match frame {
            Poll::Pending => return,
            Poll::Ready(Some(Err(fault))) => {
                // The request's own body may be what failed.
                if let Some(mut busy) = self.busy.take()
                    && fault.kind.is_upstream()
                {
                    busy.failed();
                }
                return;
            }
            Poll::Ready(Some(Ok(frame))) => {
                let trailers = frame.trailers_ref();
                // Whoever reads to an exact length stops at the last of its data.
                if trailers.is_none() && !self.is_end_stream() {
                    return;
                }
                trailers
            }
            Poll::Ready(None) => None,
        };
        if let Some(mut busy) = self.busy.take() {
            busy.ended(trailers);
        }
    }
}

impl ByHyper {
    fn finish(&mut self) {
        self.ended = true;
        self.hold = None;
    }

    fn fail(&mut self, error: &hyper::Error) -> Fault {
        self.ended = true;
        self.hold = None;
        failure::in_answer(error)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // Nothing follows trailers, and whoever reads to an exact length stops here.
                if frame.is_trailers() || self.body.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.fail(&error)))),
            None => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Http1(reply) => Pin::new(reply).poll_frame(cx),
            Kind::Http2(reply) => Pin::new(reply).poll_frame(cx),
            Kind::Hyper(answer) => answer.poll_frame(cx),
        };
        if this.busy.is_some() {
            this.watch(&frame);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Http1(reply) => reply.is_end_stream(),
            Kind::Http2(reply) => reply.is_end_stream(),
            Kind::Hyper(answer) => answer.ended || answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Http1(reply) => reply.size_hint(),
            Kind::Http2(reply) => reply.size_hint(),
            Kind::Hyper(answer) => answer.body.size_hint(),
        }
    }
}
