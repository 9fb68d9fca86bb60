//! HTTP/2: few connections, each with many streams in flight.
//!
//! A connection is filled before the next is opened, because frames of many streams in one write
//! are what makes HTTP/2 cheap. Connections are opened by a task of the pool's own, not by a
//! request, so that any number of requests can wait for one and none of them can take it along
//! when it is dropped.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::{Instant, timeout};

use super::queue::Queue;
use super::stats::count;
use super::{ByHttp2, Held, Pool, SendError, yields};
use crate::base::{Fault, FaultKind};
use crate::upstream::answer::Answer;
use crate::upstream::connect::{Wire, connect};
use crate::upstream::http2::{Activity, Driver, Exchange, Failure, Stream, Streams, handshake};
use crate::upstream::io::Io;
use crate::upstream::slot::Slot;
use crate::upstream::{Protocol, failure, form};
use crate::wire::splice::Spliced;

/// The HTTP/2 connections of a pool.
pub(super) struct Http2<B> {
    connections: RefCell<Vec<Rc<Connection<B>>>>,
    waiting: Queue<Grant<B>>,
    connecting: Cell<usize>,
    /// Why the last attempt brought no connection, and when that was; `None` once one did.
    failure: RefCell<Option<(Instant, Fault)>>,
    spoken: Cell<Spoken>,
}

/// Whether the upstream speaks HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Unknown,
    Yes,
    /// It chose HTTP/1.1 by ALPN, or answered in HTTP/1.1 when it was spoken to in HTTP/2.
    No,
}

/// One connection.
pub(super) struct Connection<B> {
    sender: SendRequest<Bytes>,
    pool: Weak<Pool<B>>,
    activity: Rc<Activity>,
    /// Streams we use: one until the peer has told its limit, which it does at once, because more
    /// could be refused; then its limit, or ours where that is lower. None while it has to show that
    /// it speaks HTTP/2 at all.
    limit: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// Room for one request on a connection.
struct Lease<B> {
    connection: Rc<Connection<B>>,
    sender: SendRequest<Bytes>,
    stream: Stream,
}

/// A connection on its way, until the peer's limit is known. Dropping it ends the wait.
struct Opening<B>(Weak<Pool<B>>);

impl<B> Drop for Opening<B> {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.http2.connecting.set(pool.http2.connecting.get().saturating_sub(1));
        }
    }
}

/// What a waiting request is given.
enum Grant<B> {
    Stream(Lease<B>),
    Http1,
    Failed(Fault),
}

impl<B> Default for Http2<B> {
    fn default() -> Self {
        Self {
            connections: RefCell::default(),
            waiting: Queue::default(),
            connecting: Cell::new(0),
            failure: RefCell::new(None),
            spoken: Cell::new(Spoken::Unknown),
        }
    }
}

impl<B> Http2<B> {
    pub(super) fn is_not_spoken(&self) -> bool {
        self.spoken.get() == Spoken::No
    }

    /// Closes a connection without a stream, unless somebody waits who is about to have one there.
    pub(super) fn close_an_idle_one(&self) {
        if self.is_awaited() {
            return;
        }
        let mut connections = self.connections.borrow_mut();
        if let Some(position) =
            connections.iter().position(|connection| connection.activity.in_flight.get() == 0)
        {
            connections.swap_remove(position);
        }
    }

    /// Drops connections without a stream for `limit`; returns how many stay.
    pub(super) fn close_idle(&self, limit: Duration) -> usize {
        let now = Instant::now();
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            connection.activity.in_flight.get() > 0 || now.duration_since(connection.idle_since.get()) < limit
        });
        connections.len()
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.is_awaited()
    }

    /// Whether somebody still waits for whose sake others have to go.
    pub(super) fn is_pressing(&self) -> bool {
        self.waiting.is_pressing()
    }

    fn forget(&self, connection: &Rc<Connection<B>>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
    }

    /// Whether a connection may yet have room. Those that say goodbye are forgotten: they never will,
    /// however long their last streams last.
    fn may_have_room(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| ready(&mut connection.sender.clone()).is_ok());
        !connections.is_empty()
    }

    /// Why an attempt failed that ended at `since` or later, unless another went well.
    fn failed_since(&self, since: Instant) -> Option<Fault> {
        let failure = self.failure.borrow();
        failure.as_ref().filter(|(at, _)| *at >= since).map(|(_, fault)| fault.clone())
    }
}

impl<B> Pool<B>
where
    B: Spliced + 'static,
{
    pub(super) async fn send_http2(&self, held: &mut Held<B>) -> ByHttp2<B> {
        let mut retried = false;
        loop {
            let mut lease = match self.lease() {
                Some(lease) => {
                    count(&self.counters.reused);
                    lease
                }
                None => match Box::pin(self.wait_http2(yields(held))).await {
                    Grant::Stream(lease) => lease,
                    Grant::Http1 if held.as_ref().is_some_and(|request| self.is_bare_call(request)) => {
                        let detail =
                            format!("{} speaks HTTP/1.1 only, and a gRPC call takes HTTP/2", self.target);
                        return failed(Fault::new(FaultKind::UpstreamProtocol, detail), held);
                    }
                    Grant::Http1 => return None,
                    Grant::Failed(fault) => return failed(fault, held),
                },
            };
            if let Some(request) = held
                && !retried
                && let Err(fault) = form::http2(request, &self.target, &self.last_authority)
            {
                return failed(fault, held);
            }
            if let Err(error) = ready(&mut lease.sender) {
                // The connection is closing; the next request need not find that out again.
                self.http2.forget(&lease.connection);
                if retried {
                    return failed(failure::before_answer_http2(&self.target, &error, false), held);
                }
            } else {
                let Some(request) = held.take() else { return Some(Err(SendError::lost())) };
                let mut exchange = match Exchange::start(&mut lease.sender, lease.stream, request) {
                    Ok(exchange) => exchange,
                    Err(fault) => return failed(fault, held),
                };
                match poll_fn(|cx| exchange.poll(&self.target, cx)).await {
                    Ok(response) => return Some(Ok(exchange.answer(response).map(Answer::from))),
                    Err(Failure::Fault(fault)) => return failed(fault, held),
                    Err(Failure::Refused(fault)) => {
                        *held = exchange.give_back();
                        if held.is_none() || retried {
                            return failed(fault, held);
                        }
                    }
                }
            }
            retried = true;
            count(&self.counters.retried);
        }
    }

    /// Room on the first connection that has some.
    fn lease(&self) -> Option<Lease<B>> {
        loop {
            let found = self.http2.connections.borrow().iter().find_map(Connection::lease)?;
            match found {
                Ok(lease) => return Some(lease),
                // The next request need not find that out again.
                Err(closing) => self.http2.forget(&closing),
            }
        }
    }

    async fn wait_http2(&self, yields: bool) -> Grant<B> {
        let Some(granted) = self.http2.waiting.join(yields) else {
            return Grant::Failed(self.overloaded());
        };
        if !self.dial_http2_as_needed() {
            count(&self.counters.waits);
            self.make_room();
        }
        let (limit, since) = (self.target.spec().connect_timeout, Instant::now());
        if let Ok(Ok(grant)) = timeout(limit, granted).await {
            return grant;
        }
        match self.http2.failed_since(since) {
            Some(fault) => Grant::Failed(fault),
            None if self.http2.connecting.get() > 0 => {
                let detail = format!("{} did not accept a connection within {limit:?}", self.target);
                Grant::Failed(Fault::new(FaultKind::ConnectTimeout, detail))
            }
            None => Grant::Failed(self.overloaded()),
        }
    }

    /// Opens as many connections as those that wait can fill; `false` when the limit forbids it.
    pub(super) fn dial_http2_as_needed(&self) -> bool {
        let per_connection = self.target.spec().h2_streams_per_connection.max(1);
        loop {
            let connecting = self.http2.connecting.get();
            if !self.http2.waiting.has_more_than(connecting.saturating_mul(per_connection)) {
                return true;
            }
            let Some(slot) = self.take_slot() else { return false };
            self.http2.connecting.set(connecting + 1);
            let opening = Opening(self.me.clone());
            let (pool, target) = (self.me.clone(), self.target.clone());
            tokio::task::spawn_local(async move {
                let connected = connect(&target, Wire::Http2).await;
                if let Some(pool) = pool.upgrade() {
                    pool.http2_connected(connected, slot, opening).await;
                }
            });
        }
    }

    async fn http2_connected(&self, connected: Result<(Io, Wire), Fault>, slot: Slot, opening: Opening<B>) {
        let fault = match connected {
            Ok((io, Wire::Http2)) => {
                let activity = Rc::<Activity>::default();
                let spec = self.target.spec();
                let (limit, streams) = (spec.max_header_bytes, spec.h2_streams_per_connection);
                match handshake(io, limit, streams, Rc::clone(&activity)).await {
                    Ok((sender, driver)) => return self.drive_http2(sender, driver, activity, slot, opening),
                    Err(error) => failure::before_answer_http2(&self.target, &error, false),
                }
            }
            Ok((io, Wire::Http1)) => {
                self.keep_http1(self.http1_connection(io, slot));
                drop(opening);
                self.turn_to_http1();
                return;
            }
            Err(fault) => fault,
        };
        count(&self.counters.connect_failures);
        drop(opening);
        self.fail_waiting_http2(fault);
        slot.give_back_unused();
    }

    /// The upstream speaks HTTP/1.1: those that wait go that way.
    fn turn_to_http1(&self) {
        self.http2.spoken.set(Spoken::No);
        while let Some(waiting) = self.http2.waiting.next() {
            let _ = waiting.send(Grant::Http1);
        }
    }

    /// Whether nobody knows yet what the upstream speaks, and TLS does not tell. Most model servers
    /// speak HTTP/1.1 only where there is no TLS, whatever their clients' clients speak.
    fn must_ask(&self) -> bool {
        let spec = self.target.spec();
        let is_told = spec.tls.is_some() || spec.protocol != Protocol::Auto;
        !is_told && self.http2.spoken.get() != Spoken::Yes
    }

    /// Tells those that wait, unless others may still bring what they wait for.
    fn fail_waiting_http2(&self, fault: Fault) {
        if self.http2.connecting.get() == 0 && !self.http2.may_have_room() {
            while let Some(waiting) = self.http2.waiting.next() {
                let _ = waiting.send(Grant::Failed(fault.clone()));
            }
        }
        *self.http2.failure.borrow_mut() = Some((Instant::now(), fault));
    }

    fn drive_http2(
        &self,
        sender: SendRequest<Bytes>,
        mut driver: Driver,
        activity: Rc<Activity>,
        slot: Slot,
        opening: Opening<B>,
    ) {
        count(&self.counters.opened);
        let asked = self.must_ask();
        let connection = Rc::new(Connection {
            sender,
            pool: self.me.clone(),
            activity,
            limit: Cell::new(if asked { 0 } else { 1 }),
            idle_since: Cell::new(Instant::now()),
        });
        self.http2.connections.borrow_mut().push(Rc::clone(&connection));

        let (pool, connection) = (self.me.clone(), Rc::downgrade(&connection));
        tokio::task::spawn_local(async move {
            let (mut opening, mut known) = (Some(opening), None);
            let ended = poll_fn(|cx| {
                let ended = driver.poll(cx);
                let limit = driver.peer_limit();
                if limit != known
                    && let (Some(limit), Some(connection)) = (limit, connection.upgrade())
                {
                    connection.learn(limit, &mut opening);
                }
                known = limit;
                ended
            });
            let ended = ended.await;
            // Its streams are told before others take their room.
            drop(driver);
            if let Err(error) = &ended {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
            if let Some(pool) = pool.upgrade() {
                if let Some(connection) = connection.upgrade() {
                    pool.http2.forget(&connection);
                }
                if asked && known.is_none() && ended.as_ref().is_err_and(failure::is_other_protocol) {
                    drop(opening.take());
                    pool.turn_to_http1();
                } else if opening.take().is_some() {
                    let error = ended.err().unwrap_or_else(|| h2::Reason::NO_ERROR.into());
                    pool.fail_waiting_http2(failure::before_answer_http2(&pool.target, &error, false));
                    return slot.give_back_unused();
                }
            }
            drop(slot);
        });
        self.serve_waiting_http2();
        self.watch_idle();
    }

    /// Gives room to those that wait, then opens connections for those that still do.
    fn serve_waiting_http2(&self) {
        while !self.http2.waiting.is_empty() {
            let Some(lease) = self.lease() else { break };
            let Some(waiting) = self.http2.waiting.next() else { break };
            let _ = waiting.send(Grant::Stream(lease));
        }
        self.dial_http2_as_needed();
    }
}

impl<B> Connection<B>
where
    B: Spliced + 'static,
{
    /// Room for one stream; the connection itself where it takes none ever again.
    fn lease(self: &Rc<Self>) -> Option<Result<Lease<B>, Rc<Self>>> {
        if self.activity.in_flight.get() >= self.limit.get() {
            return None;
        }
        let mut sender = self.sender.clone();
        if ready(&mut sender).is_err() {
            return Some(Err(Rc::clone(self)));
        }
        let stream = Stream::new(Rc::clone(self) as Rc<dyn Streams>);
        Some(Ok(Lease { connection: Rc::clone(self), sender, stream }))
    }

    /// Takes note of the streams that the peer allows.
    fn learn(&self, peer: usize, opening: &mut Option<Opening<B>>) {
        let Some(pool) = self.pool.upgrade() else { return };
        pool.http2.spoken.set(Spoken::Yes);
        // A peer that allows none now may allow some later; one request waits for that.
        let limit = pool.target.spec().h2_streams_per_connection.min(peer).max(1);
        let more = self.limit.replace(limit) < limit;
        let opened = opening.take().is_some();
        if opened {
            *pool.http2.failure.borrow_mut() = None;
        }
        if opened || more {
            pool.serve_waiting_http2();
        }
    }
}

impl<B> Streams for Connection<B>
where
    B: Spliced + 'static,
{
    fn activity(&self) -> &Activity {
        &self.activity
    }

    fn stream_ended(&self) {
        if self.activity.in_flight.get() == 0 {
            self.idle_since.set(Instant::now());
        }
        let Some(pool) = self.pool.upgrade() else { return };
        if !pool.http2.waiting.is_empty() {
            pool.serve_waiting_http2();
        }
        if self.activity.in_flight.get() == 0 && pool.is_full() && pool.http1.is_awaited() {
            // Whoever waits speaks HTTP/1.1, and needs a slot.
            pool.http2.close_an_idle_one();
        }
    }
}

fn failed<B>(fault: Fault, held: &mut Held<B>) -> ByHttp2<B> {
    Some(Err(SendError::new(fault, held.take())))
}

/// Whether a request can be sent now. It can, or it never can again: a sender that has not sent
/// waits for nothing, so nobody needs to be woken.
fn ready(sender: &mut SendRequest<Bytes>) -> Result<(), h2::Error> {
    match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => Ok(()),
    }
}
