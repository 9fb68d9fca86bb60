//! Where "slow" begins: quantiles of the stable arm, as edges of the histogram's buckets.
//!
//! At an edge a histogram's counts are exact, so nothing is estimated afterwards. The candidate's
//! threshold is the stable one's times the tolerated slowdown, rounded *up* to an edge: rounding
//! only ever makes the candidate look better.

use serde::{Deserialize, Serialize};

use crate::stats::Snapshot;
use crate::stats::grid::{LOWEST, Place, edges};

use super::arms::Arms;
use super::tail::Exceedance;

/// A threshold of the latency test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TailEdge {
    /// A stable request above this many nanoseconds is slow.
    pub stable_nanos: u64,
    /// A candidate's request above this many nanoseconds is.
    pub candidate_nanos: u64,
}

/// One threshold for each quantile of a [`TailTest`](super::TailTest), in its order. A quantile that
/// lies outside of the histogram's range has none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TailThresholds {
    edges: Vec<Option<TailEdge>>,
}

impl TailThresholds {
    /// The thresholds that follow from what the stable arm did *before* the requests that are to
    /// be judged. `tolerance` is the factor that the candidate may be slower by; 1.1 is 10 %.
    pub fn of(baseline: &Snapshot, quantiles: impl IntoIterator<Item = f64>, tolerance: f64) -> Self {
        let edge = |quantile| {
            let stable_nanos = edge_of_quantile(baseline, quantile)?;
            let tolerated = stable_nanos as f64 * tolerance.max(1.0);
            Some(TailEdge { stable_nanos, candidate_nanos: edge_at_or_above(tolerated.ceil() as u64)? })
        };
        Self { edges: quantiles.into_iter().map(edge).collect() }
    }

    /// The thresholds, by quantile.
    pub fn edges(&self) -> &[Option<TailEdge>] {
        &self.edges
    }

    /// What `stable` and `candidate` (the requests since the last look) have above and below each
    /// threshold: to be handed to [`TailTest::observe`](super::TailTest::observe) by place.
    pub fn count<'a>(
        &'a self,
        stable: &'a Snapshot,
        candidate: &'a Snapshot,
    ) -> impl Iterator<Item = (usize, Exceedance)> + 'a {
        let counted = move |edge: TailEdge| {
            let below =
                Arms::new(stable.count_le(edge.stable_nanos), candidate.count_le(edge.candidate_nanos));
            let all = Arms::new(stable.count(), candidate.count());
            Exceedance { above: all.since(below), below }
        };
        self.edges.iter().enumerate().filter_map(move |(at, edge)| Some((at, counted((*edge)?))))
    }
}

/// The lowest edge of a histogram that is not below `nanos`: where an absolute bound is counted, so
/// that nothing within it counts as above. Nothing beyond 1000 s.
pub fn edge_at_or_above(nanos: u64) -> Option<u64> {
    match Place::of(nanos) {
        Place::Below => Some(LOWEST),
        Place::Bucket(decade, bucket) => Some(edges(decade, bucket).1),
        Place::Above => None,
    }
}

/// The lowest edge that at least the share `quantile` of the values does not exceed.
fn edge_of_quantile(snapshot: &Snapshot, quantile: f64) -> Option<u64> {
    let count = snapshot.count();
    if count == 0 || !(quantile > 0.0 && quantile < 1.0) {
        return None;
    }
    let rank = ((quantile * count as f64).ceil() as u64).clamp(1, count);
    let mut seen = snapshot.count_le(LOWEST);
    if rank <= seen {
        return Some(LOWEST);
    }
    for (_, upper, n) in snapshot.buckets() {
        seen += n;
        if rank <= seen {
            return Some(upper);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;
    use proptest::prelude::*;

    fn of(values: &[u64]) -> Snapshot {
        let histogram = Histogram::default();
        values.iter().for_each(|v| histogram.record(*v));
        histogram.snapshot()
    }

    proptest! {
        #[test]
        fn a_threshold_leaves_at_most_its_share_above_and_counts_are_exact(
            baseline in prop::collection::vec(2_000..10_000_000_000u64, 1..300),
            other in prop::collection::vec(1..20_000_000_000u64, 0..300),
            quantile in 0.01..0.99f64,
            tolerance in 1.0..3.0f64,
        ) {
            let thresholds = TailThresholds::of(&of(&baseline), [quantile], tolerance);
            let edge = thresholds.edges()[0].unwrap();
            let (at, counts) = thresholds.count(&of(&baseline), &of(&other)).next().unwrap();
            let above = |values: &[u64], edge: u64| values.iter().filter(|v| **v > edge).count() as u64;
            prop_assert_eq!(at, 0);
            prop_assert_eq!(counts.above.stable, above(&baseline, edge.stable_nanos));
            prop_assert_eq!(counts.above.candidate, above(&other, edge.candidate_nanos));
            prop_assert_eq!(counts.above.plus(counts.below), Arms::new(baseline.len() as u64, other.len() as u64));
            prop_assert!(counts.above.stable as f64 <= (1.0 - quantile) * baseline.len() as f64);
            // Rounded up, so never against the candidate, and by no more than a bucket.
            prop_assert!(edge.candidate_nanos as f64 >= edge.stable_nanos as f64 * tolerance);
            prop_assert!(edge.candidate_nanos as f64 <= edge.stable_nanos as f64 * tolerance * 1.101 + 1.0);
        }
    }

    #[test]
    fn without_a_tolerance_both_arms_have_the_same_threshold() {
        let baseline: Vec<u64> = (1..=1_000).map(|n| n * 100_000).collect();
        let thresholds = TailThresholds::of(&of(&baseline), [0.5, 0.9, 0.99], 1.0);
        let expected = [50, 90, 99]
            .map(|ms: u64| Some(TailEdge { stable_nanos: ms * 1_000_000, candidate_nanos: ms * 1_000_000 }));
        assert_eq!(thresholds.edges(), expected);
    }

    #[test]
    fn where_nothing_can_be_told_there_is_no_threshold() {
        assert_eq!(TailThresholds::of(&of(&[]), [0.5], 1.1).edges(), [None]);
        let beyond = of(&[u64::MAX]);
        assert_eq!(TailThresholds::of(&beyond, [0.5], 1.1).edges(), [None]);
        let almost = of(&[999_000_000_000]);
        assert_eq!(TailThresholds::of(&almost, [0.5], 1.1).edges(), [None], "the tolerated is beyond");
        assert_eq!(TailThresholds::of(&almost, [0.0, 1.0, f64::NAN], 1.1).edges(), [None; 3]);
        assert!(TailThresholds::of(&almost, [0.5], f64::NAN).edges()[0].is_some(), "no tolerance is one");
        assert_eq!(TailThresholds::of(&beyond, [0.5], 1.1).count(&almost, &almost).count(), 0);
        let tiny = of(&[1; 9]);
        assert_eq!(TailThresholds::of(&tiny, [0.5], 1.0).edges()[0].unwrap().stable_nanos, LOWEST);
    }

    #[test]
    fn an_absolute_bound_is_counted_at_the_next_edge() {
        assert_eq!(edge_at_or_above(500_000_000), Some(500_000_000));
        assert_eq!(edge_at_or_above(500_000_001), Some(510_000_000));
        assert_eq!(edge_at_or_above(3), Some(LOWEST));
        assert_eq!(edge_at_or_above(u64::MAX), None);
    }
}
