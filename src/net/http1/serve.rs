//! The life of an HTTP/1.1 connection: one request after the other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

use super::close::{goodbye, refuse};
use super::decode::{self, Head};
use super::exchange::{End, Exchange};
use super::link::{Left, Link};
use super::place::Places;
use super::shared::Shared;
use crate::base::Fault;
use crate::net::drain::Latch;
use crate::net::slow_reader::SlowReader;
use crate::net::transport::Transport;
use crate::net::{ConnectionFault, DownstreamSpec, Handler, IncomingBody};
use crate::wire::http1::{Filled, ends_head};
use crate::wire::upgrade::{Offer, Upgraded};

/// Serves the HTTP/1.1 connections of one listener and worker.
///
/// The future that a handler makes has no name, but room for it is kept here. So it is named by
/// the function `C` that makes it.
pub(in crate::net) struct Http1<C, F, B> {
    call: C,
    places: Places<Exchange<F, B>>,
    shared: Rc<Shared>,
    /// How often a waiting connection looks at the time.
    period: Duration,
    /// So many looks later a head is late.
    patience: u32,
    /// So many looks later a client that takes nothing is given up.
    send_patience: u32,
}

impl<C, F, B> Http1<C, F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Fault>,
{
    /// A server with the limits of `spec`; `call` calls a handler.
    pub(in crate::net) fn new<H>(spec: &DownstreamSpec, call: C) -> Self
    where
        H: Handler<Body = B>,
        C: Fn(&H, Request<IncomingBody>) -> F,
    {
        // A look may come right after the wait has begun, so the first does not count. A timeout is
        // late by up to a period, a quarter of itself, and costs a request nothing.
        let period = (spec.header_timeout.min(spec.send_timeout) / 4).max(Duration::from_millis(1));
        let looks = |timeout: Duration| {
            let looks = timeout.as_nanos().div_ceil(period.as_nanos().max(1));
            u32::try_from(looks).unwrap_or(u32::MAX).saturating_add(1)
        };
        let (patience, send_patience) = (looks(spec.header_timeout), looks(spec.send_timeout));
        let shared = Rc::new(Shared::new(spec));
        Self { call, places: Places::new(), shared, period, patience, send_patience }
    }
}

/// A server of HTTP/1.1 connections whose requests `H` handles.
pub(in crate::net) trait ServeHttp1<H> {
    /// Serves a connection until it ends; `ahead` has been read of it already. When the latch fires,
    /// an idle connection closes and a busy one closes after its answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection and gives up its request.
    async fn serve(
        &self,
        io: Transport,
        ahead: Bytes,
        handler: H,
        latch: &Latch,
    ) -> Result<(), ConnectionFault>;
}

impl<H, C, F> ServeHttp1<H> for Http1<C, F, H::Body>
where
    H: Handler,
    C: Fn(&H, Request<IncomingBody>) -> F,
    F: Future<Output = Response<H::Body>>,
{
    async fn serve(
        &self,
        io: Transport,
        ahead: Bytes,
        handler: H,
        latch: &Latch,
    ) -> Result<(), ConnectionFault> {
        let owner = Owner(Link::new(io, ahead, self.shared.clone()));
        let link = &owner.0;
        let mut alarm = pin!(Alarm { sleep: sleep(self.period), set: false, period: self.period });
        loop {
            let mut request = Request::new(());
            let head = match self.next_head(&mut request, link, latch, alarm.as_mut()).await {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(()),
                Err(NoHead::Refused(fault)) => return Err(Box::pin(refuse(link, &fault)).await),
                Err(NoHead::Ended(fault)) => return Err(fault),
            };
            let (end, offer) = self.answer(head, request, link, &handler, latch, alarm.as_mut()).await?;
            match (end, link.left()) {
                (End::Switched, _) => {
                    if let (Some(offer), Some((io, ahead))) = (offer, link.take()) {
                        offer.keep(Upgraded::new(ahead, Box::new(io)));
                    }
                    return Ok(());
                }
                (_, Left::Gone) => return Err(ConnectionFault::ClientLeft),
                (_, Left::Malformed) => {
                    Box::pin(goodbye(link, true)).await;
                    return Err(ConnectionFault::Protocol);
                }
                // Whoever still holds the body would read the next one's.
                (End::Keep, Left::Nothing) if !link.is_held() => {}
                (End::Keep, Left::Some) if !link.is_held() && self.drained(link, alarm.as_mut()).await => {}
                (_, left) => {
                    Box::pin(goodbye(link, left == Left::Some)).await;
                    return Ok(());
                }
            }
        }
    }
}

impl<C, F, B> Http1<C, F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Fault>,
{
    /// Waits for the head of the next request, which is put into `request`; `None` where the
    /// connection has ended between two, or is to end.
    async fn next_head(
        &self,
        request: &mut Request<()>,
        link: &Link,
        latch: &Latch,
        mut alarm: Pin<&mut Alarm>,
    ) -> Result<Option<Head>, NoHead> {
        let shared = &*self.shared;
        let (mut scanned, mut looks, mut waiting) = (0, 0, false);
        poll_fn(|cx| {
            loop {
                let parsed = link.with_rest(|rest| {
                    let whole = scanned == 0 || ends_head(rest, scanned) || rest.len() > shared.max_bytes;
                    if rest.is_empty() || !whole {
                        scanned = rest.len();
                        return Ok(None);
                    }
                    if request.headers().capacity() == 0 {
                        *request.headers_mut() = shared.take_map();
                    }
                    let head = decode::head(rest, shared.max_bytes, shared.max_fields, request);
                    scanned = rest.len();
                    head
                });
                match parsed {
                    Ok(None) => {}
                    Ok(Some(head)) => return Poll::Ready(Ok(Some(head))),
                    Err(fault) => return Poll::Ready(Err(NoHead::Refused(fault))),
                }
                match link.poll_read_head(cx) {
                    Poll::Ready(Ok(Filled::Some { .. })) => {}
                    Poll::Ready(Ok(Filled::End)) if scanned == 0 => return Poll::Ready(Ok(None)),
                    Poll::Ready(Err(_)) if scanned == 0 => return Poll::Ready(Ok(None)),
                    Poll::Ready(_) => return Poll::Ready(Err(NoHead::Ended(ConnectionFault::ClientLeft))),
                    Poll::Pending => break,
                }
            }
            // After the read, so that a request that has arrived is answered and not shut out.
            if scanned == 0 && latch.fired() {
                return Poll::Ready(Ok(None));
            }
            let passed = alarm.as_mut().poll_passed(cx);
            if waiting {
                looks += passed;
            }
            waiting = true;
            if looks >= self.patience {
                return Poll::Ready(Err(NoHead::Ended(ConnectionFault::HeaderTimeout)));
            }
            if passed > 0 {
                shared.lender.shrink_unused();
            }
            Poll::Pending
        })
        .await
    }

    /// Runs one request to the end of its answer. Also gives the offer of its connection, where it
    /// asked for another protocol.
    async fn answer<H>(
        &self,
        head: Head,
        mut request: Request<()>,
        link: &Rc<Link>,
        handler: &H,
        latch: &Latch,
        mut alarm: Pin<&mut Alarm>,
    ) -> Result<(End, Option<Offer>), ConnectionFault>
    where
        H: Handler<Body = B>,
        C: Fn(&H, Request<IncomingBody>) -> F,
    {
        let offer = head.upgrade.then(|| Offer::make(request.extensions_mut()));
        let body = link.begin(&head);
        let mut place = self.places.take(|| Exchange::Empty);
        place.as_mut().set(Exchange::new(
            (self.call)(handler, request.map(|()| body)),
            head.ask,
            offer.is_some(),
        ));
        let mut stall = Stall::default();
        let end = poll_fn(|cx| {
            let polled = place.as_mut().poll(link, latch.fired(), cx);
            // Only a client that takes nothing costs a look at the time.
            if polled.is_pending() && link.is_stuck() {
                let passed = alarm.as_mut().poll_passed(cx);
                let in_the_way = || place.as_ref().get_ref().body().is_some_and(H::is_in_the_way);
                if stall.looks(link.written(), passed) > self.send_patience
                    || (stall.is_slow(link.written(), self.shared.least, cx) && in_the_way())
                {
                    return Poll::Ready(Err(ConnectionFault::SendTimeout));
                }
            } else if let Some(reader) = &mut stall.reader {
                reader.rest();
            }
            polled
        })
        .await;
        place.as_mut().set(Exchange::Empty);
        self.places.give(place);
        end.map(|end| (end, offer))
    }

    /// Reads the rest of a body that nobody wants; whether the next request can be read behind it.
    async fn drained(&self, link: &Link, mut alarm: Pin<&mut Alarm>) -> bool {
        let (mut drained, mut looks) = (0, 0);
        poll_fn(|cx| {
            if let Poll::Ready(whole) = link.poll_drain(&mut drained, cx) {
                return Poll::Ready(whole);
            }
            looks += alarm.as_mut().poll_passed(cx);
            if looks > self.patience { Poll::Ready(false) } else { Poll::Pending }
        })
        .await
    }
}

/// How long a client has taken nothing, and how little it takes.
#[derive(Default)]
struct Stall {
    written: u64,
    looks: u32,
    reader: Option<Box<SlowReader>>,
}

impl Stall {
    /// Periods that have passed since the client last took something.
    fn looks(&mut self, written: u64, passed: u32) -> u32 {
        if written != self.written {
            (self.written, self.looks) = (written, 0);
        }
        self.looks = self.looks.saturating_add(passed);
        self.looks
    }

    /// Whether the client has taken fewer than `least` bytes per second for too long.
    fn is_slow(&mut self, written: u64, least: u64, cx: &mut Context<'_>) -> bool {
        least > 0
            && self.reader.get_or_insert_with(|| Box::new(SlowReader::new())).is_slow(written, least, cx)
    }
}

/// Why there is no head.
enum NoHead {
    /// What came is no request; the client is to be told.
    Refused(Fault),
    /// It did not come.
    Ended(ConnectionFault),
}

/// Closes the connection when its task ends, whoever else holds the link.
struct Owner(Rc<Link>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.close();
    }
}

pin_project_lite::pin_project! {
    /// Wakes a waiting connection now and then, so that it looks at the time.
    struct Alarm {
        #[pin]
        sleep: Sleep,
        set: bool,
        period: Duration,
    }
}

impl Alarm {
    /// How many periods have ended since it was asked last. The task is woken at the end of the
    /// present one. A timer is touched only when new and when over: a task's waker stays the same.
    fn poll_passed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> u32 {
        let mut this = self.project();
        let mut passed = 0;
        loop {
            match this.sleep.is_elapsed() {
                false if *this.set => return passed,
                false => {}
                true => {
                    passed += u32::from(*this.set);
                    this.sleep.as_mut().reset(Instant::now() + *this.period);
                }
            }
            // A task that has used up its turn would be told that the time is not over without being
            // woken when it is. One that was over before it was first asked for begins anew.
            if pin!(unconstrained(this.sleep.as_mut())).poll(cx).is_pending() {
                *this.set = true;
                return passed;
            }
        }
    }
}

#[cfg(test)]
mod alarm {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    async fn looks(alarm: &mut Pin<&mut Alarm>) -> u32 {
        poll_fn(|cx| Poll::Ready(alarm.as_mut().poll_passed(cx))).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_over_before_it_was_first_asked_for_begins_then() {
        let mut alarm = pin!(Alarm { sleep: sleep(PERIOD), set: false, period: PERIOD });
        tokio::time::advance(PERIOD * 3).await;
        assert_eq!(looks(&mut alarm).await, 0);
        // It wakes whoever waits for it, each time.
        for _ in 0..3 {
            let begun = Instant::now();
            let passed = poll_fn(|cx| match alarm.as_mut().poll_passed(cx) {
                0 => Poll::Pending,
                passed => Poll::Ready(passed),
            });
            assert_eq!((passed.await, begun.elapsed()), (1, PERIOD));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_asked_for_when_a_turn_is_used_up_is_set_all_the_same() {
        let mut alarm = pin!(Alarm { sleep: sleep(PERIOD), set: false, period: PERIOD });
        let begun = Instant::now();
        let mut first = true;
        poll_fn(|cx| {
            if std::mem::take(&mut first) {
                while tokio::task::coop::poll_proceed(cx).map(|turn| turn.made_progress()).is_ready() {}
            }
            match alarm.as_mut().poll_passed(cx) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        assert_eq!(begun.elapsed(), PERIOD);
    }
}
