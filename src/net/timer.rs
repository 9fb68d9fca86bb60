//! The clock behind hyper's header timeout, made for a deadline that almost never comes.
//!
//! hyper asks for a new sleep for every request of an HTTP/1.1 connection. A tokio sleep would be
//! entered into the timer wheel and removed again each time. Ours is only a deadline that is compared
//! with the clock whenever the connection is polled; so that it is polled at all when nothing
//! comes, [`super::protocol`] wakes each connection every [`check_period`]. A timeout is therefore late
//! by up to that period, a quarter of itself.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// How often a connection must be polled for timeouts of `timeout` to be noticed.
pub(super) fn check_period(timeout: Duration) -> Duration {
    (timeout / 4).max(Duration::from_millis(1))
}

/// A timer whose sleeps wake nobody.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolledTimer;

impl Timer for PolledTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(PolledSleep { deadline })
    }

    fn now(&self) -> Instant {
        now()
    }
}

struct PolledSleep {
    deadline: Instant,
}

impl Future for PolledSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Sleep for PolledSleep {}

/// tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
