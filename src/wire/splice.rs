//! Bodies that go from one socket to another inside the kernel, by way of a pipe (splice(2)).
//!
//! Copying a long body into memory and out again is most of what passing it on costs. Where nobody
//! looks at its bytes, both sides are plain TCP and its length is known, the kernel hands its pages
//! over: no copy is made. Everything that counts or times a body goes on counting and timing, for a
//! [`Spliced`] body says how much has moved.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;

use super::body::ByteBody;
use crate::base::Fault;

mod pipe;

pub use pipe::{Pipe, Pipes};

/// From so many bytes on that are still to come a body is spliced: two calls for a short one cost
/// as much as copying it.
pub const LEAST: u64 = 128 * 1024;

/// A body that may be able to move its content without showing it.
pub trait Spliced: ByteBody {
    /// Moves some of the content into `passage`: how many bytes, or `None` where that is not
    /// possible, now or at all, and the next frame must be taken instead. It moves nothing while
    /// the pipe holds anything, and never gives 0.
    ///
    /// # Errors
    /// As a frame's.
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        let _ = (passage, cx);
        Poll::Ready(Ok(None))
    }
}

/// The way into the other socket: a pipe, which is taken when there is something to put into it.
#[derive(Debug)]
pub struct Passage<'a> {
    pipe: &'a mut Option<Pipe>,
    pipes: &'a Pipes,
    most: u64,
}

impl<'a> Passage<'a> {
    /// One for at most `most` bytes, by way of `pipe` or one of `pipes`.
    pub fn new(pipe: &'a mut Option<Pipe>, pipes: &'a Pipes, most: u64) -> Self {
        Self { pipe, pipes, most }
    }

    /// Moves what `from` has to give: how many bytes, 0 at its end; `None` where there is no pipe to
    /// be had. At most `most` bytes, and what the passage is for.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(
        &mut self,
        from: &TcpStream,
        most: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        let most = usize::try_from(self.most.min(most)).unwrap_or(usize::MAX);
        if self.pipe.is_none() {
            *self.pipe = self.pipes.take();
        }
        let Some(pipe) = self.pipe.as_mut() else { return Poll::Ready(Ok(None)) };
        if !pipe.is_empty() {
            return Poll::Ready(Ok(None));
        }
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(tokio::io::Interest::READABLE, || pipe.fill(from, most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => return Poll::Ready(moved.map(Some)),
            }
        }
    }
}

/// Writes what `pipe` holds to `to`: how many bytes.
///
/// # Errors
/// The socket's.
pub fn poll_drain(pipe: &mut Pipe, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(to.poll_write_ready(cx))?;
        match to.try_io(tokio::io::Interest::WRITABLE, || pipe.drain(to)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            moved => return Poll::Ready(moved),
        }
    }
}

#[cfg(test)]
mod tests;
