//! Has a number the same distribution in both arms?
//!
//! Given a value, the coin alone says which arm it came from. The bets are that high ranks (or low
//! ones, or those in the middle, or those at the ends) come from the candidate more often than that.
//! Any change is found, and a new model always changes something: this test informs, and
//! [`DifferenceTest`](super::DifferenceTest) with a margin decides. On the *inputs* it shows that
//! the randomisation is broken, for the inputs can't depend on the version.

use serde::{Deserialize, Serialize};

use super::arm::inside;
use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// How strong a tilt is bet on, for each of the two shapes and both directions.
const STRENGTHS: [f64; 8] = [-0.9, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 0.9];

/// Whether the distributions of a number in both arms differ at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TiltTest {
    wealth: Wealth<16>,
}

impl Default for TiltTest {
    fn default() -> Self {
        Self::new()
    }
}

impl TiltTest {
    /// A test of "the same distribution".
    pub fn new() -> Self {
        Self { wealth: Wealth::switching() }
    }

    /// Takes what was counted at one weight since the last call, by bins of rank among the stable
    /// arm's earlier values, lowest first, and gives the e-value. Bins may be few or many
    /// ([`RANK_BINS`](super::RANK_BINS) is usual) and need not be equally full: the ranks only choose
    /// the bets.
    pub fn observe(&mut self, weight: f64, bins: &[Arms<u64>]) -> f64 {
        if inside(weight) {
            let width = 1.0 / bins.len().max(1) as f64;
            let mut seen = 0_u64;
            for (at, counts) in bins.iter().enumerate().filter(|(_, counts)| counts.total() > 0) {
                let (stable, candidate) = factors(weight, (at as f64 + 0.5) * width);
                self.wealth.settle(&[
                    Outcome { factors: &stable, count: counts.stable },
                    Outcome { factors: &candidate, count: counts.candidate },
                ]);
                seen = seen.saturating_add(counts.total());
            }
            self.wealth.invest(seen, Pace::Requests);
        }
        self.e_value()
    }

    /// The evidence so far that the distributions differ. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        self.wealth.total()
    }

    /// How many observations it stands on.
    pub fn requests(&self) -> u64 {
        self.wealth.steps()
    }
}

/// The factors in the stable arm and in the candidate for a value of rank `u`: first the bets on a
/// shift, then those on a spread.
fn factors(weight: f64, u: f64) -> ([f64; 16], [f64; 16]) {
    let shapes = [2.0 * u - 1.0, 6.0 * u * u - 6.0 * u + 1.0];
    let (mut stable, mut candidate) = ([1.0; 16], [1.0; 16]);
    let tilts = shapes.iter().flat_map(|shape| STRENGTHS.map(|strength| 1.0 + strength * shape));
    for ((stable, candidate), tilt) in stable.iter_mut().zip(&mut candidate).zip(tilts) {
        let both = weight * tilt + (1.0 - weight);
        *stable = 1.0 / both;
        *candidate = tilt / both;
    }
    (stable, candidate)
}
