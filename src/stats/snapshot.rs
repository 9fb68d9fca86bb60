//! A histogram as it stood at one moment: to be added up, subtracted and asked.

use super::grid::{DECADES, HIGHEST, LOWEST, PER_DECADE, Place, edges};

/// The counts of a [`Histogram`](super::Histogram) at one moment. Takes memory only for the
/// decades that hold something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    below: u64,
    above: u64,
    sum: u128,
    decades: [Option<Box<[u64; PER_DECADE]>>; DECADES],
}

impl Snapshot {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.below + self.buckets().map(|(_, _, n)| n).sum::<u64>() + self.above
    }

    /// The exact sum of all values, in nanoseconds.
    pub fn sum_nanos(&self) -> u128 {
        self.sum
    }

    /// The sum of all values, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum as f64 / 1e9
    }

    /// How many values were at most `nanos`. Exact when `nanos` is a decimal of two digits from
    /// 1 µs to 1000 s (so for 1, 2.5 and 5 × 10ⁿ); else the count up to the next lower such edge.
    pub fn count_le(&self, nanos: u64) -> u64 {
        if nanos < LOWEST {
            return 0;
        }
        let within = self.buckets().take_while(|(_, upper, _)| *upper <= nanos).map(|(_, _, n)| n);
        self.below + within.sum::<u64>()
    }

    /// The value in nanoseconds below which the share `q` (0 to 1) of the values lies, or `None`
    /// when nothing was recorded.
    ///
    /// It is the middle of the bucket in which the value of that rank lies, hence at most 5 % away
    /// from it. Values outside of the range are given as its end: 1 µs or 1000 s.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = self.below;
        if rank <= seen {
            return Some(LOWEST);
        }
        for (lower, upper, n) in self.buckets() {
            seen += n;
            if rank <= seen {
                return Some(lower.midpoint(upper));
            }
        }
        Some(HIGHEST)
    }

    /// Adds the counts of `other`, as if all values had been recorded in one histogram.
    pub fn merge(&mut self, other: &Self) {
        self.add_outside(other.below, other.above, other.sum);
        for (decade, buckets) in other.decades.iter().enumerate() {
            if let Some(buckets) = buckets {
                self.add_decade(decade, buckets.iter().copied());
            }
        }
    }

    /// What was recorded after `earlier`, which must be of the same histogram. A count that is
    /// lower than before, which happens only with another histogram, gives 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut delta = self.clone();
        delta.below = self.below.saturating_sub(earlier.below);
        delta.above = self.above.saturating_sub(earlier.above);
        delta.sum = self.sum.saturating_sub(earlier.sum);
        for (now, then) in delta.decades.iter_mut().zip(&earlier.decades) {
            if let (Some(now), Some(then)) = (now.as_mut(), then) {
                now.iter_mut().zip(then.iter()).for_each(|(now, then)| *now = now.saturating_sub(*then));
            }
            now.take_if(|buckets| buckets.iter().all(|n| *n == 0));
        }
        delta
    }

    /// Every bucket that may hold something: its edges `(lower, upper]` and its count, rising.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.decades.iter().enumerate().flat_map(|(decade, buckets)| {
            buckets.iter().flat_map(|b| b.iter()).enumerate().map(move |(bucket, n)| {
                let (lower, upper) = edges(decade, bucket);
                (lower, upper, *n)
            })
        })
    }

    /// Whether `nanos` is an edge at which [`count_le`](Self::count_le) is exact.
    pub fn is_edge(nanos: u64) -> bool {
        match Place::of(nanos) {
            Place::Below => nanos == LOWEST,
            Place::Bucket(decade, bucket) => edges(decade, bucket).1 == nanos,
            Place::Above => false,
        }
    }

    pub(super) fn add_outside(&mut self, below: u64, above: u64, sum: u128) {
        self.below += below;
        self.above += above;
        self.sum += sum;
    }

    pub(super) fn add_decade(&mut self, decade: usize, counts: impl Iterator<Item = u64>) {
        let Some(slot) = self.decades.get_mut(decade) else { return };
        let buckets = slot.get_or_insert_with(|| Box::new([0; PER_DECADE]));
        buckets.iter_mut().zip(counts).for_each(|(bucket, n)| *bucket += n);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Snapshot {
        let histogram = Histogram::default();
        values.iter().for_each(|v| histogram.record(*v));
        histogram.snapshot()
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(prop_oneof![1_001..100_000u64, 1_001..=HIGHEST, 0..2 * HIGHEST], 1..200)
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_five_percent_of_the_value_of_its_rank(
            mut values in prop::collection::vec(prop_oneof![1_001..100_000u64, 1_001..=HIGHEST], 1..200),
            q in 0.0..=1.0f64,
        ) {
            let got = of(&values).quantile(q).unwrap() as f64;
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let true_value = values[rank - 1] as f64;
            prop_assert!((got - true_value).abs() <= 0.05 * true_value, "{got} for {true_value}");
        }

        #[test]
        fn counts_at_prometheus_bounds_are_exact(values in values()) {
            let snapshot = of(&values);
            for exponent in 3..12 {
                for bound in [10u64, 25, 50].map(|b| b * 10u64.pow(exponent - 1)) {
                    prop_assert!(Snapshot::is_edge(bound));
                    let expected = values.iter().filter(|v| **v <= bound).count() as u64;
                    prop_assert_eq!(snapshot.count_le(bound), expected);
                }
            }
            prop_assert_eq!(snapshot.count(), values.len() as u64);
            prop_assert_eq!(snapshot.sum_nanos(), values.iter().map(|v| u128::from(*v)).sum::<u128>());
        }

        #[test]
        fn merging_is_recording_in_one_and_subtracting_undoes_it(a in values(), b in values()) {
            let mut both = of(&a);
            both.merge(&of(&b));
            prop_assert_eq!(&both, &of(&[a.clone(), b.clone()].concat()));
            prop_assert_eq!(both.since(&of(&a)), of(&b));
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile_and_values_outside_give_the_ends() {
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[0, 5]).quantile(0.5), Some(LOWEST));
        assert_eq!(of(&[u64::MAX]).quantile(0.0), Some(HIGHEST));
        assert_eq!(of(&[u64::MAX]).count_le(HIGHEST), 0);
        assert_eq!(of(&[1, 999, 1_000]).count_le(LOWEST), 3);
        assert_eq!(of(&[1_000]).count_le(999), 0);
    }
}
