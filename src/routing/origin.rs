//! What comes of asking a version: where an answer's body comes from, or why there is none.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::Stream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::ClientBody;
use crate::base::Fault;
use crate::upstream::Answer;
use crate::wire::grpc_stream::trailers;

/// Why a version gave no answer.
pub struct Failed {
    /// What went wrong.
    pub fault: Fault,
    /// The body, where nothing of the request has left.
    pub unsent: Option<ClientBody>,
}

impl Failed {
    pub(super) fn before_sending(fault: Fault, body: ClientBody) -> Self {
        Self { fault, unsent: Some(body) }
    }
}

/// The frames of a body that this process makes one after the other.
pub type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Fault>>>>;

/// Where an answer's body comes from.
pub enum Origin {
    /// A model server.
    Upstream(Answer),
    /// This process: all at once.
    Full(Option<Bytes>),
    /// This process: a gRPC message and the trailers that end its call.
    Message(Option<Bytes>, Option<HeaderMap>),
    /// This process, frame by frame.
    Stream(Frames),
}

impl Origin {
    /// A gRPC answer of one message, in its frame, that ended well.
    pub fn message(message: Bytes) -> Self {
        Self::Message(Some(message), Some(trailers(None)))
    }

    /// A body of these frames.
    pub fn stream(frames: impl Stream<Item = Result<Frame<Bytes>, Fault>> + 'static) -> Self {
        Self::Stream(Box::pin(frames))
    }
}

impl Body for Origin {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.get_mut() {
            Self::Upstream(answer) => Pin::new(answer).poll_frame(cx),
            Self::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Message(bytes, trailers) => {
                let data = bytes.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
            Self::Stream(frames) => frames.as_mut().poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Message(bytes, trailers) => bytes.is_none() && trailers.is_none(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(answer) => answer.size_hint(),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
            // A known length would be framed without a place for trailers on HTTP/1.1.
            Self::Message(..) | Self::Stream(_) => SizeHint::new(),
        }
    }
}
