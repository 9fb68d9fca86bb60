//! A request's body: whole from the beginning, one handle to bytes that all requests share.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::base::Fault;
use crate::wire::splice::Spliced;

/// A whole body.
#[derive(Debug)]
pub struct Whole(Option<Bytes>);

impl Whole {
    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }
}

impl From<Bytes> for Whole {
    fn from(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then_some(bytes))
    }
}

impl Spliced for Whole {}

impl Body for Whole {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
