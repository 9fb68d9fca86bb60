//! Where each version's share lies on the line of 10 000 points.
//!
//! Stable lies in the middle. The first other version grows from 0 upwards, the second from
//! 10 000 downwards, the third on top of the first, the fourth below the second and so on. So
//! raising the weight of the innermost version of either end takes points from stable alone: with
//! one or two versions beside stable, every ramp moves keys only from stable to the version that
//! is ramped (monotone). With more, raising an outer version also shifts its inner neighbours.

use crate::base::Weight;

/// Points on the line: one per basis point.
pub const POINTS: u16 = 10_000;

/// An assignment of the points 0..10 000 to arms. Made once per table, read once per request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `(end, arm)`, sorted by `end`; the last end is 10 000. Arms without weight do not appear.
    ends: Box<[(u16, u16)]>,
}

/// Why weights make no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("weights sum to {sum}bp, not to 100% (10000bp)")]
pub struct LayoutError {
    /// What they sum to, in basis points.
    pub sum: u32,
}

impl Layout {
    /// Lays out `weights` by arm, where `stable` is the arm in the middle.
    ///
    /// # Errors
    /// [`LayoutError`] when the weights do not sum to 100 %.
    pub fn new(weights: &[Weight], stable: usize) -> Result<Self, LayoutError> {
        let sum: u32 = weights.iter().map(|w| u32::from(w.basis_points())).sum();
        if sum != u32::from(POINTS) || weights.len() > usize::from(u16::MAX) {
            return Err(LayoutError { sum });
        }
        let others = || weights.iter().enumerate().filter(|(arm, _)| *arm != stable);
        let bottom = others().step_by(2);
        let mut top: Vec<_> = others().skip(1).step_by(2).collect();
        top.reverse();
        let middle = weights.get(stable).map(|w| (stable, w));
        let mut end = 0;
        let mut ends = Vec::new();
        for (arm, weight) in bottom.chain(middle).chain(top) {
            if weight.basis_points() > 0 {
                end += weight.basis_points();
                ends.push((end, u16::try_from(arm).unwrap_or(u16::MAX)));
            }
        }
        Ok(Self { ends: ends.into() })
    }

    /// The arm at `point` (taken modulo 10 000).
    pub fn arm(&self, point: u16) -> usize {
        let point = point % POINTS;
        let found = self.ends.iter().find(|(end, _)| point < *end).or(self.ends.last());
        found.map_or(0, |(_, arm)| usize::from(*arm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(bp: &[u32]) -> Vec<Weight> {
        bp.iter().map(|b| Weight::new(*b).unwrap()).collect()
    }

    fn count(layout: &Layout, arms: usize) -> Vec<u32> {
        let mut counts = vec![0; arms];
        for point in 0..POINTS {
            counts[layout.arm(point)] += 1;
        }
        counts
    }

    #[test]
    fn weights_that_do_not_sum_are_refused() {
        assert_eq!(Layout::new(&weights(&[9_000, 999]), 0), Err(LayoutError { sum: 9_999 }));
        assert_eq!(Layout::new(&[], 0), Err(LayoutError { sum: 0 }));
    }

    #[test]
    fn the_layout_is_the_same_on_every_replica_for_ever() {
        let layout = Layout::new(&weights(&[8_000, 500, 1_500]), 0).unwrap();
        let arms: Vec<_> = [0, 499, 500, 8_499, 8_500, 9_999].map(|p| layout.arm(p)).into();
        assert_eq!(arms, [1, 1, 0, 0, 2, 2]);
    }

    proptest! {
        #[test]
        fn every_arm_gets_exactly_its_weight(cuts in prop::collection::vec(0u32..=10_000, 0..6), stable in 0usize..7) {
            let mut cuts = cuts;
            cuts.extend([0, 10_000]);
            cuts.sort_unstable();
            let bp: Vec<u32> = cuts.windows(2).map(|w| w[1] - w[0]).collect();
            let stable = stable % bp.len();
            let layout = Layout::new(&weights(&bp), stable).unwrap();
            prop_assert_eq!(count(&layout, bp.len()), bp);
        }

        #[test]
        fn a_ramp_moves_points_only_from_stable_to_the_ramped_version(
            a in 0u32..=5_000, b in 0u32..=5_000, step in 0u32..=5_000, first: bool,
        ) {
            let step = step.min(10_000 - a - b);
            let (a2, b2) = if first { (a + step, b) } else { (a, b + step) };
            let before = Layout::new(&weights(&[10_000 - a - b, a, b]), 0).unwrap();
            let after = Layout::new(&weights(&[10_000 - a2 - b2, a2, b2]), 0).unwrap();
            let ramped = if first { 1 } else { 2 };
            for point in 0..POINTS {
                let (from, to) = (before.arm(point), after.arm(point));
                prop_assert!(from == to || (from == 0 && to == ramped), "{} {}->{}", point, from, to);
            }
        }
    }
}
