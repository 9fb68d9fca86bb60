//! The body of a request as it comes on a stream.
//!
//! What was read makes room for more at once: the client is never let send more than the windows
//! hold beyond what the handler has taken (RFC 9113 section 5.2).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

use crate::base::{Fault, FaultKind};
use crate::wire::body::Feed;
use crate::wire::http1::is_forbidden_trailer;

/// A request's body, shared by the handler, who reads it, and the stream, which outlives that.
pub(super) struct Upload {
    /// `None` once it was let go of.
    content: RefCell<Option<RecvStream>>,
    /// Bytes to come, where the head told.
    left: Cell<Option<u64>>,
    /// All data has come; there may be trailers.
    drained: Cell<bool>,
    /// Nobody reads it any more.
    unread: Cell<bool>,
}

impl Upload {
    /// The body of a request with this head.
    pub(super) fn new(content: RecvStream, head: &HeaderMap) -> Rc<Self> {
        // `h2` has refused what is no number, and holds the body to it.
        let length = head.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Rc::new(Self {
            content: RefCell::new(Some(content)),
            left: Cell::new(length),
            drained: Cell::new(false),
            unread: Cell::new(false),
        })
    }

    /// Whether nobody reads it any more, and nothing but the mark of its end is to come.
    ///
    /// HTTP/2 clients may mark the end of a body in an empty frame of its own. A request that came
    /// whole may be answered before that; letting go of it then would reset the stream, and some
    /// clients take that for a failed request, though RFC 9113 section 8.1 allows it.
    pub(super) fn is_awaited(&self) -> bool {
        self.unread.get() && self.content.borrow().as_ref().is_some_and(|content| !content.is_end_stream())
    }

    /// Reads on for the mark of the end; ready when it has come, or never will.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(_)) = ready!(self.poll_content(cx)) {}
        Poll::Ready(())
    }

    fn poll_content(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let mut content = self.content.borrow_mut();
        let Some(content) = content.as_mut() else { return Poll::Ready(None) };
        if !self.drained.get() {
            match ready!(content.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = content.flow_control().release_capacity(data.len());
                    if let Some(left) = self.left.get() {
                        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        self.left.set(Some(left.saturating_sub(length)));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.drained.set(true),
            }
        }
        let trailers = ready!(content.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|found| found.map(|fields| Frame::trailers(permitted(fields)))))
    }
}

/// Without the fields that no trailer section may hold.
fn permitted(mut trailers: HeaderMap) -> HeaderMap {
    let forbidden: Vec<_> = trailers.keys().filter(|name| is_forbidden_trailer(name)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}

impl Feed for Upload {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.poll_content(cx).map_err(|_| {
            // Whatever the reason, the rest never comes, not even after a reset with NO_ERROR.
            Fault::new(FaultKind::Cancelled, "the client left before its body was complete")
        })
    }

    fn is_end_stream(&self) -> bool {
        self.content.borrow().as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.left.get() {
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }

    fn let_go(&self) {
        if self.unread.replace(true) {
            return;
        }
        let is_whole = self.left.get() == Some(0) && !self.drained.get();
        if !is_whole {
            // What is unread makes room for other streams.
            *self.content.borrow_mut() = None;
        }
    }
}
