//! The stream that takes an answer, and what we did to it: `h2` does not tell afterwards who reset it.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::pressure::Pressure;

/// Answer bytes that `h2` buffers for one stream whose client does not read them.
pub(super) const SEND_BUFFER: usize = 256 * 1024;

/// A stream of `h2` that notes where its client is given up.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    pressure: Rc<Pressure>,
}

impl Sending {
    /// A stream of the connection of `pressure`.
    pub(super) fn new(stream: SendStream<Bytes>, pressure: Rc<Pressure>) -> Self {
        Self { stream, pressure }
    }

    /// Resets the stream. Only clients that take too little are told CANCEL.
    pub(super) fn send_reset(&mut self, reason: Reason) {
        if reason == Reason::CANCEL {
            self.pressure.gave_up();
        }
        self.stream.send_reset(reason);
    }
}

impl Deref for Sending {
    type Target = SendStream<Bytes>;

    fn deref(&self) -> &SendStream<Bytes> {
        &self.stream
    }
}

impl DerefMut for Sending {
    fn deref_mut(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }
}
