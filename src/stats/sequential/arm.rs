//! Given that an event happened: in which arm?
//!
//! If the candidate's event rate is at most `tolerance` times the stable one's at this moment,
//! the event fell on the candidate with probability at most `q = ρw/(ρw + 1 − w)`, whatever the
//! rate is just now. The bets are that it is `r` times as often, for `r` on a grid. Requests
//! without the event need no work. The idea is old (Kulldorff's MaxSPRT for vaccine safety bets on
//! the arm of an adverse event); as an e-process it is a relative of Lindon and Malek, "Anytime-valid
//! inference for multinomial count data" (2011.03567).

use serde::{Deserialize, Serialize};

use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// The ratios of event rates that are bet on, as multiples of the tolerance.
pub const RATIOS: [f64; 7] = [1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Whether an event (an error, a diverged pair) is more frequent in the candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArmTest {
    tolerance: f64,
    wealth: Wealth<7>,
}

impl ArmTest {
    /// A test of "at most `tolerance` times as many"; 1 is "no worse".
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, wealth: Wealth::switching() }
    }

    /// Takes what was counted at one weight since the last call, and gives the e-value.
    ///
    /// `weight` is the candidate's share of the draws between the two arms, 0 to 1, as it was when
    /// the requests were assigned. Counts of two weights need two calls.
    pub fn observe(&mut self, weight: f64, events: Arms<u64>) -> f64 {
        if events.total() > 0 {
            let (stable, candidate) = factors(weight, self.tolerance, &RATIOS);
            let outcomes = [
                Outcome { factors: &stable, count: events.stable },
                Outcome { factors: &candidate, count: events.candidate },
            ];
            if inside(weight) && self.wealth.settle(&outcomes) {
                self.wealth.invest(events.total(), Pace::Events);
            }
        }
        self.e_value()
    }

    /// The evidence so far that the candidate is worse. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        self.wealth.total()
    }

    /// How many events it stands on.
    pub fn events(&self) -> u64 {
        self.wealth.steps()
    }

    /// The tolerated ratio.
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }
}

/// Whether both arms get requests at this weight. Otherwise an event's arm says nothing.
#[inline]
pub(super) fn inside(weight: f64) -> bool {
    weight > 0.0 && weight < 1.0
}

/// The factors at an event in the stable arm and in the candidate, per ratio, where the null says
/// that the ratio of rates is `limit` and the bets say that it is `limit × ratio`.
///
/// With `π = r/(r + odds)` and `q` the same for the null, these are `(1−π)/(1−q)` and `π/q`, of
/// which both have the one division below in common.
#[inline]
pub(super) fn factors<const K: usize>(weight: f64, limit: f64, ratios: &[f64; K]) -> ([f64; K], [f64; K]) {
    let at_limit = limit * weight + (1.0 - weight);
    let stable = ratios.map(|ratio| at_limit / (ratio * limit * weight + (1.0 - weight)));
    let mut candidate = *ratios;
    for (factor, stable) in candidate.iter_mut().zip(&stable) {
        *factor *= stable;
    }
    (stable, candidate)
}
