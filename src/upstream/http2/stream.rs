//! What the streams of a connection and its driver tell each other.

use std::cell::Cell;
use std::rc::Rc;

/// What happens on a connection.
#[derive(Default)]
pub(in crate::upstream) struct Activity {
    /// Streams in use.
    pub(in crate::upstream) in_flight: Cell<usize>,
    /// Something of an answer came since the driver last looked.
    pub(super) heard: Cell<bool>,
    /// The peer left a ping unanswered.
    pub(super) silent: Cell<bool>,
}

/// An HTTP/2 connection, seen from one of its streams.
pub(in crate::upstream) trait Streams {
    /// What happens on it.
    fn activity(&self) -> &Activity;
    /// One stream less is in flight.
    fn stream_ended(&self);
}

/// One stream of an HTTP/2 connection; counted as long as it lives.
pub(in crate::upstream) struct Stream {
    connection: Rc<dyn Streams>,
}

impl Stream {
    pub(in crate::upstream) fn new(connection: Rc<dyn Streams>) -> Self {
        let in_flight = &connection.activity().in_flight;
        in_flight.set(in_flight.get() + 1);
        Self { connection }
    }

    /// Something of an answer came.
    pub(super) fn heard(&self) {
        self.connection.activity().heard.set(true);
    }

    /// The connection was given up because its peer answers no pings.
    pub(super) fn is_silent(&self) -> bool {
        self.connection.activity().silent.get()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let in_flight = &self.connection.activity().in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
        self.connection.stream_ended();
    }
}
