//! A body that may not stand still.
//!
//! The clock runs only while the body is waited for: a consumer that does not poll (a slow client
//! that exerts backpressure) is not the producer's fault. There is no timer until the first wait,
//! so a body that comes with its head costs nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{ByteBody, Side};
use crate::base::{Fault, FaultKind};

/// A body that fails when nothing comes for `limit`: with [`FaultKind::RequestTimeout`] for a
/// request, [`FaultKind::IdleTimeout`] for an answer.
#[derive(Debug)]
pub struct IdleTimeout<B> {
    inner: B,
    limit: Option<Duration>,
    side: Side,
    done: bool,
    /// When the present wait began.
    waiting: Option<Instant>,
    /// Made on the first wait. It is not reset on progress: that would touch the runtime's timer
    /// wheel for every chunk. It fires early instead and is then moved to where it belongs.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B: ByteBody> IdleTimeout<B> {
    /// Times `inner`; `None` is no limit.
    pub fn new(inner: B, limit: Option<Duration>, side: Side) -> Self {
        Self { inner, limit, side, done: false, waiting: None, timer: None }
    }

    /// Whether the present wait has lasted too long.
    fn is_over(&mut self, limit: Duration, cx: &mut Context<'_>) -> bool {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let Some(deadline) = since.checked_add(limit) else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return true;
            }
            timer.as_mut().reset(deadline);
        }
        false
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
        let limit = this.limit;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(next) => {
                this.waiting = None;
                this.done = !matches!(&next, Some(Ok(frame)) if frame.is_data());
                Poll::Ready(next)
            }
            Poll::Pending => match limit {
                Some(limit) if this.is_over(limit, cx) => {
                    this.done = true;
                    Poll::Ready(Some(Err(over(this.side, limit))))
                }
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
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
