//! What is counted per receiver, for metrics. Read from any thread, at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

/// What one receiver was sent.
#[derive(Debug, Default)]
pub struct SinkStats {
    sent: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    failing: AtomicU64,
}

impl SinkStats {
    /// Deliveries that the receiver took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Attempts that failed and are repeated.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Deliveries that were given up: refused for good, too old, or tried too often.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Events that were never tried, since the queue or the spool was full or broken.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Attempts that failed since the last delivery: 0 is healthy.
    pub fn failing(&self) -> u64 {
        self.failing.load(Ordering::Relaxed)
    }

    pub(super) fn note_sent(&self) {
        add(&self.sent);
        self.failing.store(0, Ordering::Relaxed);
    }

    /// Says how many attempts have failed in a row.
    pub(super) fn note_attempt_failed(&self) -> u64 {
        self.failing.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub(super) fn note_retried(&self) {
        add(&self.retried);
    }

    pub(super) fn note_failed(&self) {
        add(&self.failed);
    }

    pub(super) fn note_dropped(&self) {
        add(&self.dropped);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Receivers by name, in the order of the configuration, with what each was sent.
pub type Sinks = Vec<(String, Arc<SinkStats>)>;

/// What all receivers were sent.
#[derive(Debug, Default)]
pub struct NotifyStats {
    sinks: ArcSwap<Sinks>,
    discarded: AtomicU64,
}

impl NotifyStats {
    /// The receivers of now.
    pub fn sinks(&self) -> Arc<Sinks> {
        self.sinks.load_full()
    }

    /// One receiver.
    pub fn sink(&self, name: &str) -> Option<Arc<SinkStats>> {
        self.sinks.load().iter().find(|(known, _)| known == name).map(|(_, stats)| Arc::clone(stats))
    }

    /// Deliveries that waited for a receiver which is not there any more.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// From now on these are the receivers. One that stays goes on counting.
    pub(super) fn replace<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let stats = |name: &str| (name.to_owned(), self.sink(name).unwrap_or_default());
        let sinks = names.map(stats).collect();
        self.sinks.store(Arc::new(sinks));
    }

    pub(super) fn note_discarded(&self, deliveries: usize) {
        self.discarded.fetch_add(u64::try_from(deliveries).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
