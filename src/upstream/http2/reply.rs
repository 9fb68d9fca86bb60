//! The body of an answer, which owns the stream that brings it.
//!
//! Whoever polls it also sends what is left of the request. An answer that ends before its request
//! does resets the stream: the upstream has said that it does not want the rest.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use super::Stream;
use super::upload::Pump;
use crate::base::Fault;
use crate::upstream::failure;

/// The body of an answer by HTTP/2.
pub(in crate::upstream) struct Reply {
    /// `None` once the body is over.
    open: Option<Open>,
    /// Bytes to come, where the head told.
    left: Option<u64>,
}

struct Open {
    content: RecvStream,
    /// What is left of the request.
    upload: Option<Box<dyn Pump>>,
    /// All data has come; there may be trailers.
    drained: bool,
    /// Last: room for another stream is only told when this one is let go of.
    stream: Stream,
}

impl Reply {
    pub(super) fn new(content: RecvStream, head: &HeaderMap, stream: Stream) -> Self {
        let over = content.is_end_stream();
        let length = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            open: (!over).then_some(Open { content, upload: None, drained: false, stream }),
            left: if over { Some(0) } else { length },
        }
    }

    pub(super) fn goes_on_sending(&mut self, upload: Box<dyn Pump>) {
        if let Some(open) = &mut self.open {
            open.upload = Some(upload);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.open.is_none()
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.open = None;
        Poll::Ready(Some(Err(fault)))
    }

    /// A stream reset with NO_ERROR ends a whole answer to a request that is not (RFC 9113 section
    /// 8.1). `h2` tells of the end of an answer that was marked and not of the reset behind it, so what
    /// comes here had no mark: it is whole only where its length says so.
    fn stopped(&mut self, error: &h2::Error) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) && self.left == Some(0) {
            self.open = None;
            return Poll::Ready(None);
        }
        let silent = self.open.as_ref().is_some_and(|open| open.stream.is_silent());
        self.fail(failure::in_answer_http2(error, silent))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        if let Some(upload) = &mut open.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            open.upload = None;
            if let Err(fault) = sent {
                return this.fail(fault);
            }
        }
        if !open.drained {
            match ready!(open.content.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = open.content.flow_control().release_capacity(data.len());
                    open.stream.heard();
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    }
                    // Whoever reads to an exact length stops here.
                    if open.content.is_end_stream() {
                        this.open = None;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return this.stopped(&error),
                None => open.drained = true,
            }
        }
        match ready!(open.content.poll_trailers(cx)) {
            Ok(trailers) => {
                this.open = None;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => this.stopped(&error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.open.is_none() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
