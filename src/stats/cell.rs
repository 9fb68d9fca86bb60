//! Counters and gauges with one writer and any number of readers.
//!
//! The writer adds with a relaxed load and a relaxed store instead of an atomic addition: that is
//! an ordinary `add` to memory, without the lock prefix that costs 20 cycles and more. It is right
//! only while a cell has one writing thread, which is why every worker has its own shard. With two
//! writers nothing breaks but the count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows. One thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. To be called by the one writing thread only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far, from any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls. One thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative. To be called by the one writing thread only.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now, from any thread.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Counts one at `index` of a row of counters; an index outside of the row counts nothing.
#[inline]
pub(super) fn count(row: &[Counter], index: usize) {
    if let Some(counter) = row.get(index) {
        counter.add(1);
    }
}

/// Adds each counter of `from` to its place in `into`.
pub(super) fn add_row(into: &[Counter], from: &[Counter]) {
    for (into, from) in into.iter().zip(from) {
        into.add(from.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_reads_a_counter_that_never_falls() {
        let counter = Counter::default();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let now = counter.get();
                    assert!(now >= last);
                    last = now;
                }
            });
            (0..100_000).for_each(|_| counter.add(3));
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        assert_eq!(counter.get(), 300_000);
    }

    #[test]
    fn a_gauge_comes_back_to_where_it_was() {
        let gauge = Gauge::default();
        gauge.add(7);
        gauge.add(-9);
        assert_eq!(gauge.get(), -2);
    }
}
