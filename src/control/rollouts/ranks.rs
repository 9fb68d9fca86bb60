//! Where a prediction stands among the stable version's.
//!
//! A score's rank is its place among the stable version's scores of an earlier block, so that no
//! score is ranked against itself. Blocks grow, which follows a daily cycle and keeps the first ranks
//! from waiting. Of equal scores one place is drawn: a classifier that says 0 or 1 has ranks all
//! the same.

use crate::stats::sequential::{Arms, RANK_BINS};
use crate::stats::trial::Arm;

/// Scores of the stable version in the first block, and in the largest.
const BLOCKS: (usize, usize) = (200, 20_000);

/// Ranks scores, over all trials of a rollout.
#[derive(Debug)]
pub(super) struct Ranks {
    /// The block before this one, sorted.
    reference: Vec<f64>,
    current: Vec<f64>,
    length: usize,
    draw: fastrand::Rng,
}

impl Ranks {
    /// No scores yet; `seed` decides which place equal scores get.
    pub(super) fn new(seed: u64) -> Self {
        let draw = fastrand::Rng::with_seed(seed);
        Self { reference: Vec::new(), current: Vec::new(), length: BLOCKS.0, draw }
    }

    /// Adds one score to the bin of its rank. Before there is anything to rank by, and where it is
    /// no number, it is left out.
    pub(super) fn add(&mut self, arm: Arm, score: f64, bins: &mut Vec<Arms<u64>>) {
        if !score.is_finite() {
            return;
        }
        if let Some(bin) = self.bin(score) {
            bins.resize(RANK_BINS, Arms::default());
            if let Some(bin) = bins.get_mut(bin) {
                match arm {
                    Arm::Stable => bin.stable += 1,
                    Arm::Candidate => bin.candidate += 1,
                }
            }
        }
        if arm == Arm::Stable {
            self.current.push(score);
            if self.current.len() >= self.length {
                self.reference = std::mem::take(&mut self.current);
                self.reference.sort_by(f64::total_cmp);
                self.length = (self.length * 2).min(BLOCKS.1);
            }
        }
    }

    fn bin(&mut self, score: f64) -> Option<usize> {
        let places = self.reference.len();
        if places == 0 {
            return None;
        }
        let below = self.reference.partition_point(|other| *other < score);
        let upto = self.reference.partition_point(|other| *other <= score);
        // Between two scores of the reference there is one gap, among equals there are several.
        let place = self.draw.usize(below..=upto);
        Some((place * RANK_BINS / (places + 1)).min(RANK_BINS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(arm_shift: f64, discrete: bool) -> Vec<Arms<u64>> {
        let mut ranks = Ranks::new(7);
        let mut source = fastrand::Rng::with_seed(11);
        let mut bins = Vec::new();
        for n in 0..40_000 {
            let arm = if n % 2 == 0 { Arm::Stable } else { Arm::Candidate };
            let mut score = source.f64() + if arm == Arm::Candidate { arm_shift } else { 0.0 };
            if discrete {
                score = score.round();
            }
            ranks.add(arm, score, &mut bins);
        }
        bins
    }

    fn mean(bins: &[Arms<u64>], of: impl Fn(&Arms<u64>) -> u64) -> f64 {
        let total: u64 = bins.iter().map(&of).sum();
        let sum: f64 = bins.iter().enumerate().map(|(i, b)| (i as f64 + 0.5) * of(b) as f64).sum();
        sum / total as f64 / RANK_BINS as f64
    }

    #[test]
    fn equal_distributions_have_equal_ranks_and_a_shift_moves_them() {
        for discrete in [false, true] {
            let bins = fill(0.0, discrete);
            let gap = mean(&bins, |b| b.candidate) - mean(&bins, |b| b.stable);
            assert!(gap.abs() < 0.01, "{gap} {discrete}");
        }
        let bins = fill(0.2, false);
        assert!(mean(&bins, |b| b.candidate) - mean(&bins, |b| b.stable) > 0.15);
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let mut ranks = Ranks::new(1);
        let mut bins = Vec::new();
        for score in [f64::NAN, f64::INFINITY].into_iter().cycle().take(1_000) {
            ranks.add(Arm::Stable, score, &mut bins);
        }
        assert!(bins.is_empty() && ranks.current.is_empty());
    }
}
