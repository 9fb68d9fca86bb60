//! One HTTP/1.1 connection: its socket, and what has been read from it and not used yet.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Instant;

use super::Lender;
use crate::upstream::io::Io;
use crate::upstream::slot::Slot;

/// Room for the rest of a head that did not come in one piece.
const HEAD_READ: usize = 4 * 1024;

/// A connection. Dropping it closes it; [`Connection::release`] gives it back to its pool.
pub(in crate::upstream) struct Connection {
    pub(super) io: Io,
    /// Read and not used yet; empty while idle.
    pub(super) rest: Bytes,
    pub(super) lender: Rc<Lender>,
    pub(in crate::upstream) idle_since: Instant,
    home: Weak<dyn Home>,
    /// Behind `io`, because the socket closes first.
    slot: Slot,
}

/// A pool, seen from its connections.
pub(in crate::upstream) trait Home {
    /// Takes back a connection that can serve again.
    fn keep(&self, connection: Box<Connection>);
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    /// Something.
    Some {
        /// It filled all the room there was; more may be waiting.
        full: bool,
    },
    /// The end of the stream.
    End,
}

impl Connection {
    pub(in crate::upstream) fn new(
        io: Io,
        slot: Slot,
        home: Weak<dyn Home>,
        lender: Rc<Lender>,
    ) -> Box<Self> {
        Box::new(Self { io, rest: Bytes::new(), lender, idle_since: Instant::now(), home, slot })
    }

    /// Whether an idle connection can serve: it is open and its peer has said nothing unasked.
    /// Costs no system call where nothing has happened.
    pub(in crate::upstream) fn is_alive(&mut self) -> bool {
        self.rest.is_empty() && self.io.is_quiet()
    }

    /// The socket and the slot, for another codec.
    pub(in crate::upstream) fn into_parts(self) -> (Io, Slot) {
        (self.io, self.slot)
    }

    /// Gives the connection back to its pool, or closes it where the pool is gone.
    pub(super) fn release(mut self: Box<Self>) {
        // Even an empty slice of a block keeps the block.
        self.rest = Bytes::new();
        if let Some(home) = self.home.upgrade() {
            home.keep(self);
        }
    }

    /// Closes the connection. A TLS peer is told so, once; plain sockets only close.
    pub(in crate::upstream) fn close(mut self) {
        if matches!(self.io, Io::Tls(_)) {
            let _ = Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Reads more behind `rest`; `long` for a long body.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, long: bool) -> Poll<io::Result<Filled>> {
        if !self.rest.is_empty() {
            return self.poll_append(cx);
        }
        let Self { io, rest, lender, .. } = self;
        // While waiting it owns nothing; even an empty slice would keep its block from being used.
        *rest = Bytes::new();
        lender.with_input(long, |buffer| {
            let read = poll_read(io, buffer, cx);
            if !buffer.is_empty() {
                *rest = buffer.split().freeze();
            }
            read
        })
    }

    /// Reads behind a part of a head, which must be in one piece to be parsed. It leaves the
    /// shared block for one of its own that has room to grow.
    fn poll_append(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
        let part = std::mem::take(&mut self.rest);
        let mut buffer = match part.try_into_mut() {
            Ok(buffer) => buffer,
            Err(part) => {
                let mut buffer = BytesMut::with_capacity(part.len() + HEAD_READ);
                buffer.extend_from_slice(&part);
                buffer
            }
        };
        if buffer.capacity() - buffer.len() < HEAD_READ / 4 {
            buffer.reserve(HEAD_READ);
        }
        let read = poll_read(&mut self.io, &mut buffer, cx);
        self.rest = buffer.freeze();
        read
    }
}

fn poll_read(io: &mut Io, buffer: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<Filled>> {
    let read = pin!(io.read_buf(buffer)).poll(cx);
    read.map_ok(|read| match read {
        0 => Filled::End,
        _ => Filled::Some { full: buffer.len() == buffer.capacity() },
    })
}
