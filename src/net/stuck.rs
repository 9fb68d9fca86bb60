//! A client that does not take what it is sent, while others may wait for what that holds.

use std::pin::{Pin, pin};
use std::task::Context;

use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use crate::wire::body::{Haste, Side};

/// Looks now and then how much such a client has taken.
pub(super) struct Stuck {
    haste: Haste,
    timer: Pin<Box<Sleep>>,
}

impl Stuck {
    /// From now on, `taken` being the bytes that it has taken in all.
    pub(super) fn new(taken: u64) -> Self {
        let haste = Haste::new(Side::Response, taken);
        let timer = Box::pin(sleep_until(haste.next()));
        Self { haste, timer }
    }

    /// Whether it has taken fewer than `least` bytes per second for so long that it has to go where others
    /// wait. The task is woken for the next look.
    pub(super) fn is_slow(&mut self, taken: u64, least: u64, cx: &mut Context<'_>) -> bool {
        let mut is_slow = self.haste.is_slow(taken, least);
        // A task that has used up its turn would not be told, nor be woken when the time is over.
        while Future::poll(pin!(unconstrained(self.timer.as_mut())), cx).is_ready() {
            is_slow = self.haste.is_slow(taken, least);
            self.timer.as_mut().reset(self.haste.next());
        }
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::time::Instant;

    use super::*;

    /// After how many seconds a client has to go that takes so many bytes of every 4096 in a second.
    async fn gone(per_second: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut stuck = Stuck::new(7);
        poll_fn(|cx| {
            let seconds = begun.elapsed().as_secs();
            match stuck.is_slow(7 + seconds * per_second, 4_096, cx) {
                true => Poll::Ready(Some(seconds)),
                false if seconds > 100 => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_found_after_three_looks_and_one_that_takes_enough_is_not() {
        assert_eq!(gone(0).await, Some(12));
        assert_eq!(gone(4_000).await, Some(12));
        assert_eq!(gone(4_200).await, None);
    }
}
