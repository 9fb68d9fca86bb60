//! How fast a body moves while others wait for the place that it has.
//!
//! A slow client costs nobody anything as long as there is room. Where there is none, whoever is
//! waited for and moves too little has to go; that is found by a look now and then.

use std::time::Duration;

use tokio::time::Instant;

use super::Side;

/// How long it is from one look at a request to the next.
const SENDING: Duration = Duration::from_secs(1);
/// The same for an answer. What a client takes is seen in steps, for it passes the kernel's buffers, and a
/// step can be a mebibyte.
const READING: Duration = Duration::from_secs(4);
/// After so many looks in a row at which it was too slow, a body has to go where others wait.
const SLOW_LOOKS: u8 = 3;
/// Where others wait, a body has to move at this many times the rate that is asked of it else.
const TIMES: u64 = 64;

/// What was seen of a body, from the first moment on at which its client was waited for.
#[derive(Debug)]
pub struct Haste {
    every: Duration,
    at: Instant,
    /// Bytes that had passed.
    moved: u64,
    slow: u8,
}

impl Haste {
    /// Of a body of `side` of which `moved` bytes have passed, from now on.
    pub fn new(side: Side, moved: u64) -> Self {
        let every = if side == Side::Request { SENDING } else { READING };
        Self { every, at: Instant::now(), moved, slow: 0 }
    }

    /// Bytes per second that a body must come at where others wait, of which `rate` are asked else.
    /// 0: it may be as slow as it likes.
    pub fn least(rate: u64) -> u64 {
        rate.saturating_mul(TIMES)
    }

    /// When the next look is due.
    pub fn next(&self) -> Instant {
        self.at + self.every
    }

    /// Looks, if it is time to. Whether fewer than `least` bytes per second have passed for so long that the
    /// body has to go, `moved` being all that have passed.
    pub fn is_slow(&mut self, moved: u64, least: u64) -> bool {
        let now = Instant::now();
        if now >= self.next() {
            let passed = moved.wrapping_sub(self.moved);
            let slow = if passed < least.saturating_mul(self.every.as_secs()) {
                self.slow.saturating_add(1)
            } else {
                0
            };
            *self = Self { at: now, moved, slow, ..*self };
        }
        self.slow >= SLOW_LOOKS
    }
}
