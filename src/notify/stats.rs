//! What is counted per receiver, for metrics. Read from any thread, at any time.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// What all receivers were sent.
#[derive(Debug, Default)]
pub struct NotifyStats {
    sinks: Vec<(String, SinkStats)>,
}

impl NotifyStats {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { sinks: names.map(|name| (name.to_owned(), SinkStats::default())).collect() }
    }

    /// Every receiver by name, in the order of the configuration.
    pub fn sinks(&self) -> impl Iterator<Item = (&str, &SinkStats)> {
        self.sinks.iter().map(|(name, stats)| (name.as_str(), stats))
    }

    /// One receiver.
    pub fn sink(&self, name: &str) -> Option<&SinkStats> {
        self.sinks.iter().find(|(known, _)| known == name).map(|(_, stats)| stats)
    }
}
