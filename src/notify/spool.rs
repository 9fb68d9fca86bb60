//! Where news lies until its receiver has it.
//!
//! The trait is what a [`Notifier`](super::Notifier) needs; a durable one stands in another room.
//! What it keeps is the event and not the request: secrets are not written down, and each attempt
//! is signed anew.

use std::collections::VecDeque;

use super::event::Event;

/// One event on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Unique over all receivers; the same on every attempt.
    pub id: String,
    /// The receiver's name.
    pub sink: String,
    /// When it happened, in milliseconds since 1970, as all times here.
    pub created_ms: u64,
    /// Attempts that failed.
    pub attempts: u32,
    /// Not to be tried before.
    pub next_ms: u64,
    /// The event, JSON.
    pub event: String,
}

/// A spool could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spool of notifications failed: {0}")]
pub struct SpoolError(pub String);

/// Keeps deliveries, per receiver in the order in which they came.
pub trait Spool: Send {
    /// Keeps a delivery; one with a known id is not kept twice. `false`: there is no room for it.
    ///
    /// # Errors
    /// [`SpoolError`], as for every call here.
    fn put(&mut self, delivery: &Delivery) -> Result<bool, SpoolError>;

    /// The oldest delivery for a receiver, whether it is time for it or not. Later ones wait for
    /// it, so that a resolution does not overtake the alarm. Those with an id of `over` are as good
    /// as forgotten: they could not be taken out yet.
    ///
    /// # Errors
    /// As [`Spool::put`].
    fn due(&mut self, sink: &str, over: &[String]) -> Result<Option<Delivery>, SpoolError>;

    /// Forgets a delivery, made or given up.
    ///
    /// # Errors
    /// As [`Spool::put`].
    fn done(&mut self, id: &str) -> Result<(), SpoolError>;

    /// Counts an attempt that failed; the next one is not before `next_ms`.
    ///
    /// # Errors
    /// As [`Spool::put`].
    fn failed(&mut self, id: &str, next_ms: u64) -> Result<(), SpoolError>;

    /// Forgets all deliveries for receivers other than these; says how many there were.
    ///
    /// # Errors
    /// As [`Spool::put`].
    fn keep_only(&mut self, sinks: &[&str]) -> Result<usize, SpoolError>;
}

impl Delivery {
    /// The delivery of `event`, whose JSON is `json`, to `sink`, due at once.
    pub fn new(sink: &str, event: &Event, json: String) -> Self {
        Self {
            id: format!("{}/{sink}", event.id),
            sink: sink.to_owned(),
            created_ms: event.at_ms,
            attempts: 0,
            next_ms: event.at_ms,
            event: json,
        }
    }
}

/// A spool that is gone with the process.
#[derive(Debug)]
pub struct MemorySpool {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl MemorySpool {
    /// A spool with room for `most` deliveries and `most_bytes` bytes of events.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, most, most_bytes }
    }

    fn retain(&mut self, stays: impl FnMut(&Delivery) -> bool) {
        self.waiting.retain(stays);
        self.bytes = self.waiting.iter().map(|kept| kept.event.len()).sum();
    }
}

impl Default for MemorySpool {
    /// 1000 deliveries of together 8 MiB.
    fn default() -> Self {
        Self::new(1_000, 8 * 1024 * 1024)
    }
}

impl Spool for MemorySpool {
    fn put(&mut self, delivery: &Delivery) -> Result<bool, SpoolError> {
        if self.waiting.iter().any(|kept| kept.id == delivery.id) {
            return Ok(true);
        }
        let bytes = self.bytes.saturating_add(delivery.event.len());
        if self.waiting.len() >= self.most || bytes > self.most_bytes {
            return Ok(false);
        }
        self.bytes = bytes;
        self.waiting.push_back(delivery.clone());
        Ok(true)
    }

    fn due(&mut self, sink: &str, over: &[String]) -> Result<Option<Delivery>, SpoolError> {
        Ok(self.waiting.iter().find(|kept| kept.sink == sink && !over.contains(&kept.id)).cloned())
    }

    fn done(&mut self, id: &str) -> Result<(), SpoolError> {
        self.retain(|kept| kept.id != id);
        Ok(())
    }

    fn failed(&mut self, id: &str, next_ms: u64) -> Result<(), SpoolError> {
        for kept in self.waiting.iter_mut().filter(|kept| kept.id == id) {
            kept.attempts = kept.attempts.saturating_add(1);
            kept.next_ms = next_ms;
        }
        Ok(())
    }

    fn keep_only(&mut self, sinks: &[&str]) -> Result<usize, SpoolError> {
        let before = self.waiting.len();
        self.retain(|kept| sinks.contains(&kept.sink.as_str()));
        Ok(before - self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: &str, sink: &str, bytes: usize) -> Delivery {
        Delivery {
            id: id.to_owned(),
            sink: sink.to_owned(),
            created_ms: 1,
            attempts: 0,
            next_ms: 1,
            event: "x".repeat(bytes),
        }
    }

    #[test]
    fn the_oldest_of_a_receiver_comes_first_even_while_it_waits() {
        let mut spool = MemorySpool::default();
        for (id, sink) in [("1", "a"), ("2", "b"), ("3", "a")] {
            assert_eq!(spool.put(&delivery(id, sink, 1)), Ok(true));
        }
        spool.failed("1", 99).unwrap();
        let first = spool.due("a", &[]).unwrap().unwrap();
        assert_eq!((first.id.as_str(), first.attempts, first.next_ms), ("1", 1, 99));
        assert_eq!(spool.due("b", &[]).unwrap().unwrap().id, "2");
        spool.done("1").unwrap();
        assert_eq!(spool.due("a", &[]).unwrap().unwrap().id, "3");
    }

    #[test]
    fn what_is_over_is_passed_and_what_nobody_gets_any_more_is_forgotten() {
        let mut spool = MemorySpool::new(4, 10);
        for (id, sink) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
            assert_eq!(spool.put(&delivery(id, sink, 2)), Ok(true));
        }
        assert_eq!(spool.due("a", &["1".to_owned()]).unwrap().unwrap().id, "3");
        assert_eq!(spool.due("a", &["1".to_owned(), "3".to_owned()]), Ok(None));
        assert_eq!(spool.keep_only(&["b", "new"]), Ok(3));
        assert_eq!(spool.due("a", &[]), Ok(None));
        assert_eq!(spool.put(&delivery("5", "b", 8)), Ok(true), "their room is free again");
    }

    #[test]
    fn the_memory_is_bounded_in_number_and_in_bytes() {
        let mut spool = MemorySpool::new(2, 10);
        assert_eq!(spool.put(&delivery("1", "a", 8)), Ok(true));
        assert_eq!(spool.put(&delivery("2", "a", 3)), Ok(false));
        assert_eq!(spool.put(&delivery("2", "a", 2)), Ok(true));
        assert_eq!(spool.put(&delivery("2", "a", 2)), Ok(true), "it is there already");
        spool.done("1").unwrap();
        assert_eq!(spool.put(&delivery("3", "a", 1)), Ok(true));
        assert_eq!(spool.put(&delivery("4", "a", 0)), Ok(false));
    }
}
