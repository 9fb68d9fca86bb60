//! Answers to `HEAD` over HTTP/2, which must have no body (RFC 9110 section 9.3.2).
//!
//! Our HTTP/1.1 codec sees to it; hyper's HTTP/2 codec sends whatever body it is given, which
//! clients take for a broken stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::base::Fault;

pin_project_lite::pin_project! {
    /// A body, or nothing of it but its length. It is read to its end all the same, so that whoever
    /// watches it sees it end.
    pub(super) struct Silent<B> {
        #[pin]
        inner: B,
        silent: bool,
    }
}

impl<B> Silent<B> {
    /// `inner`, or where `silent` is set nothing of it.
    pub(super) fn new(inner: B, silent: bool) -> Self {
        Self { inner, silent }
    }
}

impl<B: Body<Data = Bytes, Error = Fault>> Body for Silent<B> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut this = self.project();
        loop {
            let next = ready!(this.inner.as_mut().poll_frame(cx));
            match &next {
                Some(Ok(_)) if *this.silent => {}
                _ => return Poll::Ready(next),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    /// Of the body that `GET` would have: it becomes the length that the head tells.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
