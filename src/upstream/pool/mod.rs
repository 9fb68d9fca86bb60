//! One worker's connections to one upstream.
//!
//! Open this file for what a pool is and how a request goes through it; `http1` and `http2` hold
//! what each version needs, `upgrade` what leaves HTTP, `stats` the counts. Everything is `Rc` and `Cell`: a pool lives on one
//! thread, in a `tokio::task::LocalSet`, so the hot path has no lock and wakes no other core.
//!
//! Limits: `max_connections` open at once, `max_idle` kept idle, so many waiting in each [`queue`].

mod http1;
mod http2;
mod queue;
mod stats;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Version};
use tokio::task::AbortHandle;

pub use self::queue::Yields;
pub use self::stats::PoolStats;

use self::http1::Http1;
use self::http2::Http2;
use self::stats::Counters;
use super::form::LastAuthority;
use super::http1::{Connection, Home};
use super::slot::{Slot, Slots};
use super::{Answer, Protocol, Target};
use crate::base::{Fault, FaultKind};
use crate::wire::grpc::is_grpc;
use crate::wire::splice::Spliced;

/// One worker's connections to one upstream. `!Send`: it lives and dies on its worker's thread.
/// Dropping it closes what is idle; answers under way are finished, then their connections close.
pub struct Pool<B> {
    me: Weak<Self>,
    target: Arc<Target>,
    open: Cell<usize>,
    counters: Counters,
    http1: Http1,
    http2: Http2<B>,
    last_authority: LastAuthority,
    reaper: RefCell<Option<AbortHandle>>,
}

/// Why a request got no answer.
pub struct SendError<B> {
    /// What went wrong.
    pub fault: Fault,
    /// The request itself when the upstream did not get it; the caller may send it elsewhere. Its
    /// version, URI and `Host` are in the form this upstream needed, which every pool understands.
    pub unsent: Option<Request<B>>,
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsent = self.unsent.is_some();
        f.debug_struct("SendError").field("fault", &self.fault).field("unsent", &unsent).finish()
    }
}

impl<B> SendError<B> {
    fn new(fault: Fault, request: Held<B>) -> Self {
        Self { fault, unsent: request }
    }

    /// Never seen: a request only leaves its place when it is answered or given back.
    fn lost() -> Self {
        Self { fault: Fault::new(FaultKind::Internal, "the request is gone"), unsent: None }
    }
}

/// A request on its way; `None` while a connection has it, or once it is answered.
type Held<B> = Option<Request<B>>;

/// Whether nobody has to go for its sake: see [`Yields`].
fn yields<B>(held: &Held<B>) -> bool {
    held.as_ref().is_some_and(|request| request.extensions().get::<Yields>().is_some())
}

/// What came of sending by HTTP/2; `None` when the upstream chose HTTP/1.1.
type ByHttp2<B> = Option<Result<Response<Answer>, SendError<B>>>;

impl<B> Pool<B>
where
    B: Spliced + 'static,
{
    /// An empty pool; it connects when the first request comes.
    pub fn new(target: Arc<Target>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            target,
            open: Cell::new(0),
            counters: Counters::default(),
            http1: Http1::default(),
            http2: Http2::default(),
            last_authority: LastAuthority::default(),
            reaper: RefCell::new(None),
        })
    }

    /// The upstream this pool connects to.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Counts since the pool was made.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            opened: self.counters.opened.get(),
            open: self.open.get(),
            idle: self.http1.idle_count(),
            reused: self.counters.reused.get(),
            retried: self.counters.retried.get(),
            connect_failures: self.counters.connect_failures.get(),
            waits: self.counters.waits.get(),
        }
    }

    /// Sends `request` and returns the head of the answer, with the body to come.
    ///
    /// The request is brought into the form that the connection's version needs. One that never
    /// left, because the connection it was given to was dead or closing, is sent once more on
    /// another connection; one that may have been seen by the upstream is never repeated.
    ///
    /// A 101 answer carries hyper's `OnUpgrade` in its extensions and takes its connection out of
    /// the pool. There is no limit on the time the upstream takes to answer: that is the caller's.
    ///
    /// Must be called within a `tokio::task::LocalSet` of the pool's thread.
    ///
    /// # Errors
    /// - the request body's own fault, when that is what failed;
    /// - `ConnectFailed`, `ConnectTimeout`, `Exhausted`: no connection could be established;
    /// - `Overloaded`: no connection became free within `connect_timeout`, or too many wait;
    /// - `UpstreamReset`: closed or reset before an answer; `UpstreamProtocol`: no valid answer;
    /// - `NotImplemented` for CONNECT, `BadRequest` for a `Host` that is no host.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up: its HTTP/1.1 connection is closed and not reused,
    /// its HTTP/2 stream is reset. Waiting and connecting leave nothing behind.
    pub fn send(
        self: &Rc<Self>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Answer>, SendError<B>>> + use<'_, B> {
        // One place holds the request for the whole future; an `async fn` would hold it in each of
        // its layers.
        let mut request = Some(request);
        async move {
            if request.as_ref().is_some_and(|request| request.method() == Method::CONNECT) {
                let fault = Fault::new(FaultKind::NotImplemented, "CONNECT is not sent to upstreams");
                return Err(SendError::new(fault, request));
            }
            if self.by_http2(&request)
                && let Some(result) = self.send_http2(&mut request).await
            {
                return result;
            }
            self.send_http1(&mut request).await
        }
    }

    /// Whether a request waits because there are as many connections as there may be, and they are full.
    /// Copies for shadows do not count: nobody has to go for them.
    pub fn is_crowded(&self) -> bool {
        self.is_full() && (self.http1.is_pressing() || self.http2.is_pressing())
    }

    /// Whether there are as many connections as there may be.
    fn is_full(&self) -> bool {
        self.open.get() >= self.target.spec().max_connections
    }

    fn by_http2(&self, request: &Held<B>) -> bool {
        match self.target.spec().protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Auto => {
                let Some(request) = request.as_ref().filter(|r| r.version() == Version::HTTP_2) else {
                    return false;
                };
                !self.http2.is_not_spoken() || self.is_bare_call(request)
            }
        }
    }

    /// Whether it is a gRPC call without TLS, which is no call by HTTP/1.1, whatever was last found
    /// to be spoken there.
    fn is_bare_call(&self, request: &Request<B>) -> bool {
        self.target.spec().tls.is_none() && is_grpc(request.headers())
    }

    /// Leave to open a connection, unless the limit is reached.
    fn take_slot(&self) -> Option<Slot> {
        let open = self.open.get();
        (open < self.target.spec().max_connections).then(|| {
            self.open.set(open + 1);
            Slot::new(self.me.clone())
        })
    }

    /// Closes a connection that nobody uses, so that its slot comes free.
    fn make_room(&self) {
        if !self.http1.close_oldest() {
            self.http2.close_an_idle_one();
        }
    }

    /// Sees to it that idle connections are closed in time: one task per pool, alive only while
    /// something is idle or of HTTP/2.
    fn watch_idle(&self) {
        let mut reaper = self.reaper.borrow_mut();
        if reaper.is_some() {
            return;
        }
        let pool = self.me.clone();
        let limit = self.target.spec().idle_timeout;
        let period = (limit / 2).clamp(Duration::from_millis(10), Duration::from_secs(30));
        let watch = async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(pool) = pool.upgrade() else { return };
                let left = pool.http1.close_idle(limit) + pool.http2.close_idle(limit);
                if left == 0 {
                    *pool.reaper.borrow_mut() = None;
                    return;
                }
            }
        };
        *reaper = Some(tokio::task::spawn_local(watch).abort_handle());
    }
}

impl<B> Drop for Pool<B> {
    fn drop(&mut self) {
        if let Some(reaper) = self.reaper.get_mut().take() {
            reaper.abort();
        }
    }
}

impl<B> Slots for Pool<B>
where
    B: Spliced + 'static,
{
    fn slot_freed(&self) {
        self.slot_unused();
        self.dial_http2_as_needed();
    }

    fn slot_unused(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        if self.http1.is_awaited() {
            self.http1.grant_slot(|| self.take_slot());
        }
    }
}

impl<B> Home for Pool<B>
where
    B: Spliced + 'static,
{
    fn keep(&self, connection: Box<Connection>) {
        self.keep_http1(connection);
    }
}

#[cfg(test)]
mod tests;
