//! The body of an upstream's answer, which owns what carries it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{failure, http1, http2};
use crate::base::Fault;

/// The body of an upstream's answer.
///
/// At its end an HTTP/1.1 connection goes back to its pool, and an HTTP/2 stream makes room for
/// the next. Dropped earlier it closes its connection (HTTP/1.1) or resets its stream (HTTP/2), so
/// that the upstream stops working for nobody. What is left of the request is sent while this
/// is polled; at the end of the answer it is given up, and the connection closed or the stream
/// reset. It belongs to its worker: `!Send`.
pub struct Answer(Kind);

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
        Self(Kind::Http1(reply))
    }
}

impl From<http2::Reply> for Answer {
    fn from(reply: http2::Reply) -> Self {
        Self(Kind::Http2(reply))
    }
}

impl Answer {
    pub(super) fn by_hyper(body: Incoming, hold: Option<Box<dyn Any>>) -> Self {
        let mut answer = ByHyper { body, hold, ended: false };
        if answer.body.is_end_stream() {
            answer.finish();
        }
        Self(Kind::Hyper(answer))
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
        match &mut self.get_mut().0 {
            Kind::Http1(reply) => Pin::new(reply).poll_frame(cx),
            Kind::Http2(reply) => Pin::new(reply).poll_frame(cx),
            Kind::Hyper(answer) => answer.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(reply) => reply.is_end_stream(),
            Kind::Http2(reply) => reply.is_end_stream(),
            Kind::Hyper(answer) => answer.ended || answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(reply) => reply.size_hint(),
            Kind::Http2(reply) => reply.size_hint(),
            Kind::Hyper(answer) => answer.body.size_hint(),
        }
    }
}
