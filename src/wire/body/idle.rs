//! A body that may not stand still.
//!
//! The clock runs only while the body is waited for: a consumer that does not poll (a slow client
//! that exerts backpressure) is not the producer's fault. There is no timer until the first wait,
//! so a body that comes with its head costs nothing.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{ByteBody, Meter, Side};
use crate::base::{Fault, FaultKind};
use crate::wire::splice::{Passage, Spliced};

/// How long a body may be waited for in all before its rate counts.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A body that fails when nothing comes for `limit`: with [`FaultKind::RequestTimeout`] for a
/// request, [`FaultKind::IdleTimeout`] for an answer.
#[derive(Debug)]
pub struct IdleTimeout<B> {
    inner: B,
    limit: Option<Duration>,
    side: Side,
    done: bool,
    /// Bytes per second that it must come at, once it has been waited for long enough.
    rate: u32,
    /// When all of it must have come.
    until: Option<Instant>,
    /// What is known of the request, where both directions count.
    request: Option<Rc<Meter>>,
    /// When the present wait began.
    waiting: Option<Instant>,
    /// Made on the first wait.
    waits: Option<Pin<Box<Waits>>>,
}

pin_project_lite::pin_project! {
    /// What is known of a body that had to be waited for.
    #[derive(Debug)]
    struct Waits {
        // It is not reset on progress: that would touch the runtime's timer wheel for every chunk. It
        // fires early instead and is then moved to where it belongs.
        #[pin]
        timer: Sleep,
        // How long it was waited for in all, and what has come since the first wait began.
        waited: Duration,
        bytes: u64,
    }
}

impl<B: ByteBody> IdleTimeout<B> {
    /// Times `inner`; `None` is no limit.
    pub fn new(inner: B, limit: Option<Duration>, side: Side) -> Self {
        Self {
            inner,
            limit,
            side,
            done: false,
            rate: 0,
            until: None,
            request: None,
            waiting: None,
            waits: None,
        }
    }

    /// The same, which also fails when it is not over at `until`.
    pub fn until(mut self, until: Option<Instant>) -> Self {
        self.until = until;
        self
    }

    /// The same, which also fails when it comes at fewer bytes per second, counted from the first wait
    /// on over the time that it is waited for; not before that is [`PATIENCE`]. 0: at any.
    pub fn at_least(mut self, rate: u64) -> Self {
        self.rate = u32::try_from(rate).unwrap_or(u32::MAX);
        self
    }

    /// The same, as one side of a conversation of which `request` is the other, or this one. A request
    /// may stand still once a message of it has come, for then it may be the client who waits. An answer
    /// has its time from whatever came last of either; where the request is waited for as well when
    /// that is over, it is no fault of whoever answers.
    pub fn beside(mut self, request: Option<Rc<Meter>>) -> Self {
        self.request = request;
        self
    }

    /// Whether all of it should have come by now.
    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// The fault of a body that should have come by now, and of which the next `is_there`.
    fn late(&mut self, is_there: bool) -> Fault {
        self.done = true;
        match is_there || self.is_resting() {
            true => too_long_for_client(),
            false => too_long(),
        }
    }

    /// Whether the client may send more, and is waited for.
    fn is_resting(&self) -> bool {
        self.side == Side::Response && self.request.as_ref().is_some_and(|request| request.is_awaited())
    }

    /// Takes note of `bytes` that have come; fails where they come too slowly.
    fn came(&mut self, bytes: usize) -> Result<(), Fault> {
        if self.is_slow(bytes) {
            self.done = true;
            return Err(too_slow(self.rate.into()));
        }
        Ok(())
    }

    /// Nothing has come: ready with the fault where that has lasted too long.
    fn waits(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let may_rest =
            self.side == Side::Request && self.request.as_ref().is_some_and(|own| own.has_message());
        if may_rest || !self.is_over(limit, cx) {
            return Poll::Pending;
        }
        self.done = true;
        Poll::Ready(match self.is_late() {
            true => self.late(false),
            false if self.is_resting() => over(Side::Request, limit),
            false => over(self.side, limit),
        })
    }

    /// Whether the present wait has lasted too long.
    fn is_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let other = self.request.as_ref().filter(|_| self.side == Side::Response);
        let since = other.and_then(|request| request.came()).map_or(since, |came| came.max(since));
        let Some(deadline) = since.checked_add(limit) else { return false };
        let deadline = self.until.map_or(deadline, |until| until.min(deadline));
        let waits = self.waits.get_or_insert_with(|| {
            let timer = tokio::time::sleep_until(deadline);
            Box::pin(Waits { timer, waited: Duration::ZERO, bytes: 0 })
        });
        let mut timer = waits.as_mut().project().timer;
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
    }

    /// Takes note of what has come, at the end of a wait where there was one. Whether it comes too
    /// slowly.
    fn is_slow(&mut self, bytes: usize) -> bool {
        let waiting = self.waiting.take();
        let Some(waits) = self.waits.as_mut().filter(|_| self.rate > 0) else { return false };
        let waits = waits.as_mut().project();
        *waits.bytes = waits.bytes.saturating_add(bytes as u64);
        let Some(since) = waiting else { return false };
        *waits.waited = waits.waited.saturating_add(since.elapsed());
        let least = u64::from(self.rate).saturating_mul(waits.waited.as_secs());
        *waits.waited >= PATIENCE && *waits.bytes < least
    }
}

impl<B: ByteBody> Body for IdleTimeout<B> {
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
        match Pin::new(&mut this.inner).poll_frame(cx) {
            // Where it lies ready and nobody waited for it, it is its consumer who is late.
            Poll::Ready(Some(Ok(_))) if this.is_late() => {
                let is_there = this.waiting.is_none();
                Poll::Ready(Some(Err(this.late(is_there))))
            }
            Poll::Ready(next) => {
                let data = next.as_ref().and_then(|next| next.as_ref().ok()?.data_ref());
                let length = data.map(Bytes::len);
                this.done = length.is_none();
                match this.came(length.unwrap_or(0)) {
                    Err(fault) if length.is_some() => Poll::Ready(Some(Err(fault))),
                    _ => Poll::Ready(next),
                }
            }
            Poll::Pending => this.waits(cx).map(|fault| Some(Err(fault))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Spliced> Spliced for IdleTimeout<B> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        if self.done {
            return Poll::Ready(Ok(None));
        }
        if self.is_late() {
            return Poll::Ready(Err(self.late(false)));
        }
        match self.inner.poll_splice(passage, cx) {
            Poll::Ready(Ok(Some(bytes))) => Poll::Ready(self.came(bytes).map(|()| Some(bytes))),
            Poll::Ready(moved) => {
                self.done = moved.is_err();
                Poll::Ready(moved)
            }
            Poll::Pending => self.waits(cx).map(Err),
        }
    }
}

#[cold]
fn too_long() -> Fault {
    Fault::new(FaultKind::ResponseTimeout, "the whole exchange took longer than its total timeout")
}

#[cold]
fn too_long_for_client() -> Fault {
    let detail = "the client did not take its answer, or end its request, within the total timeout";
    Fault::new(FaultKind::RequestTimeout, detail)
}

/// What is said of a request that comes at fewer than `rate` bytes per second.
#[cold]
pub fn too_slow(rate: u64) -> Fault {
    let detail = format!("the request body came at less than {rate} bytes per second");
    Fault::new(FaultKind::RequestTimeout, detail)
}

#[cold]
fn over(side: Side, limit: Duration) -> Fault {
    match side {
        Side::Request => {
            Fault::new(FaultKind::RequestTimeout, format!("the request body stood still for {limit:?}"))
        }
        Side::Response => Fault::new(FaultKind::IdleTimeout, format!("the answer stood still for {limit:?}")),
    }
}
