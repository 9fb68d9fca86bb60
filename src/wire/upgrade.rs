//! Connections that stop speaking HTTP (RFC 9110 section 7.8): WebSocket and the like.
//!
//! After a `101` on both sides the proxy only carries bytes. The client's connection is handed out
//! by our own HTTP/1.1 codec through an [`Offer`], the server's by hyper's client; both once the head
//! of the `101` has passed, and until then [`join`] waits for them.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::base::{Fault, FaultKind};

/// Bytes buffered for each direction.
const BUFFER: usize = 16 * 1024;

/// A byte stream that was a connection of HTTP.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that has stopped speaking HTTP. What was read of it together with HTTP comes first.
pub struct Upgraded {
    ahead: Bytes,
    stream: Box<dyn Stream>,
}

impl Upgraded {
    /// `ahead` before everything that `stream` still gives.
    pub fn new(ahead: Bytes, stream: Box<dyn Stream>) -> Self {
        Self { ahead, stream }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("ahead", &self.ahead.len()).finish_non_exhaustive()
    }
}

/// A codec's promise to hand out its connection. Dropped, it is broken.
#[derive(Debug)]
pub struct Offer(oneshot::Sender<Upgraded>);

impl Offer {
    /// Offers the connection of a request: [`Upgrade::take`] finds it in `extensions`.
    pub fn make(extensions: &mut Extensions) -> Self {
        let (offer, taker) = oneshot::channel();
        extensions.insert(Offered(Arc::new(Mutex::new(Some(taker)))));
        Self(offer)
    }

    /// Hands the connection out. Where nobody wants it any more it is closed.
    pub fn keep(self, connection: Upgraded) {
        drop(self.0.send(connection));
    }
}

/// An offer in a request's extensions, which want to be cloned; it is taken once. A lock because
/// they want to be shared as well; nobody ever waits for it.
#[derive(Debug, Clone)]
struct Offered(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// A connection that is going to stop speaking HTTP.
#[derive(Debug)]
pub struct Upgrade(Waiting);

#[derive(Debug)]
enum Waiting {
    Offered(oneshot::Receiver<Upgraded>),
    Hyper(OnUpgrade),
}

impl Upgrade {
    /// Takes the upgrade that a codec left with a request or an answer, if it can be upgraded.
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        if let Some(offered) = extensions.remove::<Offered>() {
            let taken = offered.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            return taken.map(|taker| Self(Waiting::Offered(taker)));
        }
        extensions.remove().map(|upgrade| Self(Waiting::Hyper(upgrade)))
    }

    /// The connection, once the `101` has passed; `None` where it never did.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connection(self) -> Option<Upgraded> {
        match self.0 {
            Waiting::Offered(taker) => taker.await.ok(),
            Waiting::Hyper(upgrade) => {
                let upgraded = upgrade.await.ok()?;
                Some(Upgraded::new(Bytes::new(), Box::new(TokioIo::new(upgraded))))
            }
        }
    }
}

/// What two joined connections carried, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Bytes read from the client.
    pub from_client: u64,
    /// Bytes read from the server.
    pub from_server: u64,
    /// [`FaultKind::Cancelled`] or [`FaultKind::UpstreamReset`] when the client's or the server's
    /// connection failed, [`FaultKind::IdleTimeout`] when nothing passed for too long; `None`
    /// when both sides ended.
    pub fault: Option<Fault>,
}

/// Carries bytes both ways until both sides have ended, one of them fails, or nothing passes for
/// `idle`. A side that ends is passed on as an end of writing, and the other direction goes on.
///
/// # Cancel safety
/// Dropping it closes both connections.
pub async fn join(client: Upgrade, server: Upgrade, idle: Option<Duration>) -> Joined {
    let client = async { client.connection().await.ok_or((FaultKind::Cancelled, "the client left")) };
    let server = async { server.connection().await.ok_or((FaultKind::UpstreamReset, "the server left")) };
    match tokio::try_join!(client, server) {
        Ok((client, server)) => carry(client, server, idle).await,
        Err((kind, who)) => {
            let fault = Fault::new(kind, format!("{who} while the connection was upgraded"));
            Joined { from_client: 0, from_server: 0, fault: Some(fault) }
        }
    }
}

async fn carry(
    client: impl AsyncRead + AsyncWrite + Unpin,
    server: impl AsyncRead + AsyncWrite + Unpin,
    idle: Option<Duration>,
) -> Joined {
    let last = Rc::new(Cell::new(Instant::now()));
    let mut client = Metered::new(client, &last);
    let mut server = Metered::new(server, &last);
    let copied = {
        let copy = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER);
        tokio::select! {
            biased;
            copied = copy => Some(copied),
            () = stand_still(&last, idle) => None,
        }
    };
    let fault = match copied {
        Some(Ok(_)) => None,
        Some(Err(_)) if client.failed => {
            Some(Fault::new(FaultKind::Cancelled, "the client's connection failed"))
        }
        Some(Err(_)) => Some(Fault::new(FaultKind::UpstreamReset, "the server's connection failed")),
        None => Some(Fault::new(FaultKind::IdleTimeout, "the upgraded connection stood still for too long")),
    };
    Joined { from_client: client.read, from_server: server.read, fault }
}

/// Ends once nothing has passed for `idle`.
async fn stand_still(last: &Cell<Instant>, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let Some(deadline) = last.get().checked_add(idle) else { return std::future::pending().await };
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// A connection that counts what is read and notes when anything passed last.
struct Metered<T> {
    inner: T,
    last: Rc<Cell<Instant>>,
    read: u64,
    failed: bool,
}

impl<T> Metered<T> {
    fn new(inner: T, last: &Rc<Cell<Instant>>) -> Self {
        Self { inner, last: Rc::clone(last), read: 0, failed: false }
    }

    fn note<V>(&mut self, result: io::Result<V>) -> io::Result<V> {
        match &result {
            Ok(_) => self.last.set(Instant::now()),
            Err(_) => self.failed = true,
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.read += (buf.filled().len() - before) as u64;
        Poll::Ready(self.note(result))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        self.failed |= result.is_err();
        Poll::Ready(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_shutdown(cx));
        Poll::Ready(self.note(result))
    }
}

// === impl Upgraded ===

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let given = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..given).unwrap_or_default());
        self.ahead.advance(given);
        if self.ahead.is_empty() {
            // Even an empty slice keeps the block that it was read into.
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
