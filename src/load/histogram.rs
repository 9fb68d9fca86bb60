//! Durations counted: HdrHistogram with three digits, in memory that does not depend on how many.
//!
//! Requests that failed have no place in it, and yet are no better than the slowest: whoever asks
//! for a quantile says how many of them to put at the top.

use hdrhistogram::Histogram as Hdr;

use super::interval::{Interval, quantile_ranks};

/// Finest difference that is told apart, in nanoseconds.
const FINEST: u64 = 64;
/// Longest duration, in nanoseconds: an hour. Longer ones count as this.
pub const LONGEST: u64 = 3_600_000_000_000;

/// Durations in nanoseconds, exact to a thousandth.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Hdr<u64>,
    sum: u128,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: hdr(3), sum: 0 }
    }
}

/// An empty histogram of the crate's, with `digits` significant ones; it grows as it must.
#[expect(
    clippy::expect_used,
    reason = "up to five digits, and bounds more than twice apart, are always allowed"
)]
fn hdr<C: hdrhistogram::Counter>(digits: u8) -> Hdr<C> {
    let mut empty = Hdr::new_with_bounds(FINEST, 2 * FINEST, digits).expect("constant bounds");
    empty.auto(true);
    empty
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&mut self, nanos: u64) {
        let nanos = nanos.clamp(1, LONGEST);
        let _ = self.counts.record(nanos);
        self.sum += u128::from(nanos);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        // Both grow as far as they must, so nothing can be refused.
        let _ = self.counts.add(&other.counts);
        self.sum += other.sum;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// How many were at most this long, as exactly as durations are kept.
    pub fn count_within(&self, nanos: u64) -> u64 {
        match self.counts.is_empty() {
            true => 0,
            false => self.counts.count_between(0, nanos.min(LONGEST)),
        }
    }

    /// The duration of this rank (from 1, the fastest), in seconds.
    pub fn at_rank(&self, rank: u64) -> Option<f64> {
        let count = self.count();
        if rank == 0 || rank > count {
            return None;
        }
        // The crate rounds a quantile up to the next rank; half a rank below is that rank.
        let quantile = (rank as f64 - 0.5) / count as f64;
        Some(self.counts.value_at_quantile(quantile) as f64 * 1e-9)
    }

    /// The `q`-quantile in seconds, where `failed` more requests were slower than all of these.
    /// None when it falls among those, or when there is nothing.
    pub fn quantile(&self, q: f64, failed: u64) -> Option<f64> {
        self.at_rank(rank(q, self.count() + failed))
    }

    /// The interval of the `q`-quantile in seconds; its upper end is infinite where the data sets
    /// none.
    pub fn interval(&self, q: f64, failed: u64, confidence: f64, dispersion: f64) -> Interval {
        let (low, high) = quantile_ranks(self.count() + failed, q, confidence, dispersion);
        let low = if low == 0 { Some(0.0) } else { self.at_rank(low) };
        Interval { low: low.unwrap_or(f64::INFINITY), high: self.at_rank(high).unwrap_or(f64::INFINITY) }
    }

    /// The mean in seconds.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum as f64 / self.count() as f64 * 1e-9)
    }

    /// The longest in seconds.
    pub fn max(&self) -> Option<f64> {
        self.at_rank(self.count())
    }

    /// The crate's own histogram, for writing it down.
    pub fn as_hdr(&self) -> &Hdr<u64> {
        &self.counts
    }
}

/// The rank (from 1) of the `q`-quantile among `n`.
pub fn rank(q: f64, n: u64) -> u64 {
    ((q * n as f64 - 1e-9).ceil().max(1.0) as u64).min(n)
}

/// A coarse histogram of one slice of time: two digits, and small.
#[derive(Debug, Clone)]
pub struct Coarse(Hdr<u32>);

impl Default for Coarse {
    fn default() -> Self {
        Self(hdr(2))
    }
}

impl Coarse {
    /// Counts a duration.
    pub fn record(&mut self, nanos: u64) {
        let _ = self.0.record(nanos.clamp(1, LONGEST));
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// How many were at most this many seconds long.
    pub fn count_within(&self, seconds: f64) -> u64 {
        match self.0.is_empty() || seconds <= 0.0 {
            true => 0,
            false => self.0.count_between(0, ((seconds * 1e9) as u64).min(LONGEST)),
        }
    }

    /// The `q`-quantile in seconds, where `failed` more were slower than all of these.
    pub fn quantile(&self, q: f64, failed: u64) -> Option<f64> {
        let (count, rank) = (self.count(), rank(q, self.count() + failed));
        (rank >= 1 && rank <= count)
            .then(|| self.0.value_at_quantile((rank as f64 - 0.5) / count as f64) as f64 * 1e-9)
    }

    /// The longest in seconds.
    pub fn max(&self) -> Option<f64> {
        self.quantile(1.0, 0)
    }

    /// Values in seconds and how often each occurs, rising.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0.iter_recorded().map(|v| (v.value_iterated_to() as f64 * 1e-9, v.count_at_value().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_rank_is_exact_to_a_thousandth(
            mut values in proptest::collection::vec(1_000u64..100_000_000_000, 1..200)
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|v| histogram.record(*v));
            values.sort_unstable();
            for (at, value) in values.iter().enumerate() {
                let found = histogram.at_rank(at as u64 + 1).unwrap();
                let value = *value as f64 * 1e-9;
                prop_assert!((found / value - 1.0).abs() <= 0.001 + 128e-9 / value, "{at}: {found} {value}");
            }
        }
    }

    #[test]
    fn failures_stand_at_the_slow_end() {
        let mut histogram = Histogram::default();
        (1..=98).for_each(|n| histogram.record(n * 1_000_000));
        let near = |found: Option<f64>, ms: f64| (found.unwrap() - ms * 1e-3).abs() < ms * 2e-6;
        assert!(near(histogram.quantile(0.5, 2), 50.0));
        assert!(near(histogram.quantile(0.98, 2), 98.0));
        assert_eq!(histogram.quantile(0.99, 2), None);
        assert_eq!(histogram.interval(0.99, 2, 0.95, 1.0).high, f64::INFINITY);
        assert!(near(histogram.mean(), 49.5) && near(histogram.max(), 98.0));
        assert_eq!(histogram.count_within(50_000_000), 50);
    }

    #[test]
    fn an_empty_histogram_says_nothing_and_an_endless_duration_is_an_hour() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5, 0), histogram.mean(), histogram.max()), (None, None, None));
        histogram.record(u64::MAX);
        assert!((histogram.max().unwrap() / 3600.0 - 1.0).abs() < 0.001);
    }
}
