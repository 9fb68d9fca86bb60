//! Do requests fall on the arms as their weights say?
//!
//! Every other test stands on the coin. When it is not what it is said to be (a client that pins
//! versions, a cache in front that answers for one of them, a bug), their verdicts mean nothing, and
//! the caller stops deciding. In experimentation this is the *sample ratio mismatch* (Fabijan et
//! al., KDD 2019; sequentially Lindon and Malek, 2011.03567).

use serde::{Deserialize, Serialize};

use super::arm::{factors, inside};
use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// The odds of the candidate that are bet on, as multiples of those that the weight gives.
const MISMATCHES: [f64; 12] = [0.1, 0.5, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.25, 2.0, 10.0];

/// Whether the randomisation is broken, towards either side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleRatioTest {
    wealth: Wealth<12>,
}

impl Default for SampleRatioTest {
    fn default() -> Self {
        Self::new()
    }
}

impl SampleRatioTest {
    /// A test of "each request's arm was drawn with the weight".
    pub fn new() -> Self {
        Self { wealth: Wealth::switching() }
    }

    /// Takes how many requests were *assigned* to each arm at one weight since the last call, and
    /// gives the e-value. Counting those that ended instead would see a slow candidate as a broken
    /// coin.
    pub fn observe(&mut self, weight: f64, requests: Arms<u64>) -> f64 {
        if inside(weight) {
            let (stable, candidate) = factors(weight, 1.0, &MISMATCHES);
            let settled = self.wealth.settle(&[
                Outcome { factors: &stable, count: requests.stable },
                Outcome { factors: &candidate, count: requests.candidate },
            ]);
            if settled {
                self.wealth.invest(requests.total(), Pace::Requests);
            }
        }
        self.e_value()
    }

    /// The evidence so far that the arms are not drawn as said. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        self.wealth.total()
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.wealth.steps()
    }
}
