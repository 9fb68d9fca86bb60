//! How long a connection has had no stream.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A connection that is told to end because it is idle gets this long to do so.
const GRACE: Duration = Duration::from_secs(5);

/// Watches over a connection without streams.
pub(super) struct Idle {
    limit: Duration,
    /// Made at the first wait. Streams that come and go do not touch it: it fires early then, and is
    /// moved.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the present wait began.
    since: Instant,
    /// There was a stream since.
    used: bool,
    told: bool,
}

/// What follows from a connection's having no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdleFor {
    NotLong,
    /// Long enough to be told to end.
    Long,
    /// It was told and did not.
    TooLong,
}

impl Idle {
    /// A connection that may be idle for `limit`, from now on.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, since: Instant::now(), used: false, told: false }
    }

    /// A stream was opened. It may be over by the next look.
    pub(super) fn used(&mut self) {
        self.used = true;
    }

    /// Looks at the time; `busy` says whether there are streams. The task is woken when the time is
    /// over.
    pub(super) fn poll(&mut self, busy: bool, cx: &mut Context<'_>) -> IdleFor {
        if busy {
            self.used = true;
            return IdleFor::NotLong;
        }
        if std::mem::take(&mut self.used) {
            self.since = Instant::now();
        }
        let until = self.since + if self.told { GRACE } else { self.limit };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            match timer.as_mut().poll(cx) {
                Poll::Pending => return IdleFor::NotLong,
                Poll::Ready(()) if timer.deadline() >= until => break,
                Poll::Ready(()) => timer.as_mut().reset(until),
            }
        }
        self.since = Instant::now();
        match std::mem::replace(&mut self.told, true) {
            false => IdleFor::Long,
            true => IdleFor::TooLong,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn look(idle: &mut Idle, busy: bool) -> IdleFor {
        poll_fn(|cx| Poll::Ready(idle.poll(busy, cx))).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_after_the_limit_and_given_up_after_the_grace() {
        let mut idle = Idle::new(LIMIT);
        assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
        advance(LIMIT - Duration::from_millis(2)).await;
        assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
        advance(Duration::from_millis(2)).await;
        assert_eq!(look(&mut idle, false).await, IdleFor::Long);
        assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
        advance(GRACE).await;
        assert_eq!(look(&mut idle, false).await, IdleFor::TooLong);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_begins_anew_at_the_end_of_a_stream() {
        let mut idle = Idle::new(LIMIT);
        assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
        for _ in 0..3 {
            advance(LIMIT).await;
            assert_eq!(look(&mut idle, true).await, IdleFor::NotLong);
            assert_eq!(look(&mut idle, false).await, IdleFor::NotLong, "it was busy until now");
            advance(LIMIT / 2).await;
            assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
        }
        advance(LIMIT / 2).await;
        assert_eq!(look(&mut idle, false).await, IdleFor::Long);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_begin_and_end_between_two_looks_keep_it() {
        let mut idle = Idle::new(LIMIT);
        for _ in 0..10 {
            idle.used();
            assert_eq!(look(&mut idle, false).await, IdleFor::NotLong);
            advance(LIMIT / 2).await;
        }
        advance(LIMIT / 2).await;
        assert_eq!(look(&mut idle, false).await, IdleFor::Long);
    }
}
