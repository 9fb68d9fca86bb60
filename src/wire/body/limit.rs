//! A body that may not be longer than allowed, and a meter that outlives it.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::ByteBody;
use crate::base::{Fault, FaultKind};
use crate::wire::splice::{Passage, Spliced};

/// What is known of a body from outside while it is on its way to a version: whoever sends it, and
/// whatever becomes of the sending, the meter has the bytes that passed and the body's own fault.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: Cell<u64>,
    fault: OnceCell<Fault>,
    awaited: Cell<bool>,
    /// When it last came after it had been waited for.
    came: Cell<Option<Instant>>,
    /// Its first bytes: of a gRPC call what stands before the first message, with its length.
    prefix: Cell<[u8; PREFIX]>,
}

/// How long the prefix of a gRPC message is.
const PREFIX: usize = 5;

impl Meter {
    /// Bytes that have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether whoever takes the body has taken all that came, and waits for more.
    pub fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// When it last came after it had been waited for; `None` where it never was.
    pub fn came(&self) -> Option<Instant> {
        self.came.get()
    }

    /// Whether the first message of a gRPC call has passed whole (gRPC over HTTP/2,
    /// `Length-Prefixed-Message`): only from then on can it be the client who waits.
    pub fn has_message(&self) -> bool {
        let [_, length @ ..] = self.prefix.get();
        self.bytes.get() >= u64::from(u32::from_be_bytes(length)) + PREFIX as u64
    }

    fn begins(&self, chunk: &[u8]) {
        let passed = usize::try_from(self.bytes.get()).unwrap_or(usize::MAX);
        let mut prefix = self.prefix.get();
        for (place, byte) in prefix.iter_mut().skip(passed).zip(chunk) {
            *place = *byte;
        }
        self.prefix.set(prefix);
    }

    fn polled<T>(&self, poll: &Poll<T>) {
        if self.awaited.replace(poll.is_pending()) && poll.is_ready() {
            self.came.set(Some(Instant::now()));
        }
    }

    /// The fault the body failed with, if it did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// A body that fails with [`FaultKind::PayloadTooLarge`] once it is longer than `max` bytes. The
/// chunk that crosses the limit is not passed on.
#[derive(Debug)]
pub struct Limit<B> {
    inner: B,
    max: u64,
    meter: Rc<Meter>,
    done: bool,
}

impl<B: ByteBody> Limit<B> {
    /// Limits `inner` to `max` bytes, counted on `meter`.
    pub fn new(inner: B, max: u64, meter: Rc<Meter>) -> Self {
        Self { inner, max, meter, done: false }
    }

    fn count(&self, bytes: usize) -> Result<(), Fault> {
        let bytes = self.meter.bytes.get().saturating_add(bytes as u64);
        if bytes > self.max {
            return Err(too_large(self.max));
        }
        self.meter.bytes.set(bytes);
        Ok(())
    }

    fn fail(&mut self, fault: Fault) -> Fault {
        self.done = true;
        let _ = self.meter.fault.set(fault.clone());
        fault
    }
}

impl<B> Drop for Limit<B> {
    fn drop(&mut self) {
        // Nobody waits any more for what nobody will take.
        self.meter.awaited.set(false);
    }
}

impl Limit<()> {
    /// Refuses a body that announces more than `max` bytes, before a byte of it is read and
    /// before a `100 Continue` asks for it.
    ///
    /// # Errors
    /// [`FaultKind::PayloadTooLarge`].
    pub fn check(size: &SizeHint, max: u64) -> Result<(), Fault> {
        if size.lower() > max { Err(too_large(max)) } else { Ok(()) }
    }
}

#[cold]
fn too_large(max: u64) -> Fault {
    Fault::new(FaultKind::PayloadTooLarge, format!("the body is longer than the limit of {max} bytes"))
}

impl<B: ByteBody> Body for Limit<B> {
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
        let next = Pin::new(&mut this.inner).poll_frame(cx);
        this.meter.polled(&next);
        match ready!(next) {
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    if this.meter.bytes.get() < PREFIX as u64 {
                        this.meter.begins(chunk);
                    }
                    if let Err(fault) = this.count(chunk.len()) {
                        return Poll::Ready(Some(Err(this.fail(fault))));
                    }
                } else {
                    this.done = true;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(fault)) => Poll::Ready(Some(Err(this.fail(fault)))),
            None => {
                this.done = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Spliced> Spliced for Limit<B> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        if self.done {
            return Poll::Ready(Ok(None));
        }
        let moved = self.inner.poll_splice(passage, cx);
        // Where nothing can be moved unseen, whether something has come is not known yet.
        if !matches!(moved, Poll::Ready(Ok(None))) {
            self.meter.polled(&moved);
        }
        let moved = ready!(moved);
        let counted = moved.and_then(|moved| self.count(moved.unwrap_or(0)).map(|()| moved));
        Poll::Ready(counted.map_err(|fault| self.fail(fault)))
    }
}
