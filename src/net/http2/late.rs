//! How long the client has been in the middle of a head, or has not sent its SETTINGS.
//!
//! `h2` holds what has come of a head and says nothing of it, so this is seen from the frames
//! ([`Counted`](super::flood::Counted)).

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Since when something of the client has not been whole; `None` where all of it is.
pub(super) type Begun = Rc<Cell<Option<Instant>>>;

/// Watches over what has begun and not ended.
pub(super) struct Late {
    limit: Duration,
    begun: Begun,
    /// Made at the first wait. It fires early where something else was begun meanwhile, and is moved.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Late {
    /// What `begun` tells of may take `limit`.
    pub(super) fn new(limit: Duration, begun: Begun) -> Self {
        Self { limit, begun, timer: None }
    }

    /// Whether it is late. If it may be later, the task is woken then.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(since) = self.begun.get() else { return false };
        let until = since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            match timer.as_mut().poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(()) if timer.deadline() >= until => return true,
                Poll::Ready(()) => timer.as_mut().reset(until),
            }
        }
    }
}
