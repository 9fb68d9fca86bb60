//! The accept loop of one worker and listener: takes connections, owns their tasks, and ends them
//! when told to drain.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::task::coop::unconstrained;
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::drain::{Drain, Latch, Seats, subscribe};
use super::http1::{Http1, ServeHttp1};
use super::http2::Http2;
use super::listener::{Listener, ListeningSocket, SocketFile};
use super::protocol::opening;
use super::tls::{ALPN_H2, ServerTls};
use super::transport::{Rewind, Stream, StreamSocket, Transport};
use super::{ConnectionFault, ConnectionInfo, ConnectionWatch, DownstreamSpec, Handler, Refusal};
use crate::base::Network;

/// How long accepting rests when the process has no descriptors left: retrying at once would only
/// spin, for the connection stays in the queue.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Between two lines about that: it may go on for long, and each is counted anyhow.
const QUIET: Duration = Duration::from_secs(10);

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections, tunnels included, that were still open at the deadline and were cut (tunnels
    /// are left to their owner).
    pub aborted: usize,
}

/// Accepts and serves connections until `drain` starts, then until they have ended or its deadline
/// has passed. Every task it spawns ends before it returns. Must run inside a `LocalSet`.
///
/// `make` gives each connection its [`Handler`], once its protocol is known; `watch` is told of
/// connections. `spec.max_connections` counts this listener's connections on this worker.
///
/// # Errors
///
/// When the runtime cannot take the socket over. Errors of accepting are counted and survived.
///
/// # Cancel safety
///
/// Dropping the future aborts every connection.
pub async fn serve<H, M, W>(
    listener: Listener,
    spec: Rc<DownstreamSpec>,
    mut drain: Drain,
    make: M,
    watch: W,
) -> io::Result<Drained>
where
    H: Handler,
    M: Fn(&ConnectionInfo) -> H + 'static,
    W: ConnectionWatch,
{
    let socket = AcceptSocket::of(listener.socket)?;
    let gate = Rc::new(Gate {
        http2: Http2::new(&spec),
        http1: Http1::new(&spec, |handler: &H, request| handler.handle(request)),
        spec,
        listener: Rc::from(&*listener.name),
        allow_pin: listener.allow_pin,
        trusted_peers: listener.trusted_peers,
        handshakes: Cell::new(0),
        tls: listener.tls,
        latch: Latch::default(),
        seats: Arc::default(),
        make,
        watch,
    });
    let mut tasks = JoinSet::new();
    let logged = Cell::new(None);
    let deadline = loop {
        tokio::select! {
            biased;
            deadline = drain.started() => break deadline,
            Some(ended) = tasks.join_next() => gate.reaped(ended),
            (accepted, peer) = next_connection(&socket, &gate.watch, &logged) => {
                gate.admit(accepted, peer, &mut tasks);
            }
        }
    };

    // Clients in the kernel's queue believe themselves connected: serve them, then close the door.
    // The yield lets the runtime ask the system once more who is there.
    yield_now().await;
    while let Some(Ok((accepted, peer))) = socket.accept_ready().await {
        gate.admit(accepted, peer, &mut tasks);
    }
    drop(socket);
    gate.latch.fire();

    let mut cut = pin!(sleep_until(deadline));
    let mut aborted = 0;
    loop {
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => gate.reaped(ended),
            () = gate.seats.all_free(), if tasks.is_empty() => break,
            earlier = drain.moved() => cut.as_mut().reset(earlier),
            () = &mut cut => {
                aborted = gate.seats.taken();
                break;
            }
        }
    }
    tasks.shutdown().await;
    Ok(Drained { aborted })
}

/// What the connections of one listener and worker share.
struct Gate<M, W, S> {
    http2: Http2,
    http1: S,
    spec: Rc<DownstreamSpec>,
    listener: Rc<str>,
    allow_pin: bool,
    trusted_peers: Option<Arc<[Network]>>,
    handshakes: Cell<usize>,
    tls: Option<Arc<ServerTls>>,
    latch: Latch,
    seats: Arc<Seats>,
    make: M,
    watch: W,
}

impl<H, M, W, S> Gate<M, W, S>
where
    H: Handler,
    M: Fn(&ConnectionInfo) -> H + 'static,
    W: ConnectionWatch,
    S: ServeHttp1<H> + 'static,
{
    /// Starts the task of an accepted connection, or closes it at once when too many are open.
    fn admit(self: &Rc<Self>, socket: StreamSocket, peer: Option<SocketAddr>, tasks: &mut JoinSet<()>) {
        if !self.watch.may_open() {
            return self.watch.refused(Refusal::OutOfMemory);
        }
        match self.seats.take(self.spec.max_connections) {
            Some(seat) => {
                let stream = Stream { socket, _seat: seat };
                self.watch.opened();
                tasks.spawn_local(Rc::clone(self).connection(stream, peer, Closed(Rc::clone(self))));
            }
            None => self.watch.refused(Refusal::TooManyConnections),
        }
    }

    /// The life of one connection.
    async fn connection(self: Rc<Self>, stream: Stream, peer: Option<SocketAddr>, closed: Closed<M, W, S>) {
        let mut place = pin!(self.latch.place());
        subscribe(place.as_mut()).await;
        if let Err(fault) = self.converse(stream, peer).await {
            self.watch.failed(fault);
        }
        drop(closed);
    }

    async fn converse(&self, stream: Stream, peer: Option<SocketAddr>) -> Result<(), ConnectionFault> {
        let (mut transport, agreed) = match &self.tls {
            None => (Transport::Plain(stream), None),
            // Boxed, like the codecs below: a connection's task is only as large as what it is doing.
            Some(tls) => {
                let _one = Handshaking::begin(&self.handshakes, self.spec.max_handshakes)?;
                Box::pin(handshake(tls, stream, self.spec.handshake_timeout)).await?
            }
        };
        let limit = self.spec.first_byte_timeout;
        let Some(opening) = opening(&mut transport, agreed, limit, &self.latch).await? else {
            return Ok(());
        };
        let address = peer.map(|peer| peer.ip());
        let trusted = self.trusted_peers.as_ref().map(|all| all.iter().any(|one| one.has(address)));
        let handler = (self.make)(&ConnectionInfo {
            listener: Rc::clone(&self.listener),
            peer,
            allow_pin: self.allow_pin && trusted.unwrap_or(true),
            trusted: trusted.unwrap_or(false),
            tls: self.tls.is_some(),
            http2: opening.http2,
        });
        if opening.http2 {
            let io = Rewind::new(opening.bytes, transport);
            let failed = |fault| self.watch.failed(fault);
            Box::pin(self.http2.serve(io, handler, &self.latch, &failed)).await
        } else {
            Box::pin(self.http1.serve(transport, opening.bytes, handler, &self.latch)).await
        }
    }
}

impl<M, W, S> Gate<M, W, S> {
    /// A connection's task has ended. Its panic ended it alone; the hook has written where.
    fn reaped(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(listener = &*self.listener, %error, "a connection's task panicked; this is a bug");
        }
    }
}

/// A TLS handshake under way.
struct Handshaking<'a>(&'a Cell<usize>);

impl<'a> Handshaking<'a> {
    fn begin(under_way: &'a Cell<usize>, limit: usize) -> Result<Self, ConnectionFault> {
        if under_way.get() >= limit {
            return Err(ConnectionFault::TooManyHandshakes);
        }
        under_way.set(under_way.get() + 1);
        Ok(Self(under_way))
    }
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Says that a connection is over, in whatever way its task ends.
struct Closed<M, W: ConnectionWatch, S>(Rc<Gate<M, W, S>>);

impl<M, W: ConnectionWatch, S> Drop for Closed<M, W, S> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.watch.failed(ConnectionFault::Panicked);
        }
        self.0.watch.closed();
    }
}

/// Shakes hands within `limit`; also gives what ALPN agreed on: HTTP/2 or not. A client that does not
/// speak ALPN gets HTTP/1.1 (RFC 9113 section 3.2 asks for ALPN).
async fn handshake(
    tls: &ServerTls,
    stream: Stream,
    limit: Duration,
) -> Result<(Transport, Option<bool>), ConnectionFault> {
    match timeout(limit, tls.shake_hands(stream)).await {
        Err(_) => Err(ConnectionFault::HandshakeTimeout),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            Err(ConnectionFault::Handshake)
        }
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let http2 = session.alpn_protocol() == Some(ALPN_H2);
            Ok((Transport::Tls(Box::new(stream)), Some(http2)))
        }
    }
}

// === accepting ===

/// The next connection. Errors are counted and survived; `logged` is when one was last written down.
///
/// # Cancel safety
///
/// Cancel safe; a rest that is cut short is no harm, for what cuts it is a connection's end, which
/// frees a descriptor.
async fn next_connection(
    socket: &AcceptSocket,
    watch: &impl ConnectionWatch,
    logged: &Cell<Option<Instant>>,
) -> (StreamSocket, Option<SocketAddr>) {
    loop {
        let error = match poll_fn(|cx| socket.poll_accept(cx)).await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        match trouble_of(&error) {
            AcceptTrouble::ThatConnection => {}
            AcceptTrouble::Ours(why) => {
                watch.refused(why);
                let now = Instant::now();
                if logged.get().is_none_or(|last| now.duration_since(last) >= QUIET) {
                    logged.set(Some(now));
                    tracing::warn!(%error, "accepting rests for a moment, again and again while this lasts");
                }
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Whom an error of `accept` concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AcceptTrouble {
    /// The connection that would have come, which is gone: take the next.
    ThatConnection,
    /// This process or machine: rest before the next.
    Ours(Refusal),
}

/// Sorts an error of `accept(2)`, which also passes on errors of the new connection's network.
fn trouble_of(error: &io::Error) -> AcceptTrouble {
    // The same numbers on every Unix; std has no kinds for them.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    // Linux's number.
    const ENOBUFS: i32 = 105;
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::Interrupted
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown => AcceptTrouble::ThatConnection,
        io::ErrorKind::OutOfMemory => AcceptTrouble::Ours(Refusal::OutOfResources),
        _ if matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS)) => {
            AcceptTrouble::Ours(Refusal::OutOfResources)
        }
        _ => AcceptTrouble::Ours(Refusal::AcceptFailed),
    }
}

/// A listening socket in the worker's runtime. A Unix socket's file goes with the last worker's.
enum AcceptSocket {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "held for its drop")] Arc<SocketFile>),
}

impl AcceptSocket {
    fn of(socket: ListeningSocket) -> io::Result<Self> {
        match socket {
            ListeningSocket::Tcp(socket) => TcpListener::from_std(socket).map(Self::Tcp),
            ListeningSocket::Unix(socket, file) => Ok(Self::Unix(UnixListener::from_std(socket)?, file)),
        }
    }

    fn poll_accept(
        &self,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<(StreamSocket, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, peer)| {
                (StreamSocket::Tcp(stream), Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())))
            }),
            Self::Unix(socket, _) => {
                socket.poll_accept(cx).map_ok(|(stream, _)| (StreamSocket::Unix(stream), None))
            }
        }
    }

    /// A connection that is in the queue already.
    async fn accept_ready(&self) -> Option<io::Result<(StreamSocket, Option<SocketAddr>)>> {
        let mut attempt = pin!(unconstrained(poll_fn(|cx| self.poll_accept(cx))));
        poll_fn(|cx| match attempt.as_mut().poll(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

#[cfg(test)]
mod tests;
