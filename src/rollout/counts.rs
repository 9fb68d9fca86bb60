//! What the data path counted: the input of every decision.
//!
//! Counters only ever rise and are kept by *trial*: a stretch of a rollout in which nothing about
//! the split or the mirror changed. The trial is stamped on a request when its arm is drawn, so an
//! answer that ends after the weight was changed still counts at the weight that it was drawn with.
//! The machine hands out trial numbers (`effect::Live`).
//!
//! Deliberately absent: how anything is counted, and time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rollout::policy::Signal;
use crate::stats::Snapshot;
use crate::stats::sequential::Arms;

/// Everything that was counted, as of one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Which run of the process counted: another number says that counters began at 0 again.
    pub epoch: u64,
    /// The trials that are still being counted, in any order. A trial that is left out is taken as
    /// unchanged.
    pub trials: Vec<TrialCounts>,
}

/// What was counted in one trial, since it began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialCounts {
    /// Number of the trial.
    pub trial: u32,
    /// The candidate's share of the draws between candidate and stable, in basis points.
    pub weight_bp: u16,
    /// What happened to live requests, by arm.
    pub arms: Arms<ArmCounts>,
    /// What became of copies for the shadow. `stable` are the noise controls.
    pub pairs: Arms<PairCounts>,
    /// The candidate's share of the copies, in basis points: what is left of `noiseControl`.
    pub coin_bp: u16,
    /// Requests that were sampled but not compared, by reason; for people only.
    pub drops: BTreeMap<String, u64>,
    /// The same by segment. At most as many as the policy tells apart.
    pub segments: Vec<SegmentCounts>,
    /// Predicted numbers, by the name in the policy (`Prediction::value`).
    pub scores: BTreeMap<String, Vec<Arms<u64>>>,
    /// Inputs, by feature: counts in the bins of the reference, both arms together.
    pub inputs: BTreeMap<String, Vec<u64>>,
}

/// Live requests of one arm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ArmCounts {
    /// Requests that were drawn for the arm, whether they have ended or not.
    pub assigned: u64,
    /// Requests that ended and say something about the version: cancelled ones do not.
    pub requests: u64,
    /// Of these, those that failed.
    pub errors: u64,
    /// Durations of requests, by signal.
    pub durations: BTreeMap<Signal, Durations>,
}

/// Copies of one kind: for the candidate, or back to the stable version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PairCounts {
    /// Requests whose copy was drawn for this side.
    pub sampled: u64,
    /// Of these, those with two answers that could be compared.
    pub compared: u64,
    /// Of these, those that diverged.
    pub diverged: u64,
}

/// What was counted for one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SegmentCounts {
    /// Name, such as `region=eu`.
    pub name: String,
    /// Live requests that ended.
    pub requests: Arms<u64>,
    /// Of these, those that failed.
    pub errors: Arms<u64>,
    /// Of these, those that were slower than [`slow_edges`](super::reduce::Reducer::slow_edges).
    pub slow: Arms<u64>,
    /// Compared copies.
    pub compared: Arms<u64>,
    /// Of these, those that diverged.
    pub diverged: Arms<u64>,
}

/// A histogram of durations: counts by the upper edge of their bucket in nanoseconds, rising. Only
/// buckets that hold something are there; `u64::MAX` holds what is beyond the range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Durations(Vec<(u64, u64)>);

/// Upper edge of the range below all buckets of a [`Snapshot`], in nanoseconds.
const LOWEST_EDGE: u64 = 1_000;

impl From<&Snapshot> for Durations {
    fn from(snapshot: &Snapshot) -> Self {
        let inside = snapshot.buckets().filter(|(_, _, n)| *n > 0).map(|(_, upper, n)| (upper, n));
        let mut buckets: Vec<_> = inside.collect();
        // What lies below the range has no bucket to iterate over; what lies above neither.
        let bucketed: u64 = buckets.iter().map(|(_, n)| n).sum();
        let upto_top = snapshot.count_le(u64::MAX - 1);
        let below = upto_top.saturating_sub(bucketed);
        let above = snapshot.count().saturating_sub(upto_top);
        if below > 0 {
            buckets.insert(0, (LOWEST_EDGE, below));
        }
        if above > 0 {
            buckets.push((u64::MAX, above));
        }
        Self(buckets)
    }
}

impl Durations {
    /// A histogram of these buckets: `(upper edge in nanoseconds, count)`, in any order.
    pub fn new(buckets: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sums = BTreeMap::<u64, u64>::new();
        for (edge, count) in buckets.into_iter().filter(|(_, count)| *count > 0) {
            let sum = sums.entry(edge).or_default();
            *sum = sum.saturating_add(count);
        }
        Self(sums.into_iter().collect())
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// How many lie in buckets beyond this edge.
    pub fn above(&self, edge: u64) -> u64 {
        self.0.iter().filter(|(upper, _)| *upper > edge).fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The edge below or at which the share `q` of the durations lies.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        self.0.iter().find_map(|(edge, n)| {
            seen = seen.saturating_add(*n);
            (rank <= seen).then_some(*edge)
        })
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
        } else if !other.0.is_empty() {
            *self = Self::new(self.0.iter().chain(&other.0).copied());
        }
    }

    /// What was counted after `earlier`, or nothing where a count fell.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut before: BTreeMap<u64, u64> = earlier.0.iter().copied().collect();
        let mut rest = Vec::with_capacity(self.0.len());
        for (edge, count) in &self.0 {
            let more = count.checked_sub(before.remove(edge).unwrap_or(0))?;
            if more > 0 {
                rest.push((*edge, more));
            }
        }
        before.is_empty().then_some(Self(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_histogram_keeps_its_counts_on_the_way_here(
            values in prop::collection::vec(prop_oneof![0..3_000u64, 0..4_000_000_000_000u64], 0..60),
            edge in prop_oneof![Just(1_000u64), Just(25_000), Just(1_000_000), Just(5_000_000_000)],
        ) {
            let histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            let durations = Durations::from(&histogram.snapshot());
            prop_assert_eq!(durations.count(), values.len() as u64);
            let above = values.iter().filter(|value| **value > edge).count() as u64;
            prop_assert_eq!(durations.above(edge), above);
        }
    }

    #[test]
    fn what_was_counted_since_is_the_difference_and_a_fall_is_told() {
        let early = Durations::new([(10, 3), (20, 1)]);
        let mut late = early.clone();
        late.merge(&Durations::new([(20, 2), (30, 1)]));
        assert_eq!(late.since(&early), Some(Durations::new([(20, 2), (30, 1)])));
        assert_eq!(early.since(&late), None);
        assert_eq!(Durations::default().since(&early), None);
        assert_eq!(late.quantile(0.5), Some(20));
        assert_eq!(Durations::default().quantile(0.5), None);
    }
}
