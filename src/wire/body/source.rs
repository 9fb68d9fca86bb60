//! Where a body comes from: as it arrives, with a part already read, or replayed from a copy.
//!
//! A request may be looked into before it is routed (a model's name, a sticky key). What was read
//! for that stands here in front of the rest, so that nobody downstream can tell.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{ByteBody, Captured, Hold, Inbound};
use crate::base::Fault;
use crate::wire::splice::{Passage, Spliced};

/// Chunks up to this many bytes that are read ahead are gathered in blocks: a client that sends
/// single bytes must not make each of them cost a handle and pin the buffer it came in.
const GATHER_UP_TO: usize = 1024;
/// A block has at most this many bytes.
const BLOCK: usize = 64 * 1024;

/// A body with what has been read of it in front.
///
/// Whoever changes its length must also drop the message's `Content-Length`.
#[derive(Debug)]
pub struct Source<R = Inbound> {
    /// Read already; `first` stands before `more`, and spares the queue where there is one chunk.
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
    ahead: usize,
    /// Only once `rest` is gone.
    trailers: Option<Box<HeaderMap>>,
    rest: Option<R>,
    /// The budget of the copy this is replayed from.
    _hold: Option<Rc<Hold>>,
}

impl<R: ByteBody> Source<R> {
    /// No body.
    pub fn empty() -> Self {
        Self { first: None, more: VecDeque::new(), ahead: 0, trailers: None, rest: None, _hold: None }
    }

    /// The body as it arrives.
    pub fn stream(rest: R) -> Self {
        Self { rest: Some(rest), ..Self::empty() }
    }

    /// `chunks` and then `rest`.
    pub fn with_ahead(chunks: impl IntoIterator<Item = Bytes>, rest: R) -> Self {
        let mut source = Self::stream(rest);
        chunks.into_iter().for_each(|chunk| source.push(chunk));
        source
    }

    /// A whole body, replayed.
    pub fn replay(body: Captured) -> Self {
        let mut source = Self { trailers: body.trailers, _hold: body.hold, ..Self::empty() };
        body.chunks.into_iter().for_each(|chunk| source.push(chunk));
        source
    }

    /// Reads one chunk more ahead and gives it; `None` when the body has ended.
    ///
    /// # Errors
    /// The body's own fault; it must not be used afterwards.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has been read stays.
    pub async fn read_ahead(&mut self) -> Result<Option<Bytes>, Fault> {
        let next = poll_fn(|cx| self.poll_rest(cx)).await?;
        if let Some(chunk) = &next {
            self.push(chunk.clone());
        }
        Ok(next)
    }

    /// Reads ahead what has come already; `true` where that is all.
    ///
    /// # Errors
    /// As [`Source::read_ahead`].
    ///
    /// # Cancel safety
    /// It never waits.
    pub async fn read_what_came(&mut self) -> Result<bool, Fault> {
        poll_fn(|cx| {
            while !self.is_whole() {
                match self.poll_rest(cx) {
                    Poll::Ready(next) => next?.into_iter().for_each(|chunk| self.push(chunk)),
                    Poll::Pending => return Poll::Ready(Ok(false)),
                }
            }
            Poll::Ready(Ok(true))
        })
        .await
    }

    /// The next chunk of what has not been read; it must be kept.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        loop {
            if self.rest.as_ref().is_some_and(Body::is_end_stream) {
                self.rest = None;
            }
            let Some(rest) = self.rest.as_mut() else { return Poll::Ready(Ok(None)) };
            match ready!(Pin::new(rest).poll_frame(cx)).transpose() {
                Err(fault) => {
                    self.rest = None;
                    return Poll::Ready(Err(fault));
                }
                Ok(None) => self.rest = None,
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(chunk) if chunk.is_empty() => {}
                    Ok(chunk) => return Poll::Ready(Ok(Some(chunk))),
                    Err(other) => {
                        self.trailers = other.into_trailers().ok().map(Box::new);
                        self.rest = None;
                    }
                },
            }
        }
    }

    /// Whether all of the body has been read.
    pub fn is_whole(&self) -> bool {
        self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Bytes read ahead.
    pub fn ahead_len(&self) -> usize {
        self.ahead
    }

    /// What has been read ahead, in one piece. Copies once where it came in several chunks.
    pub fn ahead(&mut self) -> Bytes {
        if !self.more.is_empty() {
            let mut all = BytesMut::with_capacity(self.ahead);
            self.first.iter().chain(&self.more).for_each(|chunk| all.extend_from_slice(chunk));
            self.more.clear();
            self.first = Some(all.freeze());
        }
        self.first.clone().unwrap_or_default()
    }

    /// Puts `bytes` in the place of everything that has been read ahead.
    pub fn replace_ahead(&mut self, bytes: Bytes) {
        self.more.clear();
        self.first = None;
        self.ahead = 0;
        self.push(bytes);
    }

    /// A copy of the body, where all of it has been read. Shares the bytes and charges no budget.
    pub fn whole(&self) -> Option<Captured> {
        self.is_whole().then(|| Captured {
            chunks: self.first.iter().chain(&self.more).cloned().collect(),
            trailers: self.trailers.clone(),
            len: self.ahead,
            hold: self._hold.clone(),
        })
    }

    fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        self.ahead += chunk.len();
        let is_small = chunk.len() <= GATHER_UP_TO;
        match self.first {
            // Copied while more is to come: it would keep a whole block alive for as long as that takes.
            None if is_small && !self.is_whole() => self.first = Some(Bytes::copy_from_slice(&chunk)),
            None => self.first = Some(chunk),
            Some(_) if !is_small => self.more.push_back(chunk),
            Some(_) => self.gather(&chunk),
        }
    }

    /// Appends to the last block where it is our own and has room.
    fn gather(&mut self, chunk: &Bytes) {
        let mut block = match self.more.pop_back().map(Bytes::try_into_mut) {
            Some(Ok(block)) if block.len() + chunk.len() <= BLOCK => block,
            Some(Ok(full)) => {
                self.more.push_back(full.freeze());
                BytesMut::new()
            }
            Some(Err(shared)) => {
                self.more.push_back(shared);
                BytesMut::new()
            }
            None => BytesMut::new(),
        };
        block.extend_from_slice(chunk);
        self.more.push_back(block.freeze());
    }
}

impl Source {
    /// Whether all of it has been read or lies ready.
    pub fn has_come(&self) -> bool {
        self.rest.as_ref().is_none_or(Inbound::has_come)
    }
}

impl<R: ByteBody> From<Bytes> for Source<R> {
    fn from(bytes: Bytes) -> Self {
        let mut source = Self::empty();
        source.push(bytes);
        source
    }
}

impl<R: ByteBody> Body for Source<R> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        if let Some(chunk) = this.first.take() {
            this.first = this.more.pop_front();
            this.ahead = this.ahead.saturating_sub(chunk.len());
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(rest) = this.rest.as_mut() else {
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))));
        };
        let next = ready!(Pin::new(rest).poll_frame(cx));
        if !matches!(&next, Some(Ok(frame)) if frame.is_data()) {
            this.rest = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.trailers.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Exact where the length is known. With trailers still to come it is not said, for on
    /// HTTP/1.1 a known length would be framed by `Content-Length`, which leaves no place for
    /// trailers (RFC 9112 section 7.1.2).
    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead as u64;
        let mut hint = SizeHint::new();
        match &self.rest {
            Some(rest) => {
                let rest = rest.size_hint();
                hint.set_lower(rest.lower().saturating_add(ahead));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
                    hint.set_upper(upper);
                }
            }
            None if self.trailers.is_some() => hint.set_lower(ahead),
            None => hint.set_exact(ahead),
        }
        hint
    }
}

impl<R: Spliced> Spliced for Source<R> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let (None, Some(rest)) = (&self.first, &mut self.rest) else { return Poll::Ready(Ok(None)) };
        let moved = ready!(rest.poll_splice(passage, cx));
        if moved.is_err() {
            self.rest = None;
        }
        Poll::Ready(moved)
    }
}
