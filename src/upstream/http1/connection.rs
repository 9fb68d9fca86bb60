//! One HTTP/1.1 connection: its socket, and what has been read from it and not used yet.

use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use crate::upstream::io::Io;
use crate::upstream::slot::Slot;
use crate::wire::http1::{Filled, Lender, poll_fill};

/// How long a connection rests after a stream, to see whether the upstream closes it.
const SUSPECT: Duration = Duration::from_millis(250);

/// A connection. Dropping it closes it; [`Connection::release`] gives it back to its pool.
pub(in crate::upstream) struct Connection {
    pub(super) io: Io,
    /// Read and not used yet; empty while idle.
    pub(super) rest: Bytes,
    pub(super) lender: Rc<Lender>,
    pub(in crate::upstream) idle_since: Instant,
    /// Its last answer was a stream of events.
    pub(super) streamed: bool,
    home: Weak<dyn Home>,
    /// Behind `io`, because the socket closes first.
    slot: Slot,
}

/// A pool, seen from its connections.
pub(in crate::upstream) trait Home {
    /// Takes back a connection that can serve again.
    fn keep(&self, connection: Box<Connection>);
}

impl Connection {
    pub(in crate::upstream) fn new(
        io: Io,
        slot: Slot,
        home: Weak<dyn Home>,
        lender: Rc<Lender>,
    ) -> Box<Self> {
        Box::new(Self {
            io,
            rest: Bytes::new(),
            lender,
            idle_since: Instant::now(),
            streamed: false,
            home,
            slot,
        })
    }

    /// Whether an idle connection should rest still. Some model servers (cpp-httplib, and with it
    /// llama.cpp) close after a stream whose head promised to keep the connection, some moments after
    /// its end: a request sent in between is lost, and may not be sent again.
    pub(in crate::upstream) fn is_suspect(&self) -> bool {
        self.streamed && self.idle_since.elapsed() < SUSPECT
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
        poll_fill(&mut self.io, &mut self.rest, &self.lender, long, cx)
    }
}
