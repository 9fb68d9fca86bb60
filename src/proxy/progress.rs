//! How long the head of an answer may take: a timeout that does not run while the client is still
//! sending or waited for, and the client's own deadline, which does. And how slowly the client may send while
//! others wait for the place that its request has.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::ahead;
use crate::base::{Fault, FaultKind};
use crate::wire::body::{Haste, Meter, Side};

/// Which time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// The timeout.
    Limit,
    /// The deadline.
    Deadline,
    /// The deadline, while the client was waited for.
    Sending,
    /// The patience with a body that came at fewer than so many bytes per second while others
    /// waited for the place that it has.
    Haste(u64),
}

impl Elapsed {
    /// What is said of a request whose answer did not begin within `limit` of an attempt, or by the
    /// `deadline`.
    pub(super) fn fault(self, limit: Duration, deadline: &Deadline) -> Fault {
        match self {
            Self::Limit => Fault::new(FaultKind::ResponseTimeout, format!("no answer within {limit:?}")),
            Self::Haste(least) => {
                let detail = format!(
                    "the request body came at less than {least} bytes per second while others waited"
                );
                Fault::new(FaultKind::RequestTimeout, detail)
            }
            Self::Sending if deadline.is_total => ahead::too_long(),
            Self::Sending => {
                let own = deadline.own.unwrap_or_default();
                let detail = format!("the request was not whole within the client's deadline of {own:?}");
                Fault::new(FaultKind::RequestTimeout, detail)
            }
            Self::Deadline if deadline.is_total => {
                Fault::new(FaultKind::ResponseTimeout, "no answer within the total timeout")
            }
            Self::Deadline => {
                let own = deadline.own.unwrap_or_default();
                let detail = format!("no answer within the client's deadline of {own:?}");
                Fault::new(FaultKind::DeadlineExceeded, detail)
            }
        }
    }
}

/// When an answer must have begun at the latest, whatever the model's timeout.
pub(super) struct Deadline {
    /// The client's own, as it was written.
    own: Option<Duration>,
    pub(super) at: Option<Instant>,
    /// Whether it is the total timeout that comes first.
    is_total: bool,
}

impl Deadline {
    /// The earlier of the client's own and the end of the total timeout.
    pub(super) fn new(own: Option<Duration>, own_at: Option<Instant>, total: Option<Instant>) -> Self {
        let is_total = total.is_some_and(|total| own_at.is_none_or(|own| total < own));
        Self { own, at: if is_total { total } else { own_at }, is_total }
    }

    /// Whether it is over `after` from now.
    pub(super) fn is_over(&self, after: Duration) -> bool {
        let then = Instant::now() + after;
        self.at.is_some_and(|at| at <= then)
    }
}

/// How slowly the client may send its body where others wait.
pub(super) struct Pace<C> {
    /// Bytes per second. 0: as slowly as it likes.
    least: u64,
    /// It is a gRPC call: once a message has come, it may be the client who waits for an answer before it
    /// sends more.
    is_grpc: bool,
    is_crowded: C,
}

impl<C: Fn() -> bool> Pace<C> {
    /// For a body that must come at `rate` where nobody waits (0: at any). `is_crowded` tells whether
    /// somebody does. The body of a gRPC call is the client's side of a conversation: that nothing more
    /// of it comes says nothing about who is waited for, once there is a message to be answered.
    pub(super) fn new(rate: u64, is_grpc: bool, is_crowded: C) -> Self {
        Self { least: Haste::least(rate), is_grpc, is_crowded }
    }

    /// Whether it is the client who is waited for, as `sent` knows.
    fn is_for_client(&self, sent: &Meter) -> bool {
        sent.is_awaited() && !(self.is_grpc && sent.has_message())
    }
}

/// Runs `future`, for at most `limit` in which no byte of the request passed `sent` and the client was
/// not waited for, and never beyond `deadline`. A body that is waited for must keep `pace`; how long
/// it may stand still is its own timeout's affair.
///
/// # Errors
/// [`Elapsed`] when a time was over. The future is dropped with this one.
pub(super) fn within<'a, F: Future, C: Fn() -> bool>(
    limit: Duration,
    deadline: Option<Instant>,
    sent: &'a Meter,
    pace: Pace<C>,
    future: F,
) -> Within<'a, F, C> {
    let now = Instant::now();
    let timer = sleep_until(next(now, limit, deadline));
    let seen = sent.bytes();
    Within { future, timer, limit, deadline, sent, pace, seen, since: now, begun: false, haste: None }
}

/// When the time is over.
fn next(since: Instant, limit: Duration, deadline: Option<Instant>) -> Instant {
    let still = since + limit;
    deadline.map_or(still, |deadline| deadline.min(still))
}

pin_project_lite::pin_project! {
    /// See [`within`].
    pub(super) struct Within<'a, F, C> {
        #[pin]
        future: F,
        #[pin]
        timer: Sleep,
        limit: Duration,
        deadline: Option<Instant>,
        sent: &'a Meter,
        pace: Pace<C>,
        // What had been sent at the last poll, and when that was.
        seen: u64,
        since: Instant,
        begun: bool,
        // While the body is waited for; boxed, for most never are.
        haste: Option<Box<Haste>>,
    }
}

impl<F: Future, C: Fn() -> bool> Future for Within<'_, F, C> {
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
        if this.haste.is_none() && this.pace.least > 0 && this.sent.is_awaited() {
            let haste = this.haste.insert(Box::new(Haste::new(Side::Request, sent)));
            let first = this.timer.deadline().min(haste.next());
            this.timer.as_mut().reset(first);
        }
        while this.timer.as_mut().poll(cx).is_ready() {
            if this.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let sending = this.pace.is_for_client(this.sent);
                return Poll::Ready(Err(if sending { Elapsed::Sending } else { Elapsed::Deadline }));
            }
            if this.pace.is_for_client(this.sent) {
                *this.since = Instant::now();
            } else if !this.pace.is_grpc
                && let Some(came) = this.sent.came()
            {
                // Its end may have come long after its last byte.
                *this.since = came.max(*this.since);
            }
            let mut until = next(*this.since, *this.limit, *this.deadline);
            if this.timer.deadline() >= until {
                return Poll::Ready(Err(Elapsed::Limit));
            }
            if !this.sent.is_awaited() {
                *this.haste = None;
            }
            if let Some(haste) = this.haste {
                if haste.is_slow(sent, this.pace.least) && (this.pace.is_crowded)() {
                    return Poll::Ready(Err(Elapsed::Haste(this.pace.least)));
                }
                until = until.min(haste.next());
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
            within(Duration::from_secs(5), None, &Meter::default(), patient(), std::future::pending::<()>())
                .await;
        assert_eq!(result, Err(Elapsed::Limit));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_use_up_the_timeout() {
        let meter = Rc::new(Meter::default());
        let started = Instant::now();
        let result = within(Duration::from_secs(5), None, &meter, patient(), upload(&meter)).await;
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
        assert_eq!(within(Duration::from_secs(5), None, &meter, patient(), call).await, Err(Elapsed::Limit));
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_move_the_deadline() {
        let meter = Rc::new(Meter::default());
        let started = Instant::now();
        let deadline = Some(started + Duration::from_secs(33));
        let result = within(Duration::from_secs(5), deadline, &meter, patient(), upload(&meter)).await;
        assert_eq!(result, Err(Elapsed::Deadline));
        assert_eq!(started.elapsed().as_secs(), 33);
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_does_not_run_while_the_client_is_waited_for() {
        // Of a gRPC call the second byte of 100 ends the first message, or does not.
        let waited = async |is_grpc, length: u8, until: Option<u64>| {
            let (meter, started) = (Rc::new(Meter::default()), Instant::now());
            let call = async {
                let chunks = [vec![0, 0, 0, 0, length], vec![b'x']];
                trickle(&meter, chunks.map(|chunk| (Duration::from_secs(100), chunk))).await;
                std::future::pending::<()>().await;
            };
            let pace = Pace::new(0, is_grpc, || false);
            let deadline = until.map(|until| started + Duration::from_secs(until));
            let ended = within(Duration::from_secs(50), deadline, &meter, pace, call).await;
            (started.elapsed().as_secs(), ended.unwrap_err())
        };
        assert_eq!(waited(false, 1, None).await, (250, Elapsed::Limit), "its own time from the last byte on");
        assert_eq!(waited(false, 1, Some(180)).await, (180, Elapsed::Sending));
        assert_eq!(waited(false, 1, Some(220)).await, (220, Elapsed::Deadline));
        assert_eq!(waited(true, 1, None).await, (250, Elapsed::Limit));
        assert_eq!(waited(true, 0, None).await, (150, Elapsed::Limit), "it may be the client who waits");
        assert_eq!(waited(true, 1, Some(140)).await, (140, Elapsed::Sending), "half a message");
        assert_eq!(waited(true, 0, Some(140)).await, (140, Elapsed::Deadline));
        assert_eq!(waited(true, 0, Some(40)).await, (40, Elapsed::Sending), "nothing has come");
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_begins_with_the_end_of_the_request_however_long_after_its_last_byte() {
        let (meter, started) = (Rc::new(Meter::default()), Instant::now());
        let call = async {
            let (feed, fed) = tokio::sync::mpsc::unbounded_channel();
            let mut body = Limit::new(Fed(fed), u64::MAX, meter.clone());
            feed.send(Bytes::from_static(b"all of it")).unwrap();
            body.frame().await.unwrap().unwrap();
            let mut end = std::pin::pin!(body.frame());
            let asked = std::future::poll_fn(|cx| Poll::Ready(end.as_mut().poll(cx)));
            assert!(asked.await.is_pending());
            tokio::time::sleep(Duration::from_secs(99)).await;
            drop(feed);
            assert!(end.await.is_none());
            std::future::pending::<()>().await;
        };
        let ended = within(Duration::from_secs(50), None, &meter, patient(), call).await;
        assert_eq!((started.elapsed().as_secs(), ended), (149, Err(Elapsed::Limit)));
    }

    fn patient() -> Pace<impl Fn() -> bool> {
        Pace::new(0, false, || false)
    }

    /// A body of `chunks`, each after so much time, of which the first is asked for at once.
    async fn trickle(meter: &Rc<Meter>, chunks: impl IntoIterator<Item = (Duration, Vec<u8>)>) {
        let (feed, fed) = tokio::sync::mpsc::unbounded_channel();
        let mut body = Limit::new(Fed(fed), u64::MAX, meter.clone());
        for (after, chunk) in chunks {
            let next = body.frame();
            let mut next = std::pin::pin!(next);
            let asked = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx)));
            assert!(asked.await.is_pending());
            tokio::time::sleep(after).await;
            feed.send(Bytes::from(chunk)).unwrap();
            next.await.unwrap().unwrap();
        }
    }

    #[derive(Debug)]
    struct Fed(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

    impl http_body::Body for Fed {
        type Data = Bytes;
        type Error = crate::base::Fault;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(http_body::Frame::data(chunk))))
        }
    }

    /// When a body that comes in pieces of `size` bytes, one each `every`, has to go, and why. Others wait
    /// from `crowded_from` seconds on.
    async fn gone(every: Duration, size: usize, crowded_from: u64) -> (u64, Result<(), Elapsed>) {
        let started = Instant::now();
        let meter = Rc::new(Meter::default());
        let pace = Pace::new(64, false, || started.elapsed().as_secs() >= crowded_from);
        let body = trickle(&meter, std::iter::repeat_n((every, vec![b'x'; size]), 100));
        let result = within(Duration::from_secs(50), None, &meter, pace, body).await;
        (started.elapsed().as_secs(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_goes_where_others_wait_and_stays_where_nobody_does() {
        let haste = Err(Elapsed::Haste(4_096));
        assert_eq!(gone(Duration::from_millis(100), 100, 0).await, (3, haste));
        assert_eq!(gone(Duration::from_secs(5), 100_000, 0).await, (3, haste), "it stands still");
        assert_eq!(gone(Duration::from_secs(3), 1, 40).await, (40, haste), "others come later");
        assert_eq!(gone(Duration::from_secs(3), 1, 1_000).await, (300, Ok(())), "nobody ever waits");
        assert_eq!(gone(Duration::from_millis(500), 4_096, 0).await, (50, Ok(())), "fast enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_the_model_server_is_slow_to_take_is_not_a_slow_one() {
        let meter = Rc::new(Meter::default());
        let pace = Pace::new(64, false, || true);
        let call = async {
            for _ in 0..10 {
                send(&meter).await;
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
        };
        assert_eq!(within(Duration::from_secs(5), None, &meter, pace, call).await, Ok(()));
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
