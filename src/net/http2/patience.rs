//! How long a client may take to make room.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A limit for a wait that comes again and again.
pub(super) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    /// Made at the first wait. It fires early where there was room meanwhile, and is moved.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Waits of at most `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    /// There is room, or more of it: the next wait begins anew.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Ready when there has been no room for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// Watches whether a client takes anything of what its socket is to bring it.
pub(super) struct Unread {
    patience: Patience,
    /// What it had taken when this was last looked at.
    progress: u64,
}

impl Unread {
    /// Of a client that must take something within `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { patience: Patience::new(limit), progress: 0 }
    }

    /// It has taken everything.
    pub(super) fn none(&mut self) {
        self.patience.restart();
    }

    /// Whether it has taken nothing for too long, `taken` being what it has taken in all. The task is
    /// woken when the time is over.
    pub(super) fn is_over(&mut self, taken: u64, cx: &mut Context<'_>) -> bool {
        if self.progress != taken {
            self.progress = taken;
            self.patience.restart();
        }
        self.patience.poll(cx).is_ready()
    }
}
