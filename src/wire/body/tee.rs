//! Copying a body while the primary reads it.
//!
//! The copy is taken of what the primary polls and costs it nothing but a reference count or a
//! small memcpy. The body is never polled on the copy's behalf, so a copy cannot slow, hold or
//! fail the primary.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::ByteBody;
use super::observe::{Observe, Watch};
use crate::base::Fault;
use crate::wire::splice::{Passage, Spliced};

/// Where a copy goes. Dropped without [`Sink::end`], the body was not read to its end.
pub trait Sink {
    /// The next chunk; it is not empty.
    fn data(&mut self, chunk: &Bytes);
    /// Whether anybody wants a copy.
    fn is_wanted(&self) -> bool {
        true
    }
    /// The body is complete. The sink is dropped right after.
    fn end(&mut self, trailers: Option<&HeaderMap>);
}

/// A body whose frames are also given to a [`Sink`].
#[derive(Debug)]
pub struct Tee<B: ByteBody, S: Sink>(Observe<B, SinkWatch<S>>);

impl<B: ByteBody, S: Sink> Tee<B, S> {
    /// Copies `inner` to `sink`. An empty body completes the copy here and now.
    pub fn new(inner: B, sink: S) -> Self {
        Self(Observe::new(inner, SinkWatch(sink)))
    }
}

impl<B: ByteBody, S: Sink + Unpin> Body for Tee<B, S> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: Spliced, S: Sink + Unpin> Spliced for Tee<B, S> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        self.0.poll_splice(passage, cx)
    }
}

/// A fault only drops the sink: for the copy, failed and abandoned are the same.
#[derive(Debug)]
struct SinkWatch<S>(S);

impl<S: Sink> Watch for SinkWatch<S> {
    fn data(&mut self, chunk: &Bytes) {
        self.0.data(chunk);
    }

    fn looks(&self) -> bool {
        self.0.is_wanted()
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.0.end(trailers);
    }

    fn fault(&mut self, _: &Fault) {}
}
impl<S: Sink + ?Sized> Sink for Box<S> {
    fn data(&mut self, chunk: &Bytes) {
        (**self).data(chunk);
    }

    fn is_wanted(&self) -> bool {
        (**self).is_wanted()
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        (**self).end(trailers);
    }
}

/// Nobody may want a copy.
impl<S: Sink> Sink for Option<S> {
    fn data(&mut self, chunk: &Bytes) {
        if let Some(sink) = self {
            sink.data(chunk);
        }
    }

    fn is_wanted(&self) -> bool {
        self.as_ref().is_some_and(Sink::is_wanted)
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(sink) = self {
            sink.end(trailers);
        }
    }
}
