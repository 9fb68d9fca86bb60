//! Observing a body: the one place that knows every way in which a body ends.
//!
//! Codecs do not poll a body to its `None`. They never poll one that says `is_end_stream`, they
//! stop when `is_end_stream` turns true, and on HTTP/1.1 a body of known length is dropped after
//! its last byte. All of these are ends, and only what is left is a cancellation.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::ByteBody;
use crate::base::Fault;
use crate::wire::splice::{Passage, Spliced};

/// What is told of a body's life: any number of `data`, then at most one of `end` and `fault`.
///
/// The watch is dropped right after `end` or `fault`. When it is dropped with neither, the body
/// was dropped half-way: the consumer went away. Record that in the watch's own `Drop`.
pub trait Watch {
    /// A chunk passes; it is not empty.
    fn data(&mut self, chunk: &Bytes);
    /// Whether it needs to see the content. If not, some of it may pass without being told.
    fn looks(&self) -> bool {
        true
    }
    /// The body is complete. `trailers` are `None` where there were none or, on HTTP/1.1 with a
    /// known length, where nobody asked for them.
    fn end(&mut self, trailers: Option<&HeaderMap>);
    /// The body failed.
    fn fault(&mut self, fault: &Fault);
}

/// A body that tells a [`Watch`] what passes.
#[derive(Debug)]
pub struct Observe<B: ByteBody, W: Watch> {
    inner: B,
    watch: Option<W>,
    done: bool,
}

impl<B: ByteBody, W: Watch> Observe<B, W> {
    /// Watches `inner`. An empty body ends here and now, because nobody is going to poll it.
    pub fn new(inner: B, watch: W) -> Self {
        let mut observe = Self { inner, watch: Some(watch), done: false };
        if observe.inner.is_end_stream() {
            observe.finish(None);
        }
        observe
    }

    /// Who watches it, as long as it is not over.
    pub fn watch(&self) -> Option<&W> {
        self.watch.as_ref()
    }

    /// The body watched.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(mut watch) = self.watch.take() {
            watch.end(trailers);
        }
    }
}

impl<B: ByteBody, W: Watch + Unpin> Body for Observe<B, W> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &next {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(chunk), _) => {
                    if let Some(watch) = this.watch.as_mut().filter(|_| !chunk.is_empty()) {
                        watch.data(chunk);
                    }
                    if this.inner.is_end_stream() {
                        this.finish(None);
                    }
                }
                (None, trailers) => {
                    this.done = true;
                    this.finish(trailers);
                }
            },
            Some(Err(fault)) => {
                this.done = true;
                if let Some(mut watch) = this.watch.take() {
                    watch.fault(fault);
                }
            }
            None => {
                this.done = true;
                this.finish(None);
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Spliced, W: Watch + Unpin> Spliced for Observe<B, W> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        if self.done || self.watch.as_ref().is_some_and(Watch::looks) {
            return Poll::Ready(Ok(None));
        }
        let moved = ready!(self.inner.poll_splice(passage, cx));
        match &moved {
            Ok(Some(_)) if self.inner.is_end_stream() => self.finish(None),
            Ok(_) => {}
            Err(fault) => {
                self.done = true;
                if let Some(mut watch) = self.watch.take() {
                    watch.fault(fault);
                }
            }
        }
        Poll::Ready(moved)
    }
}

impl<B: ByteBody, W: Watch> Drop for Observe<B, W> {
    /// A body of known length that has given all its bytes is complete, even where the peer's
    /// end-of-stream mark is still on its way and nobody waited for it.
    fn drop(&mut self) {
        if self.watch.is_some() && self.inner.size_hint().exact() == Some(0) {
            self.finish(None);
        }
    }
}
