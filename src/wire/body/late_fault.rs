//! A body whose fault comes a turn after everything before it.
//!
//! A codec ends the answer at once when its body fails, with whatever it has gathered and not
//! written. So a client would see nothing of an answer that began and then broke off in the same
//! turn: not its status, and not what a version managed to say. A turn in which the body has
//! nothing lets the codec write that out first.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ByteBody;
use crate::base::Fault;

/// Passes everything of `B` on; a fault waits for the next turn.
#[derive(Debug)]
pub struct LateFault<B> {
    inner: B,
    fault: Option<Box<Fault>>,
}

impl<B: ByteBody> LateFault<B> {
    /// `inner`, with its fault a turn later.
    pub fn new(inner: B) -> Self {
        Self { inner, fault: None }
    }

    /// What it is a body of.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

impl<B: ByteBody> Body for LateFault<B> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(*fault)));
        }
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Err(fault)) => {
                self.fault = Some(Box::new(fault));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.fault.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::*;
    use crate::base::FaultKind;

    struct Script(VecDeque<Result<Frame<Bytes>, Fault>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = Fault;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    #[test]
    fn a_turn_passes_between_the_last_data_and_the_fault() {
        let fault = Fault::new(FaultKind::UpstreamReset, "broke off");
        let mut body = LateFault::new(Script([Ok(Frame::data(Bytes::from("x"))), Err(fault)].into()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut body).poll_frame(&mut cx);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        assert!(poll().is_pending());
        assert!(matches!(poll(), Poll::Ready(Some(Err(f))) if f.kind == FaultKind::UpstreamReset));
        assert!(matches!(poll(), Poll::Ready(None)));
    }
}
