//! How long the head of an answer may take: a timeout that does not run while the client is still
//! sending, and the client's own deadline, which does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::wire::body::Meter;

/// Which time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// The timeout.
    Limit,
    /// The client's deadline.
    Deadline,
}

/// Runs `future`, for at most `limit` in which no byte of the request passed `sent`, and never
/// beyond `deadline`.
///
/// # Errors
/// [`Elapsed`] when either time was over. The future is dropped with this one.
pub(super) fn within<F: Future>(
    limit: Duration,
    deadline: Option<Instant>,
    sent: &Meter,
    future: F,
) -> Within<'_, F> {
    let now = Instant::now();
    let timer = sleep_until(next(now, limit, deadline));
    Within { future, timer, limit, deadline, sent, seen: sent.bytes(), since: now, begun: false }
}

/// When to look again.
fn next(since: Instant, limit: Duration, deadline: Option<Instant>) -> Instant {
    let still = since + limit;
    deadline.map_or(still, |deadline| deadline.min(still))
}

pin_project_lite::pin_project! {
    /// See [`within`].
    pub(super) struct Within<'a, F> {
        #[pin]
        future: F,
        #[pin]
        timer: Sleep,
        limit: Duration,
        deadline: Option<Instant>,
        sent: &'a Meter,
        // What had been sent at the last look, and when that was.
        seen: u64,
        since: Instant,
        begun: bool,
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let sent = this.sent.bytes();
        if sent != std::mem::replace(this.seen, sent) && *this.begun {
            *this.since = Instant::now();
        }
        // What leaves in the first turn, as most requests do, left at the start.
        *this.begun = true;
        while this.timer.as_mut().poll(cx).is_ready() {
            if this.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Poll::Ready(Err(Elapsed::Deadline));
            }
            let until = next(*this.since, *this.limit, *this.deadline);
            if this.timer.deadline() >= until {
                return Poll::Ready(Err(Elapsed::Limit));
            }
            this.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::wire::body::{Limit, Source};

    #[tokio::test(start_paused = true)]
    async fn the_timeout_runs_from_the_start_where_nothing_is_sent() {
        let started = Instant::now();
        let result =
            within(Duration::from_secs(5), None, &Meter::default(), std::future::pending::<()>()).await;
        assert_eq!(result, Err(Elapsed::Limit));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_use_up_the_timeout() {
        let meter = Rc::new(Meter::default());
        let started = Instant::now();
        let result = within(Duration::from_secs(5), None, &meter, upload(&meter)).await;
        assert_eq!(result, Err(Elapsed::Limit));
        assert_eq!(started.elapsed().as_secs(), 405, "five seconds after the last byte");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_left_at_once_has_its_time_and_no_more() {
        let meter = Rc::new(Meter::default());
        let started = Instant::now();
        let call = async {
            send(&meter).await;
            std::future::pending::<()>().await;
        };
        assert_eq!(within(Duration::from_secs(5), None, &meter, call).await, Err(Elapsed::Limit));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_move_the_deadline() {
        let meter = Rc::new(Meter::default());
        let started = Instant::now();
        let deadline = Some(started + Duration::from_secs(33));
        let result = within(Duration::from_secs(5), deadline, &meter, upload(&meter)).await;
        assert_eq!(result, Err(Elapsed::Deadline));
        assert_eq!(started.elapsed().as_secs(), 33);
    }

    /// A chunk every four seconds, a hundred times, then nothing.
    async fn upload(meter: &Rc<Meter>) {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            send(meter).await;
        }
        std::future::pending().await
    }

    async fn send(meter: &Rc<Meter>) {
        let chunk = Source::<crate::wire::body::Inbound>::from(Bytes::from_static(b"x"));
        assert!(Limit::new(chunk, 1_000, meter.clone()).collect().await.is_ok());
    }
}
