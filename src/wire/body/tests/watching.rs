//! Ends, cancellations, limits and timeouts.

use super::*;

fn ends(log: &Log) -> Vec<&'static str> {
    log.0.borrow().ends.clone()
}

#[test]
fn an_empty_body_ends_before_anybody_polls_it() {
    let log = Log::default();
    let _body = Observe::new(Script::chunks(&[], Hint::Exact), log.clone());
    assert_eq!(ends(&log), ["end"]);
}

#[tokio::test]
async fn a_body_ends_with_its_last_byte_where_the_end_mark_says_so() {
    let log = Log::default();
    let mut body = Observe::new(Script::chunks(&["ab", "c"], Hint::Exact), log.clone());
    body.frame().await.unwrap().unwrap();
    assert!(ends(&log).is_empty());
    body.frame().await.unwrap().unwrap();
    assert_eq!(ends(&log), ["end"]);
    drop(body);
    assert_eq!(ends(&log), ["end"]);
}

#[tokio::test]
async fn a_body_of_known_length_dropped_after_its_last_byte_has_ended() {
    let log = Log::default();
    let mut body = Observe::new(Script::chunks(&["abc"], Hint::LateEnd), log.clone());
    body.frame().await.unwrap().unwrap();
    assert!(ends(&log).is_empty(), "trailers may still come");
    drop(body);
    assert_eq!(ends(&log), ["end"]);
}

#[tokio::test]
async fn a_body_dropped_half_way_is_neither_ended_nor_failed() {
    for hint in [Hint::Unknown, Hint::Exact, Hint::LateEnd] {
        let log = Log::default();
        let mut body = Observe::new(Script::chunks(&["a", "b"], hint), log.clone());
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(ends(&log).is_empty());
        assert_eq!(Rc::strong_count(&log.0), 1, "the watch is dropped");
    }
    let log = Log::default();
    drop(Observe::new(Script::chunks(&[], Hint::Unknown), log.clone()));
    assert!(ends(&log).is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_fails_and_the_meter_knows() {
    for (max, passes) in [(2, false), (3, true), (4, true)] {
        let meter = Rc::new(Meter::default());
        let script = Script::chunks(&["ab", "c"], Hint::Unknown);
        let result = Limit::new(script, max, Rc::clone(&meter)).collect().await;
        assert_eq!(result.is_ok(), passes, "{max}");
        assert_eq!(meter.bytes(), if passes { 3 } else { 2 });
        let kind = meter.fault().map(|fault| fault.kind);
        assert_eq!(kind, (!passes).then_some(FaultKind::PayloadTooLarge));
    }
    let meter = Rc::new(Meter::default());
    let script = Script::new([data("a"), Step::Fault(FaultKind::Cancelled)], Hint::Unknown);
    assert!(Limit::new(script, 9, Rc::clone(&meter)).collect().await.is_err());
    assert_eq!(meter.fault().unwrap().kind, FaultKind::Cancelled);
}

#[test]
fn a_body_announced_too_long_is_refused_unread() {
    assert!(Limit::check(&SizeHint::with_exact(10), 10).is_ok());
    assert_eq!(Limit::check(&SizeHint::with_exact(11), 10).unwrap_err().kind, FaultKind::PayloadTooLarge);
    assert!(Limit::check(&SizeHint::new(), 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_body_may_be_slow_but_not_still() {
    let limit = Some(Duration::from_secs(10));
    let steps =
        || [Step::Sleep(9), data("a"), Step::Sleep(9), data("b"), Step::Wait, Step::Sleep(9), data("c")];
    let slow = IdleTimeout::new(Script::new(steps(), Hint::Unknown), limit, Side::Response);
    assert_eq!(slow.collect().await.unwrap().to_bytes(), "abc");

    for (side, kind) in [(Side::Request, FaultKind::RequestTimeout), (Side::Response, FaultKind::IdleTimeout)]
    {
        let started = tokio::time::Instant::now();
        let still = steps().into_iter().chain([Step::Sleep(100), data("d")]);
        let mut still = IdleTimeout::new(Script::new(still, Hint::Unknown), limit, side);
        let fault = loop {
            if let Err(fault) = still.frame().await.unwrap() {
                break fault;
            }
        };
        assert_eq!(fault.kind, kind);
        assert_eq!(started.elapsed().as_secs(), 37);
        assert!(still.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_takes_its_time_is_not_the_bodys_fault() {
    let steps = [Step::Sleep(1), data("a"), data("b"), Step::Sleep(1), data("c")];
    let limit = Some(Duration::from_secs(10));
    let mut body = IdleTimeout::new(Script::new(steps, Hint::Unknown), limit, Side::Response);
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_fails_once_it_was_waited_for_long_enough() {
    // A byte each second: it never stands still for long.
    async fn read(rate: u64, per_second: usize) -> (Result<usize, FaultKind>, u64) {
        let (feed, fed) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if feed.send(Bytes::from(vec![b'x'; per_second])).is_err() {
                    return;
                }
            }
        });
        let begun = tokio::time::Instant::now();
        let body = IdleTimeout::new(Fed(fed), Some(Duration::from_secs(30)), Side::Request).at_least(rate);
        let read = body.collect().await.map(|whole| whole.to_bytes().len()).map_err(|fault| fault.kind);
        (read, begun.elapsed().as_secs())
    }
    assert_eq!(read(64, 1).await, (Err(FaultKind::RequestTimeout), PATIENCE.as_secs()));
    assert_eq!(read(64, 64).await.0, Ok(200 * 64));
    assert_eq!(read(0, 1).await.0, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_body_must_be_over_by_its_total_time_however_steadily_it_comes() {
    let (feed, fed) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while feed.send(Bytes::from_static(b"x")).is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = tokio::time::Instant::now();
    let until = Some(begun + Duration::from_millis(10_500));
    let body = IdleTimeout::new(Fed(fed), Some(Duration::from_secs(30)), Side::Response).until(until);
    assert_eq!(body.collect().await.map(drop).map_err(|fault| fault.kind), Err(FaultKind::ResponseTimeout));
    assert_eq!(begun.elapsed().as_millis(), 10_500);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_too_slowly_for_its_total_time_is_late_itself() {
    let until = Some(tokio::time::Instant::now() + Duration::from_secs(30));
    let steps = [data("a"), data("b"), data("c")];
    let limit = Some(Duration::from_secs(300));
    let mut body = IdleTimeout::new(Script::new(steps, Hint::Unknown), limit, Side::Response).until(until);
    body.frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(body.frame().await.unwrap().unwrap_err().kind, FaultKind::RequestTimeout);
    assert!(body.frame().await.is_none());
    // It is not where the rest has not come by then; nor is anybody where all has.
    for (rest, kind) in [(vec![Step::Sleep(50), data("b")], Some(FaultKind::ResponseTimeout)), (vec![], None)]
    {
        let steps = [data("a")].into_iter().chain(rest);
        let until = Some(tokio::time::Instant::now() + Duration::from_secs(30));
        let mut body =
            IdleTimeout::new(Script::new(steps, Hint::Unknown), limit, Side::Response).until(until);
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(31)).await;
        let fault = body.frame().await.map(|next| next.unwrap_err().kind);
        assert_eq!(fault, kind);
    }
}

/// A request of a conversation, and what is known of it.
struct Request {
    feed: tokio::sync::mpsc::UnboundedSender<Bytes>,
    meter: Rc<Meter>,
    body: Limit<IdleTimeout<Fed>>,
}

impl Request {
    fn begin() -> Self {
        let (feed, fed) = tokio::sync::mpsc::unbounded_channel();
        let meter = Rc::<Meter>::default();
        let body = IdleTimeout::new(Fed(fed), Some(Duration::from_secs(10)), Side::Request);
        Self { feed, meter: meter.clone(), body: Limit::new(body.beside(Some(meter.clone())), 99, meter) }
    }

    /// When it fails, if that is within 100 s, once `chunk` has passed.
    async fn fails(&mut self, chunk: &'static [u8]) -> Option<FaultKind> {
        self.feed.send(Bytes::from_static(chunk)).unwrap();
        self.body.frame().await.unwrap().unwrap();
        let next = tokio::time::timeout(Duration::from_secs(100), self.body.frame()).await;
        next.ok().map(|next| next.unwrap().unwrap_err().kind)
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_conversation_may_rest_once_a_message_has_come() {
    for part in [&[0][..], &[0, 0, 0, 0, 3], &[0, 0, 0, 0, 3, 1, 2], &[1, 0, 0, 1, 3, 1, 2, 3]] {
        assert_eq!(Request::begin().fails(part).await, Some(FaultKind::RequestTimeout), "{part:?}");
    }
    for whole in [&[0, 0, 0, 0, 0][..], &[0, 0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 0, 1, 1, 0]] {
        assert_eq!(Request::begin().fails(whole).await, None, "{whole:?}");
    }
    // In pieces as well.
    let mut request = Request::begin();
    for piece in [&[0, 0][..], &[0, 0], &[2, 1]] {
        request.feed.send(Bytes::from_static(piece)).unwrap();
        request.body.frame().await.unwrap().unwrap();
    }
    assert_eq!(request.fails(&[2]).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_conversation_may_rest_while_its_request_goes_on() {
    let limit = Some(Duration::from_secs(10));
    // Its request goes on for `bytes` seconds, and ends then or does not.
    let ended = async |bytes: u64, ends: bool| {
        let started = tokio::time::Instant::now();
        let Request { feed, meter, mut body } = Request::begin();
        let sending = async move {
            for _ in 0..bytes {
                tokio::time::sleep(Duration::from_secs(1)).await;
                feed.send(Bytes::from_static(&[0])).unwrap();
            }
            match ends {
                true => drop(feed),
                false => std::mem::forget(feed),
            }
        };
        let passing = async { while body.frame().await.is_some() {} };
        let request = async {
            futures_util::future::join(sending, passing).await;
            std::future::pending::<()>().await;
        };
        let still = Script::new([Step::Sleep(1_000)], Hint::Unknown);
        let mut answer = IdleTimeout::new(still, limit, Side::Response).beside(Some(meter));
        tokio::select! {
            fault = answer.frame() => (fault.unwrap().unwrap_err().kind, started.elapsed().as_secs()),
            () = request => unreachable!("it has no end"),
        }
    };
    assert_eq!(ended(5, false).await, (FaultKind::RequestTimeout, 15));
    assert_eq!(ended(30, false).await, (FaultKind::RequestTimeout, 40));
    assert_eq!(ended(30, true).await, (FaultKind::IdleTimeout, 40));
}

/// A body that comes as it is sent.
struct Fed(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.0.poll_recv(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}
