//! A client that does not take what it is sent, while others may wait for what that holds.

use std::pin::{Pin, pin};
use std::task::Context;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::wire::body::{Haste, Side};

/// Looks now and then how much such a client has taken. It is kept from one wait for the client to the
/// next, and with it the timer, which fires early then and is moved: a client that takes its time now and
/// again costs no timer each time.
pub(super) struct SlowReader {
    /// While the client is waited for.
    haste: Option<Haste>,
    timer: Pin<Box<Sleep>>,
}

impl SlowReader {
    /// Of a client that is about to be waited for.
    pub(super) fn new() -> Self {
        Self { haste: None, timer: Box::pin(sleep_until(Instant::now())) }
    }

    /// The client has taken what there was.
    pub(super) fn rest(&mut self) {
        self.haste = None;
    }

    /// Whether it has taken fewer than `least` bytes per second for so long that it has to go where others
    /// wait, `taken` being the bytes that it has taken in all. The task is woken for the next look.
    pub(super) fn is_slow(&mut self, taken: u64, least: u64, cx: &mut Context<'_>) -> bool {
        let haste = self.haste.get_or_insert_with(|| Haste::new(Side::Response, taken));
        let mut is_slow = haste.is_slow(taken, least);
        // A task that has used up its turn would not be told, nor be woken when the time is over.
        while Future::poll(pin!(unconstrained(self.timer.as_mut())), cx).is_ready() {
            is_slow = haste.is_slow(taken, least);
            self.timer.as_mut().reset(haste.next());
        }
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// After how many seconds a client has to go that takes so many bytes of every 4096 in a second.
    async fn gone(per_second: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut reader = SlowReader::new();
        poll_fn(|cx| {
            let seconds = begun.elapsed().as_secs();
            match reader.is_slow(7 + seconds * per_second, 4_096, cx) {
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

    #[tokio::test(start_paused = true)]
    async fn a_rest_between_two_waits_begins_anew() {
        let mut reader = SlowReader::new();
        for _ in 0..5 {
            let begun = Instant::now();
            // Eleven seconds are not enough.
            let waited = poll_fn(|cx| match reader.is_slow(0, 4_096, cx) {
                false if begun.elapsed().as_secs() >= 8 => Poll::Ready(false),
                false => Poll::Pending,
                true => Poll::Ready(true),
            });
            assert!(!waited.await);
            tokio::time::advance(std::time::Duration::from_secs(3)).await;
            reader.rest();
        }
    }
}
