//! One connection: reads what has come, lets the streams that can go on do so, sends what they said.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::{Exchange, begin};
use super::flood::{Counted, Seen};
use super::idle::{Idle, IdleFor};
use super::late::Late;
use super::patience::Unread;
use super::pressure::Pressure;
use super::sending::SEND_BUFFER;
use super::streams::Streams;
use super::wake::Turn;
use crate::net::drain::Latch;
use crate::net::{ConnectionFault, DownstreamSpec, Handler};
use crate::wire::body::Haste;
use crate::wire::gather::Gather;

/// Streams taken up before those that can go on do so.
const ACCEPTED_AT_ONCE: usize = 128;
/// How often in one turn of the task reading, streams and writing may set each other going. Then
/// what was said is sent, and others have their turn.
const ROUNDS: usize = 8;

/// HTTP/2 with the limits of a listener.
pub(in crate::net) struct Http2 {
    builder: Builder,
    spec: Rc<DownstreamSpec>,
}

impl Http2 {
    /// The limits of `spec`.
    pub(in crate::net) fn new(spec: &Rc<DownstreamSpec>) -> Self {
        let mut builder = Builder::new();
        builder
            .initial_window_size(spec.h2_stream_window)
            .initial_connection_window_size(spec.h2_connection_window)
            .max_concurrent_streams(spec.h2_max_streams)
            .max_header_list_size(u32::try_from(spec.header_bytes).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(spec.h2_pending_resets)
            .max_local_error_reset_streams(Some(spec.h2_local_resets));
        Self { builder, spec: spec.clone() }
    }

    /// Serves a connection until it ends; `failed` is told of streams that ended for a reason worth
    /// counting. When the latch fires the client gets a GOAWAY (RFC 9113
    /// section 6.8), and the connection closes after the streams it has. The task must be
    /// subscribed to the latch.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault::ClientLeft`] when the byte stream fails, [`ConnectionFault::Protocol`]
    /// when either side broke off over a mistake, [`ConnectionFault::Flood`] and
    /// [`ConnectionFault::Idle`] when a client sends too much of nothing, or nothing for too long,
    /// [`ConnectionFault::HeaderTimeout`] when it does not finish a head, or does not begin,
    /// [`ConnectionFault::SendTimeout`] when it takes nothing of what lies ready for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection, and with it the future of every stream.
    pub(in crate::net) async fn serve<T, H>(
        &self,
        io: T,
        handler: H,
        latch: &Latch,
        failed: &dyn Fn(ConnectionFault),
    ) -> Result<(), ConnectionFault>
    where
        T: AsyncRead + AsyncWrite + Unpin,
        H: Handler,
    {
        let pressure = Pressure::new(Haste::least(self.spec.body_rate));
        let (io, seen) = Counted::new(io, &self.spec, Rc::clone(&pressure));
        let io = Gather::new(io);
        let mut handshake = self.builder.handshake::<_, Bytes>(io.handle());
        let greeted = poll_fn(|cx| {
            loop {
                io.woken();
                let greeted = Pin::new(&mut handshake).poll(cx);
                if !io.push(cx) || greeted.is_ready() {
                    return greeted;
                }
            }
        });
        let connection = greeted.await.map_err(|error| fault_of(&error))?;
        let turn = Arc::<Turn>::default();
        turn.set_connection();
        let send_timeout = self.spec.send_timeout;
        let start = |request: http::Request<_>, respond| {
            let (request, opened) = begin(request, respond, send_timeout, Rc::clone(&pressure));
            Exchange::new(opened, handler.handle(request), H::is_in_the_way)
        };
        let streams = Streams::new(Arc::clone(&turn));
        let idle = Idle::new(self.spec.h2_idle_timeout);
        let late = Late::new(self.spec.header_timeout, Rc::clone(&seen.begun));
        let (pressure, told, unread) = (Rc::clone(&pressure), false, Unread::new(send_timeout));
        let mut serving = Serving {
            connection,
            io,
            streams,
            start,
            turn,
            told,
            seen,
            late,
            idle,
            unread,
            pressure,
            failed,
        };
        poll_fn(|cx| {
            let ended = serving.poll(latch, cx);
            serving.report();
            ended
        })
        .await
    }
}

/// A connection that has been greeted.
struct Serving<'a, T, E, S> {
    connection: Connection<Gather<Counted<T>>, Bytes>,
    io: Gather<Counted<T>>,
    streams: Streams<E>,
    start: S,
    turn: Arc<Turn>,
    /// The client knows that the connection is going to end.
    told: bool,
    /// What the client does that `h2` lets pass, and what `h2` does by itself.
    seen: Seen,
    late: Late,
    idle: Idle,
    unread: Unread,
    pressure: Rc<Pressure>,
    failed: &'a dyn Fn(ConnectionFault),
}

impl<T, E, S> Serving<'_, T, E, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    E: Future<Output = ()> + 'static,
    S: Fn(http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> E,
{
    /// One turn of the task.
    fn poll(&mut self, latch: &Latch, task: &mut Context<'_>) -> Poll<Result<(), ConnectionFault>> {
        self.turn.begin(task.waker());
        let waker = self.turn.waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..ROUNDS {
            if self.turn.take_connection()
                && let Poll::Ready(ended) = self.poll_connection(&mut cx)
            {
                return Poll::Ready(ended.map_err(|error| fault_of(&error)));
            }
            if let Some(reason) = self.seen.wrong.get() {
                return Poll::Ready(Err(self.break_off(reason, &mut cx)));
            }
            // After reading, so that what has come counts.
            if self.late.is_late(&mut cx) {
                self.break_off(h2::Reason::NO_ERROR, &mut cx);
                return Poll::Ready(Err(ConnectionFault::HeaderTimeout));
            }
            // After the first poll, so that a request that had arrived is answered and not shut out.
            if latch.fired() && !self.told {
                self.told = true;
                self.connection.graceful_shutdown();
                self.turn.set_connection();
            }
            self.streams.poll_woken();
            if self.is_asleep() {
                match self.idle.poll(!self.streams.is_empty(), &mut cx) {
                    IdleFor::NotLong => {}
                    IdleFor::Long => {
                        self.told = true;
                        self.connection.graceful_shutdown();
                        self.turn.set_connection();
                        continue;
                    }
                    IdleFor::TooLong => return Poll::Ready(Err(ConnectionFault::Idle)),
                }
                if self.io.push(&mut cx) {
                    self.turn.set_connection();
                    continue;
                }
                if self.settle(&mut cx)? {
                    continue;
                }
                self.turn.end();
                if self.is_asleep() {
                    return Poll::Pending;
                }
                self.turn.begin(task.waker());
            }
        }
        if self.io.push(&mut cx) {
            self.turn.set_connection();
        }
        // Others may keep the task at work for ever; nobody is to wait until it rests.
        self.settle(&mut cx)?;
        self.turn.end();
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// What follows from how much the socket took. `true` where streams can go on. An answer may be over for
    /// its stream and lie here all the same, so it is the connection that ends where nothing is taken.
    fn settle(&mut self, cx: &mut Context<'_>) -> Result<bool, ConnectionFault> {
        let is_sent = self.io.is_sent();
        if is_sent && !self.pressure.is_stuck() {
            self.unread.none();
            let go_on = self.pressure.drained();
            if go_on {
                self.streams.wake_all();
            }
            return Ok(go_on);
        }
        let taken = if is_sent { self.pressure.sent() } else { self.pressure.progress() };
        match self.unread.is_over(taken, cx) {
            true => Err(ConnectionFault::SendTimeout),
            false => Ok(false),
        }
    }

    /// Tells of streams that have failed since it was last called.
    fn report(&mut self) {
        for _ in 0..self.streams.take_panicked() {
            (self.failed)(ConnectionFault::Panicked);
        }
        for _ in 0..self.pressure.take_given_up() {
            (self.failed)(ConnectionFault::SendTimeout);
        }
        for _ in 0..self.seen.refused.take() {
            (self.failed)(ConnectionFault::StreamRefused);
        }
    }

    /// Ends the connection at once, and tells the client.
    fn break_off(&mut self, reason: h2::Reason, cx: &mut Context<'_>) -> ConnectionFault {
        self.connection.abrupt_shutdown(reason);
        let _ = self.connection.poll_accept(cx);
        self.io.push(cx);
        match reason {
            h2::Reason::ENHANCE_YOUR_CALM => ConnectionFault::Flood,
            _ => ConnectionFault::Protocol,
        }
    }

    /// Moves frames, and takes up the streams that were opened.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.io.woken();
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.connection.poll_accept(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.idle.used();
                    self.streams.start((self.start)(request, respond));
                }
            }
        }
        self.turn.set_connection();
        Poll::Pending
    }

    fn is_asleep(&self) -> bool {
        !self.turn.has_connection() && self.streams.are_asleep()
    }
}

/// Why `h2` gave up on a connection: a flood, a broken frame and a wrong order are the client's
/// mistakes, and so is what the client takes for one of ours.
fn fault_of(error: &h2::Error) -> ConnectionFault {
    if error.is_io() { ConnectionFault::ClientLeft } else { ConnectionFault::Protocol }
}
