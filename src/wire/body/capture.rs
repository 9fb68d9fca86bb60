//! A bounded copy of a body.
//!
//! What is charged to the [`Budget`] is meant to be what stays in memory. Chunks come as slices of
//! the codecs' read buffers, which are up to 512 KiB large, so a kept slice of 100 bytes can pin
//! 512 KiB that nobody counts. Chunks of at most [`COPY_UP_TO`] are therefore copied into
//! blocks of our own, which also makes few blocks of many tiny chunks. Larger ones are kept by
//! reference: they usually fill most of the buffer they pin, but nothing guarantees it, so their
//! charge is a lower bound.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::SizeHint;
use smallvec::SmallVec;

use super::tee::Sink;
use super::{Budget, Hold};

/// Chunks up to this many bytes are copied, larger ones are kept by reference.
const COPY_UP_TO: usize = 16 * 1024;
/// Small chunks are gathered in blocks of at most this many bytes.
const BLOCK: usize = 64 * 1024;
/// Charged for each chunk kept, on top of its bytes: the handle and its bookkeeping.
const PER_CHUNK: usize = 64;

/// Why a copy was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The body is longer than the capture's own limit.
    TooLarge,
    /// The shared budget is spent.
    BudgetExhausted,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureState {
    /// The body has not ended yet.
    Partial,
    /// The whole body and its trailers are there.
    Complete,
    /// Given up and let go of; the primary goes on.
    Overflow(Overflow),
    /// The body was not read to its end.
    Aborted,
}

/// A copy in the making: a [`Sink`] that holds at most what it is allowed to.
#[derive(Debug)]
pub struct Capture {
    state: CaptureState,
    max: usize,
    body: Captured,
    /// Small chunks are gathered here; moved to `body.chunks` when full or followed by a large one.
    block: Vec<u8>,
    hold: Option<Hold>,
}

/// A complete copy of a body. Cloning is cheap; the budget is given back with the last clone, and
/// with the last [`super::Source`] made of one.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    pub(super) chunks: SmallVec<[Bytes; 1]>,
    pub(super) trailers: Option<Box<HeaderMap>>,
    pub(super) len: usize,
    pub(super) hold: Option<Rc<Hold>>,
}

impl Captured {
    /// The chunks in order; their edges are not those of the original.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// The trailers, if there were any.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes in one piece; copies only where there are several chunks.
    pub fn to_bytes(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl Capture {
    /// A copy of at most `max` bytes, charged to `budget` where there is one.
    pub fn new(max: usize, budget: Option<Rc<Budget>>) -> Self {
        Self {
            state: CaptureState::Partial,
            max,
            body: Captured::default(),
            block: Vec::new(),
            hold: budget.map(Hold::new),
        }
    }

    /// Gives up at once on a body that is known to be too long.
    #[must_use]
    pub fn expecting(mut self, size: &SizeHint) -> Self {
        if size.lower() > self.max as u64 {
            self.give_up(CaptureState::Overflow(Overflow::TooLarge));
        }
        self
    }

    /// How far the copy has come.
    pub fn state(&self) -> CaptureState {
        self.state
    }

    /// Bytes kept so far.
    pub fn len(&self) -> usize {
        self.body.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.body.len == 0
    }

    /// The body, once it is complete; the capture keeps nothing.
    pub fn complete(&mut self) -> Option<Captured> {
        (self.state == CaptureState::Complete).then(|| std::mem::take(&mut self.body))
    }

    /// A copy of the body, once it is complete; the capture keeps its own.
    pub fn whole(&self) -> Option<Captured> {
        (self.state == CaptureState::Complete).then(|| self.body.clone())
    }

    /// Lets go of everything: the body will not be read to its end.
    pub fn abort(&mut self) {
        if self.state == CaptureState::Partial {
            self.give_up(CaptureState::Aborted);
        }
    }

    fn give_up(&mut self, state: CaptureState) {
        self.state = state;
        self.body = Captured::default();
        self.block = Vec::new();
        self.hold = None;
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Overflow> {
        if self.hold.as_mut().is_none_or(|hold| hold.try_grow(bytes)) {
            Ok(())
        } else {
            Err(Overflow::BudgetExhausted)
        }
    }

    fn keep(&mut self, chunk: &Bytes) -> Result<(), Overflow> {
        let len = self.body.len.saturating_add(chunk.len());
        if len > self.max {
            return Err(Overflow::TooLarge);
        }
        if chunk.len() > COPY_UP_TO {
            self.charge(chunk.len() + PER_CHUNK)?;
            self.seal();
            self.body.chunks.push(chunk.clone());
        } else {
            if self.block.len() + chunk.len() > BLOCK {
                self.seal();
            }
            self.grow_block(chunk.len())?;
            self.block.extend_from_slice(chunk);
        }
        self.body.len = len;
        Ok(())
    }

    /// Makes room for `more` bytes: exactly enough at first, for most bodies come in one chunk,
    /// then by doubling. The capacity is charged, not the length.
    fn grow_block(&mut self, more: usize) -> Result<(), Overflow> {
        let (have, need) = (self.block.capacity(), self.block.len() + more);
        if need <= have {
            return Ok(());
        }
        let capacity = need.max((have * 2).min(BLOCK));
        let overhead = if have == 0 { PER_CHUNK } else { 0 };
        self.charge(capacity - have + overhead)?;
        self.block.reserve_exact(capacity - self.block.len());
        Ok(())
    }

    /// Moves the block to the chunks.
    fn seal(&mut self) {
        if !self.block.is_empty() {
            self.body.chunks.push(std::mem::take(&mut self.block).into());
        }
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Overflow> {
        if let Some(trailers) = trailers {
            let bytes = trailers.iter().map(|(n, v)| n.as_str().len() + v.len() + PER_CHUNK).sum();
            self.charge(bytes)?;
            self.body.trailers = Some(Box::new(trailers.clone()));
        }
        self.seal();
        self.body.hold = self.hold.take().map(Rc::new);
        self.state = CaptureState::Complete;
        Ok(())
    }
}

impl Sink for Capture {
    fn data(&mut self, chunk: &Bytes) {
        if self.state == CaptureState::Partial
            && let Err(overflow) = self.keep(chunk)
        {
            self.give_up(CaptureState::Overflow(overflow));
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if self.state == CaptureState::Partial
            && let Err(overflow) = self.finish(trailers)
        {
            self.give_up(CaptureState::Overflow(overflow));
        }
    }
}

/// The writing end of a shared [`Capture`]. Dropped before the end, it aborts the capture.
#[derive(Debug)]
pub struct Tap(Rc<RefCell<Capture>>);

impl Tap {
    /// Writes to `capture`, which its reader keeps a handle of.
    pub fn new(capture: Rc<RefCell<Capture>>) -> Self {
        Self(capture)
    }

    /// Readers borrow for a moment and never over an await, so the borrow is always free; were
    /// it not, losing the copy is better than failing the primary.
    fn with(&self, write: impl FnOnce(&mut Capture)) {
        match self.0.try_borrow_mut() {
            Ok(mut capture) => write(&mut capture),
            Err(_) => debug_assert!(false, "the capture is borrowed while the body is polled"),
        }
    }
}

impl Sink for Tap {
    fn data(&mut self, chunk: &Bytes) {
        self.with(|capture| capture.data(chunk));
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.with(|capture| capture.end(trailers));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.with(Capture::abort);
    }
}
