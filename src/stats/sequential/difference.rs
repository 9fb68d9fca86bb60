//! A number between 0 and 1: do its means differ by more than a margin?
//!
//! `X = (x − m)/w` for the candidate and `−(x − m)/(1 − w)` for stable has, whatever `m` is, the
//! difference of the means as its expectation: the arm's own coin weighs each observation. The bets
//! are `1 + λ(X − δ)` (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting", 2010.09686). `m` is the mean of everything before, which makes `X` small.
//!
//! Values come in bins of equal width and count as their bin's middle. Scores are judged by rank:
//! the bin is then the share of the stable arm's earlier scores that lie below, and a difference of
//! 0.02 reads `P(candidate > stable) = 0.52`.

use serde::{Deserialize, Serialize};

use super::arm::inside;
use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// How much is bet, as shares of what could be lost at one observation.
const STAKES: [f64; 7] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// Which difference is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The candidate's mean is higher.
    Higher,
    /// The candidate's mean is lower.
    Lower,
    /// Either.
    Both,
}

/// Whether the mean of a bounded number differs between the arms by more than a margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DifferenceTest {
    margin: f64,
    side: Side,
    higher: Wealth<7>,
    lower: Wealth<7>,
    /// Sum of everything seen, in values from 0 to 1.
    sum: f64,
    count: u64,
}

impl DifferenceTest {
    /// A test of "the means differ by at most `margin`" (0 to 1) towards `side`.
    pub fn new(margin: f64, side: Side) -> Self {
        Self { margin, side, higher: Wealth::switching(), lower: Wealth::switching(), sum: 0.0, count: 0 }
    }

    /// Takes what was counted at one weight since the last call, by bins of equal width over
    /// `[0, 1]`, lowest first, and gives the e-value.
    pub fn observe(&mut self, weight: f64, bins: &[Arms<u64>]) -> f64 {
        let width = 1.0 / bins.len().max(1) as f64;
        let values = bins.iter().enumerate().map(|(at, counts)| ((at as f64 + 0.5) * width, *counts));
        self.observe_values(weight, values)
    }

    /// Like [`observe`](Self::observe), for any values from 0 to 1 with their counts (a yes or no
    /// is 1 or 0). Values outside are taken as the nearer end; what is not a number is left out.
    pub fn observe_values(&mut self, weight: f64, values: impl Iterator<Item = (f64, Arms<u64>)>) -> f64 {
        if !inside(weight) || !(0.0..=1.0).contains(&self.margin) {
            return self.e_value();
        }
        let centre = if self.count == 0 { 0.5 } else { self.sum / self.count as f64 };
        let centre = centre.clamp(0.0, 1.0);
        // What may be lost at one observation per unit of stake, towards either side.
        let worst_higher = (centre / weight).max((1.0 - centre) / (1.0 - weight)) + self.margin;
        let worst_lower = ((1.0 - centre) / weight).max(centre / (1.0 - weight)) + self.margin;
        let mut seen = 0_u64;
        for (value, counts) in values {
            if value.is_nan() || counts.total() == 0 {
                continue;
            }
            let value = value.clamp(0.0, 1.0);
            let away = value - centre;
            let x = Arms::new(-away / (1.0 - weight), away / weight);
            self.higher.wager(x, self.margin, worst_higher, counts);
            self.lower.wager(Arms::new(-x.stable, -x.candidate), self.margin, worst_lower, counts);
            self.sum += value * counts.total() as f64;
            seen = seen.saturating_add(counts.total());
        }
        self.count = self.count.saturating_add(seen);
        self.higher.invest(seen, Pace::Requests);
        self.lower.invest(seen, Pace::Requests);
        self.e_value()
    }

    /// The evidence so far that the means differ by more than the margin. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        match self.side {
            Side::Higher => self.higher.total(),
            Side::Lower => self.lower.total(),
            Side::Both => 0.5 * (self.higher.total() + self.lower.total()),
        }
    }

    /// How many observations it stands on.
    pub fn requests(&self) -> u64 {
        self.count
    }
}

impl Wealth<7> {
    /// Bets that `x` is above the margin on average.
    fn wager(&mut self, x: Arms<f64>, margin: f64, worst: f64, counts: Arms<u64>) {
        let factors = |x: f64| STAKES.map(|stake| 1.0 + stake / worst * (x - margin));
        let (stable, candidate) = (factors(x.stable), factors(x.candidate));
        // Never refused: the stakes are such that every factor is at least a half.
        self.settle(&[
            Outcome { factors: &stable, count: counts.stable },
            Outcome { factors: &candidate, count: counts.candidate },
        ]);
    }
}
