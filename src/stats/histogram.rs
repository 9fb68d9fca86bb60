//! A histogram of durations whose buckets are decimal: 90 of equal width in every decade.
//!
//! The idea is Circonus' log-linear histogram (OpenHistogram, arXiv:2001.06561). Its edges are the
//! two-digit decimals, so the bounds that people write into Prometheus (1, 2.5, 5 × 10ⁿ) are edges
//! and `le` counts are exact; histograms of two workers, hours or replicas add up without loss.
//! A bucket holds `(lower, upper]`, because Prometheus' `le` includes its bound.
//!
//! The range is 1 µs to 1000 s; what lies outside is kept in one bucket below and one above. The
//! 90 buckets of a decade (720 bytes) are allocated when the decade is first touched: latencies of
//! one version lie in two or three decades, all nine would be 6.5 KB.

use std::sync::OnceLock;

use super::cell::Counter;
use super::grid::{DECADES, PER_DECADE, Place};
use super::snapshot::Snapshot;

type Decade = [Counter; PER_DECADE];

/// A histogram of durations in nanoseconds. One thread writes, any thread takes snapshots.
#[derive(Debug, Default)]
pub struct Histogram {
    below: Counter,
    above: Counter,
    sum: Counter,
    /// How often `sum` went round: 2⁶⁴ ns are three weeks of ten thousand concurrent streams.
    sum_rounds: Counter,
    decades: [OnceLock<Box<Decade>>; DECADES],
}

impl Histogram {
    /// Counts one duration. To be called by the one writing thread only.
    #[inline]
    pub fn record(&self, nanos: u64) {
        match Place::of(nanos) {
            Place::Bucket(decade, bucket) => self.add_at(decade, bucket, 1),
            Place::Below => self.below.add(1),
            Place::Above => self.above.add(1),
        }
        self.add_sum(nanos);
    }

    /// What was recorded so far. A value that is being recorded meanwhile may be in the buckets
    /// and not yet in the sum, or the other way round.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.add_to(&mut snapshot);
        snapshot
    }

    /// Adds what was recorded so far to `snapshot`.
    pub fn add_to(&self, snapshot: &mut Snapshot) {
        let sum = (u128::from(self.sum_rounds.get()) << 64) | u128::from(self.sum.get());
        snapshot.add_outside(self.below.get(), self.above.get(), sum);
        for (decade, buckets) in self.decades.iter().enumerate() {
            if let Some(buckets) = buckets.get() {
                snapshot.add_decade(decade, buckets.iter().map(Counter::get));
            }
        }
    }

    /// Adds what `other` recorded to this histogram. To be called by the writer of this one.
    pub(super) fn absorb(&self, other: &Self) {
        self.below.add(other.below.get());
        self.above.add(other.above.get());
        self.sum_rounds.add(other.sum_rounds.get());
        self.add_sum(other.sum.get());
        for (decade, buckets) in other.decades.iter().enumerate() {
            for (bucket, counter) in buckets.get().into_iter().flat_map(|b| b.iter().enumerate()) {
                let n = counter.get();
                if n > 0 {
                    self.add_at(decade, bucket, n);
                }
            }
        }
    }

    /// Bytes on the heap, beside the histogram itself.
    pub fn heap_bytes(&self) -> usize {
        self.decades.iter().filter(|d| d.get().is_some()).count() * size_of::<Decade>()
    }

    #[inline]
    fn add_at(&self, decade: usize, bucket: usize, n: u64) {
        let Some(cell) = self.decades.get(decade) else { return };
        let buckets = cell.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
        if let Some(counter) = buckets.get(bucket) {
            counter.add(n);
        }
    }

    #[inline]
    fn add_sum(&self, nanos: u64) {
        if self.sum.get().checked_add(nanos).is_none() {
            self.sum_rounds.add(1);
        }
        self.sum.add(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::grid::{HIGHEST, LOWEST, edges};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_lies_within_the_edges_of_its_place(nanos in prop_oneof![any::<u64>(), 0..2_000_000_000_000u64, 0..100_000u64]) {
            match Place::of(nanos) {
                Place::Below => prop_assert!(nanos <= LOWEST),
                Place::Above => prop_assert!(nanos > HIGHEST),
                Place::Bucket(decade, bucket) => {
                    prop_assert!(decade < DECADES && bucket < PER_DECADE);
                    let (lower, upper) = edges(decade, bucket);
                    prop_assert!(lower < nanos && nanos <= upper, "{lower} < {nanos} <= {upper}");
                }
            }
        }
    }

    #[test]
    fn neighbouring_buckets_share_an_edge_over_the_whole_range() {
        let mut last = LOWEST;
        for decade in 0..DECADES {
            for bucket in 0..PER_DECADE {
                let (lower, upper) = edges(decade, bucket);
                assert_eq!(lower, last);
                assert_eq!(Place::of(lower + 1), Place::Bucket(decade, bucket));
                assert_eq!(Place::of(upper), Place::Bucket(decade, bucket));
                last = upper;
            }
        }
        assert_eq!(last, HIGHEST);
    }

    #[test]
    fn a_histogram_takes_memory_only_for_the_decades_it_has_seen() {
        let histogram = Histogram::default();
        assert_eq!(histogram.heap_bytes(), 0);
        (1_001..10_000).for_each(|n| histogram.record(n));
        assert_eq!(histogram.heap_bytes(), 720);
        (0..13).for_each(|n| histogram.record(10u64.pow(n) + 1));
        assert_eq!(histogram.heap_bytes(), 720 * DECADES);
    }

    #[test]
    fn the_sum_stays_exact_beyond_sixty_four_bits() {
        let (one, two) = (Histogram::default(), Histogram::default());
        (0..5).for_each(|_| one.record(u64::MAX));
        (0..3).for_each(|_| two.record(u64::MAX));
        one.absorb(&two);
        assert_eq!(one.snapshot().sum_nanos(), u128::from(u64::MAX) * 8);
        assert_eq!(one.snapshot().count(), 8);
    }
}
