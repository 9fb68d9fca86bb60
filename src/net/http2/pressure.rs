//! What a client has been handed of its answers and has not taken off our hands.
//!
//! HTTP/2's windows are the client's to open, so they bound nothing: one that opens them wide and
//! reads nothing could have us hold a part of every answer that it asked for. So a connection's
//! streams share what may lie about. A little is free for all; beyond it each stream gets one chunk
//! more, so that none waits for the others' long bodies; then all wait until the socket has taken
//! everything. What a stream holds beyond its window, one chunk, it does not hand over and is not counted here.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that lie about before streams are rationed.
const EASY: usize = 1024 * 1024;
/// Bytes that lie about at most, but for the last chunk.
const MOST: usize = 8 * EASY;

/// What the streams of one connection share.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    unsent: Cell<usize>,
    /// How much of that has been sent.
    sent: Cell<usize>,
    /// The client has taken back windows, so it may not be sent all of it.
    narrowed: Cell<bool>,
    /// How often the socket has taken everything.
    round: Cell<u32>,
    held_back: Cell<bool>,
    written: Cell<u64>,
    /// Streams that wait for the client.
    waiting: Cell<u32>,
    /// Bytes per second that the client must take for each of them where others wait. 0: any.
    least: u64,
    /// Streams whose client took too little for too long, and that nobody was told of.
    given_up: Cell<u32>,
}

/// A stream that waits for the client to take more. Dropping it ends that.
pub(super) struct Waiting(Rc<Pressure>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

impl Pressure {
    /// Nothing lies about. `least`: bytes per second that the client must take for each stream that waits,
    /// where others wait for what such a stream holds.
    pub(super) fn new(least: u64) -> Rc<Self> {
        Rc::new(Self { least, ..Self::default() })
    }

    /// Counts a stream that waits for the client.
    pub(super) fn waits(self: &Rc<Self>) -> Waiting {
        self.waiting.set(self.waiting.get().saturating_add(1));
        Waiting(Rc::clone(self))
    }

    /// Bytes per second that the client must take in all. 0: any.
    pub(super) fn least(&self) -> u64 {
        self.least.saturating_mul(self.waiting.get().into())
    }

    /// Notes a stream whose client took too little for too long.
    pub(super) fn gave_up(&self) {
        self.given_up.set(self.given_up.get().saturating_add(1));
    }

    /// How many such streams there have been since this was last asked.
    pub(super) fn take_given_up(&self) -> u32 {
        self.given_up.take()
    }

    /// Whether a stream that got its last chunk in `round` may have another. One that may not is to be
    /// woken when [`Pressure::drained`] says so.
    pub(super) fn allows(&self, round: Option<u32>) -> bool {
        let unsent = self.unsent.get();
        let allowed = unsent < EASY || (unsent < MOST && round != Some(self.round.get()));
        if !allowed {
            self.held_back.set(true);
        }
        allowed
    }

    /// Notes a chunk, and tells in which round it was handed over.
    pub(super) fn hand_over(&self, size: usize) -> Option<u32> {
        self.unsent.set(self.unsent.get().saturating_add(size));
        Some(self.round.get())
    }

    /// Notes what the socket took, and how much of it is `content` of answers.
    pub(super) fn wrote(&self, size: usize, content: usize) {
        self.sent.set(self.sent.get().saturating_add(content));
        self.written.set(self.written.get().wrapping_add(u64::try_from(size).unwrap_or(0)));
    }

    /// Bytes that the client has taken in all.
    pub(super) fn progress(&self) -> u64 {
        self.written.get()
    }

    /// Notes that the client has taken back windows that were open.
    pub(super) fn narrowed(&self) {
        self.narrowed.set(true);
    }

    /// Whether something lies about that the client has taken back the window for, where the socket has taken
    /// everything else. What a reset threw away since then is taken for such.
    pub(super) fn is_stuck(&self) -> bool {
        self.narrowed.get() && self.sent.get() < self.unsent.get()
    }

    /// Bytes of answers that were sent in this round.
    pub(super) fn sent(&self) -> u64 {
        u64::try_from(self.sent.get()).unwrap_or(u64::MAX)
    }

    /// The socket has taken everything that may be sent, and nothing [is stuck](Self::is_stuck). `true` where
    /// streams wait for that.
    ///
    /// Streams hand over no more than a window has room for, so `h2` holds nothing then.
    pub(super) fn drained(&self) -> bool {
        self.narrowed.set(false);
        self.sent.set(0);
        if self.unsent.replace(0) == 0 {
            return false;
        }
        self.round.set(self.round.get().wrapping_add(1));
        self.held_back.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_free_then_each_stream_gets_one_chunk_then_none() {
        let pressure = Pressure::default();
        let mut greedy = None;
        while pressure.allows(greedy) {
            greedy = pressure.hand_over(64 * 1024);
        }
        assert_eq!(pressure.unsent.get(), EASY);
        let mut others = 0;
        while pressure.allows(None) {
            assert!(!pressure.allows(pressure.hand_over(512 * 1024)));
            others += 1;
        }
        assert_eq!(others, 14);
        assert!(pressure.drained() && !pressure.drained());
        assert!(pressure.allows(greedy));
    }

    #[test]
    fn what_a_window_was_taken_back_for_lies_about_until_it_is_sent() {
        let pressure = Pressure::default();
        pressure.hand_over(100);
        pressure.wrote(69, 60);
        assert!(!pressure.is_stuck(), "the socket may take it yet");
        pressure.narrowed();
        assert!(pressure.is_stuck());
        pressure.wrote(17, 0);
        assert!(pressure.is_stuck());
        pressure.wrote(49, 40);
        assert!(!pressure.is_stuck() && !pressure.drained());
        pressure.hand_over(100);
        assert!(!pressure.is_stuck(), "that is over");
    }

    #[test]
    fn nobody_is_woken_where_nobody_waits() {
        let pressure = Pressure::default();
        assert!(!pressure.drained());
        pressure.hand_over(100);
        assert!(!pressure.drained());
    }
}
