//! A byte stream whose writes are gathered, so that the frames of many HTTP/2 streams leave in one.
//!
//! The `h2` crate writes whenever a large frame or a full buffer stands in its way, and at the end
//! of every poll: several system calls where one would do. Here its writes and flushes only lay
//! bytes down; whoever drives the connection sends them with [`Gather::push`], once at the end of
//! its turn. The buffer they lie in belongs to the thread and is lent for that turn: only a
//! connection whose peer does not read keeps one.
//!
//! Absent on purpose: vectored writes. `h2` copies chunks below 1 KiB itself if a stream has none,
//! and copying a larger one once costs less than a system call for it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes held at most; more than that is sent at once.
const HELD: usize = 64 * 1024;

thread_local! {
    /// The buffer that whoever writes next may use.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One handle of a stream: one is the codec's, another stays with whoever drives it.
pub struct Gather<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    io: T,
    held: Vec<u8>,
    /// How much of `held` has left.
    sent: usize,
    /// Something was written that the stream below has not been told to flush.
    unflushed: bool,
    /// There was nothing more to read since the codec was woken.
    quiet: bool,
    /// Why sending failed, for the codec to be told when it reads.
    failed: Option<io::Error>,
}

impl<T> Gather<T> {
    /// Gathers what is written to `io`.
    pub fn new(io: T) -> Self {
        let inner = Inner { io, held: Vec::new(), sent: 0, unflushed: false, quiet: false, failed: None };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Another handle of the same stream.
    pub fn handle(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: AsyncWrite + Unpin> Gather<T> {
    /// Must come before the codec is polled because it was woken: there may be something to read.
    pub fn woken(&self) {
        self.0.borrow_mut().quiet = false;
    }

    /// Whether all that was laid down has been sent, and has left the stream below as well.
    pub fn is_sent(&self) -> bool {
        let inner = self.0.borrow();
        inner.sent == inner.held.len() && !inner.unflushed
    }

    /// Ends a turn: sends what was laid down, as far as the stream takes it; `cx` is woken when it
    /// takes more. `true` when it failed: the codec is then to be polled again, and is told why.
    pub fn push(&self, cx: &mut Context<'_>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        match inner.poll_send(cx) {
            Poll::Ready(Err(error)) => {
                inner.failed = Some(error);
                true
            }
            Poll::Ready(Ok(())) | Poll::Pending => false,
        }
    }
}

impl<T: AsyncWrite + Unpin> Inner<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let rest = self.held.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        if self.held.capacity() > 0 {
            self.held.clear();
            self.sent = 0;
            SPARE.set(std::mem::take(&mut self.held));
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_hold(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        if self.held.len() - self.sent + bytes.len() > HELD {
            ready!(self.poll_send(cx))?;
            self.unflushed = true;
            if bytes.len() > HELD {
                return Pin::new(&mut self.io).poll_write(cx, bytes);
            }
        }
        if self.held.capacity() == 0 {
            self.held = SPARE.take();
            self.held.reserve_exact(HELD);
        } else if self.sent > 0 {
            self.held.drain(..self.sent);
            self.sent = 0;
        }
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(error) = inner.failed.take() {
            return Poll::Ready(Err(error));
        }
        // `h2` asks again for every stream that it hands out. The waker is in place already, or was
        // called: tokio says that there is nothing when a task has read for long enough.
        if inner.quiet {
            return Poll::Pending;
        }
        let read = Pin::new(&mut inner.io).poll_read(cx, buf);
        inner.quiet = read.is_pending();
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_hold(cx, bytes)
    }

    /// Leaves it to [`Gather::push`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends everything first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for Gather<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
