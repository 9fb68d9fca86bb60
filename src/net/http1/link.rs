//! Where a connection and the body of its request meet.
//!
//! The handler reads the body straight from the socket: there is no channel and no task between
//! them, and nothing is read that it does not ask for. Everything happens on the connection's own
//! thread, nearly always in its own task; should a handler give the body to another task, that one
//! is woken by the socket like any reader.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite as _;
use tokio::task::coop;

use super::decode::Head;
use super::shared::Shared;
use crate::base::{Fault, FaultKind};
use crate::net::transport::Transport;
use crate::wire::body::{Feed, Inbound};
use crate::wire::http1::{Content, Filled, Length, Malformed, Outgoing, poll_fill};
use crate::wire::splice::Passage;

/// What a client that expects it is told before it sends its body (RFC 9110 section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// A body that nobody read is read to its end, so that the connection can go on, if no more than
/// this is left of it.
const DRAIN: u64 = 64 * 1024;

/// A connection, seen by its task and by the body of its request.
pub(super) struct Link {
    inner: RefCell<Inner>,
    /// Somebody holds the body of the request.
    held: Cell<bool>,
    /// The client takes no more of an answer for now.
    stuck: Cell<bool>,
    /// Bytes that it has taken.
    written: Cell<u64>,
    /// An answer is under way that the end of the connection ends.
    ends_by_close: Cell<bool>,
    pub(super) shared: Rc<Shared>,
}

struct Inner {
    /// `None` once the connection is over or no longer ours.
    io: Option<Transport>,
    /// Read and not used yet.
    rest: Bytes,
    /// The body of the request under way.
    content: Content,
    /// What is left of an answer that must be written before anything is read.
    interim: &'static [u8],
    /// Such an answer has not been flushed yet.
    unflushed: bool,
    /// It could not be read to its end; nothing behind it can be read either.
    state: State,
}

/// How reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The body breaks its framing.
    Malformed,
    /// The client has ended the connection, or it failed.
    Gone,
}

/// What has become of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It was read whole.
    Nothing,
    /// Something is still to come.
    Some,
    /// It cannot be read: it is malformed.
    Malformed,
    /// The client has gone.
    Gone,
}

impl Link {
    pub(super) fn new(io: Transport, rest: Bytes, shared: Rc<Shared>) -> Rc<Self> {
        let content = Content::of_request(Length::Known(0));
        let inner = Inner { io: Some(io), rest, content, interim: b"", unflushed: false, state: State::Open };
        Rc::new(Self {
            inner: RefCell::new(inner),
            held: Cell::new(false),
            stuck: Cell::new(false),
            written: Cell::new(0),
            ends_by_close: Cell::new(false),
            shared,
        })
    }

    /// Begins a request: the body that its handler is given.
    pub(super) fn begin(self: &Rc<Self>, head: &Head) -> Inbound {
        let mut inner = self.inner.borrow_mut();
        inner.content = Content::of_request(head.length);
        inner.interim = if head.expects { CONTINUE } else { b"" };
        if inner.content.is_over() {
            return Inbound::empty();
        }
        self.held.set(true);
        Inbound::fed(self.clone())
    }

    /// Runs `parse` on what was read and not used yet.
    pub(super) fn with_rest<T>(&self, parse: impl FnOnce(&mut Bytes) -> T) -> T {
        let inner = &mut *self.inner.borrow_mut();
        let parsed = parse(&mut inner.rest);
        if inner.rest.is_empty() {
            // Even an empty slice keeps the block that it was read into.
            inner.rest = Bytes::new();
        }
        parsed
    }

    /// Reads more of a head.
    pub(super) fn poll_read_head(&self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        self.inner.borrow_mut().poll_fill(&self.shared, false, cx)
    }

    /// Ready once the client has gone. While a request is under way, what comes behind it is read
    /// up to one buffer, so that an end can be seen; a body is left to whoever reads it.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.state == State::Gone {
            return Poll::Ready(());
        }
        if !inner.rest.is_empty() || (self.held.get() && !inner.content.is_over()) {
            return Poll::Pending;
        }
        match ready!(inner.poll_fill(&self.shared, false, cx)) {
            Ok(Filled::Some { .. }) => Poll::Pending,
            Ok(Filled::End) | Err(_) => {
                inner.state = State::Gone;
                Poll::Ready(())
            }
        }
    }

    /// Writes what was gathered of an answer.
    pub(super) fn poll_write_out(
        &self,
        outgoing: &mut Outgoing,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let Some(io) = &mut inner.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let before = outgoing.left();
        let written = outgoing.poll_write_out(io, cx);
        self.stuck.set(written.is_pending());
        let left = if written.is_pending() { outgoing.left() } else { 0 };
        let took = u64::try_from(before.saturating_sub(left)).unwrap_or(0);
        self.written.set(self.written.get().wrapping_add(took));
        written
    }

    /// Whether the client takes no more of an answer for now.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// Bytes of answers that the client has taken.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Notes whether an answer is under way that the end of the connection ends.
    pub(super) fn set_ends_by_close(&self, is_so: bool) {
        self.ends_by_close.set(is_so);
    }

    /// Closes the connection. In the middle of an answer that this would end it is reset: to its reader
    /// a part must not look like the whole (RFC 9112 section 8).
    pub(super) fn close(&self) {
        let Some((io, _)) = self.take() else { return };
        if self.ends_by_close.get() {
            io.reset_on_close();
        }
    }

    /// What must stand before an answer because a part of it has left already. Nothing else is
    /// written in the middle of an answer from here on.
    pub(super) fn take_interim(&self) -> &'static [u8] {
        let begun = std::mem::take(&mut self.inner.borrow_mut().interim);
        if begun.len() < CONTINUE.len() { begun } else { b"" }
    }

    /// Whether the client waits to be asked for its body.
    fn expects(&self) -> bool {
        self.inner.borrow().interim.len() == CONTINUE.len()
    }

    /// What has become of the request's body.
    pub(super) fn left(&self) -> Left {
        let inner = self.inner.borrow();
        match inner.state {
            State::Gone => Left::Gone,
            State::Malformed => Left::Malformed,
            State::Open if inner.content.is_over() => Left::Nothing,
            State::Open => Left::Some,
        }
    }

    /// Whether the next request can be read behind this one, as far as can be told when its answer
    /// begins: a body that nobody wants must be short and under way.
    pub(super) fn can_go_on(&self) -> bool {
        match self.left() {
            Left::Nothing => true,
            Left::Gone | Left::Malformed => false,
            // A client that was not asked for its body may send the next request in its place, or not
            // (RFC 9110 section 10.1.1): what comes could be either.
            Left::Some if self.expects() => false,
            Left::Some if self.held.get() => true,
            Left::Some => self.inner.borrow().content.size_hint().exact().is_none_or(|left| left <= DRAIN),
        }
    }

    /// Whether the body is still held although its request is answered.
    pub(super) fn is_held(&self) -> bool {
        self.held.get()
    }

    /// Reads and drops the rest of a body; `true` where the next request can be read.
    pub(super) fn poll_drain(&self, drained: &mut u64, cx: &mut Context<'_>) -> Poll<bool> {
        let mut inner = self.inner.borrow_mut();
        while !inner.content.is_over() {
            match ready!(inner.poll_frame(&self.shared, cx)) {
                Some(Ok(frame)) => {
                    let size = frame.data_ref().map_or(0, Bytes::len);
                    *drained = drained.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
                }
                Some(Err(_)) => return Poll::Ready(false),
                None => break,
            }
            if *drained > DRAIN {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(inner.state == State::Open)
    }

    /// Reads and drops whatever comes: how many bytes, none where the client has ended.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut inner = self.inner.borrow_mut();
        inner.rest = Bytes::new();
        match ready!(inner.poll_fill(&self.shared, true, cx)) {
            Ok(Filled::Some { .. }) => Poll::Ready(std::mem::take(&mut inner.rest).len()),
            Ok(Filled::End) | Err(_) => Poll::Ready(0),
        }
    }

    /// Ends writing.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.inner.borrow_mut().io {
            Some(io) => Pin::new(io).poll_shutdown(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Takes the connection away from HTTP, with what was read and not used.
    pub(super) fn take(&self) -> Option<(Transport, Bytes)> {
        let mut inner = self.inner.borrow_mut();
        inner.state = State::Gone;
        let rest = std::mem::take(&mut inner.rest);
        inner.io.take().map(|io| (io, rest))
    }
}

impl Inner {
    fn poll_fill(&mut self, shared: &Shared, long: bool, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        match &mut self.io {
            Some(io) => poll_fill(io, &mut self.rest, &shared.lender, long, cx),
            None => Poll::Ready(Ok(Filled::End)),
        }
    }

    fn poll_frame(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.state {
            State::Open => {}
            State::Malformed => return Poll::Ready(Some(Err(malformed(None)))),
            State::Gone => return Poll::Ready(Some(Err(gone()))),
        }
        if (self.unflushed || !self.interim.is_empty()) && ready!(self.poll_interim(cx)).is_err() {
            self.state = State::Gone;
            return Poll::Ready(Some(Err(gone())));
        }
        // One read may hold ten thousand chunks of a byte: taking them counts, so that whoever reads
        // a body lets others run in between.
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            match self.content.take(&mut self.rest, shared.max_bytes) {
                Ok(Some(frame)) => {
                    turn.made_progress();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) if self.content.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(why) => {
                    self.state = State::Malformed;
                    return Poll::Ready(Some(Err(malformed(Some(why)))));
                }
            }
            let long = self.content.is_long();
            match ready!(self.poll_fill(shared, long, cx)) {
                Ok(Filled::Some { full }) => self.content.note_read(self.rest.len(), full),
                Ok(Filled::End) | Err(_) => {
                    self.state = State::Gone;
                    return Poll::Ready(Some(Err(gone())));
                }
            }
        }
    }

    /// Moves what has come of a long body, where nothing of it was read yet.
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let is_clear =
            self.state == State::Open && self.rest.is_empty() && self.interim.is_empty() && !self.unflushed;
        let most = self.content.unseen().filter(|_| is_clear);
        let (Some(most), Some(tcp)) = (most, self.io.as_ref().and_then(Transport::tcp)) else {
            return Poll::Ready(Ok(None));
        };
        match ready!(passage.poll_fill(tcp, most, cx)) {
            Ok(Some(0)) | Err(_) => {
                self.state = State::Gone;
                Poll::Ready(Err(gone()))
            }
            Ok(moved) => {
                self.content.note_unseen(moved.unwrap_or(0));
                Poll::Ready(Ok(moved))
            }
        }
    }

    /// Asks the client for its body.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim = self.interim.get(written..).unwrap_or_default();
            self.unflushed = true;
        }
        ready!(Pin::new(io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

// === impl Feed ===

impl Feed for Link {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.inner.try_borrow_mut() {
            Ok(mut inner) => inner.poll_frame(&self.shared, cx),
            // Only where a waker that reading drops reads in turn.
            Err(_) => Poll::Ready(Some(Err(gone()))),
        }
    }

    fn poll_splice(
        &self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        match self.inner.try_borrow_mut() {
            Ok(mut inner) => inner.poll_splice(passage, cx),
            Err(_) => Poll::Ready(Err(gone())),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.try_borrow().is_ok_and(|inner| inner.content.is_over())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.try_borrow().map(|inner| inner.content.size_hint()).unwrap_or_default()
    }

    fn has_come(&self) -> bool {
        self.inner.try_borrow().is_ok_and(|inner| {
            let left = inner.content.size_hint().exact();
            left.is_some_and(|left| left <= u64::try_from(inner.rest.len()).unwrap_or(0))
        })
    }

    fn let_go(&self) {
        self.held.set(false);
    }
}

#[cold]
fn gone() -> Fault {
    Fault::new(FaultKind::Cancelled, "the client left before its body was complete")
}

#[cold]
fn malformed(why: Option<Malformed>) -> Fault {
    match why {
        Some(Malformed::TooLarge) => Fault::new(FaultKind::HeadersTooLarge, "the trailers are too large"),
        Some(Malformed::Rule(rule)) => {
            Fault::new(FaultKind::BadRequest, format!("the request body is malformed: {rule}"))
        }
        None => Fault::new(FaultKind::BadRequest, "the request body is malformed"),
    }
}
