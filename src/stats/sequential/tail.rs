//! Latency against the stable arm: are the candidate's slow requests more frequent?
//!
//! A threshold is a quantile of the stable arm, taken from requests *before* the ones that are
//! judged by it. Whatever it is, if the candidate is not slower, a request above it comes from the
//! candidate at most as often as the weight says. Body and tail are each bet on: a slowdown of all
//! requests shows first at p50, one of the tail at p99. No moments, no model of the distribution.
//!
//! A test of several quantiles is the weighted mean of one test for each, half of it on the
//! highest: that is the same process as one cash account over all bets.

use serde::{Deserialize, Serialize};

use super::arm::inside;
use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// The odds of being above the threshold that are bet on, as multiples of the null's.
pub const ODDS: [f64; 5] = [1.25, 1.5, 2.0, 4.0, 10.0];

/// Requests above a threshold, and those not above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exceedance {
    /// Requests that took longer.
    pub above: Arms<u64>,
    /// Requests that did not.
    pub below: Arms<u64>,
}

/// Whether the candidate is slower, at one or more quantiles of the stable arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TailTest {
    parts: Vec<Part>,
}

/// The test at one quantile, and its share in the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Part {
    quantile: f64,
    share: f64,
    wealth: Wealth<5>,
}

impl TailTest {
    /// A test at p50, p90 and p99.
    pub fn standard() -> Self {
        Self::new(&[0.5, 0.9, 0.99])
    }

    /// A test at these quantiles (each strictly between 0 and 1), the highest last. It gets half of
    /// the wealth, the others equal parts of the rest.
    pub fn new(quantiles: &[f64]) -> Self {
        let last = quantiles.len().saturating_sub(1);
        let share = |at: usize| match (at == last, last) {
            (_, 0) => 1.0,
            (true, _) => 0.5,
            (false, others) => 0.5 / others as f64,
        };
        let part = |(at, quantile): (usize, &f64)| Part {
            quantile: *quantile,
            share: share(at),
            wealth: Wealth::switching(),
        };
        Self { parts: quantiles.iter().enumerate().map(part).collect() }
    }

    /// Takes what was counted at one weight and one threshold since the last call, and gives the
    /// e-value. `quantile` is the place in the list that the test was made with; one that is not
    /// there changes nothing.
    ///
    /// The threshold may be another one at each call, as long as it was fixed before the requests
    /// came; for the candidate it may be higher by the tolerated slowdown.
    pub fn observe(&mut self, weight: f64, quantile: usize, counts: Exceedance) -> f64 {
        if let Some(part) = self.parts.get_mut(quantile) {
            part.observe(weight, counts);
        }
        self.e_value()
    }

    /// The evidence so far that the candidate is slower. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        if self.parts.is_empty() {
            return 1.0;
        }
        self.parts.iter().map(|part| part.share * part.wealth.total()).sum()
    }

    /// The e-values at each quantile alone, to say where the candidate is slower.
    pub fn parts(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.parts.iter().map(|part| (part.quantile, part.wealth.total()))
    }

    /// The same as [`e_value`](Self::e_value), with the e-value at each quantile replaced by what
    /// `counts` makes of it. `counts` is given the quantile's place.
    pub fn e_value_by(&self, counts: impl Fn(usize, f64) -> f64) -> f64 {
        if self.parts.is_empty() {
            return 1.0;
        }
        self.parts.iter().enumerate().map(|(at, part)| part.share * counts(at, part.wealth.total())).sum()
    }

    /// The quantiles, in the order of [`observe`](Self::observe).
    pub fn quantiles(&self) -> impl Iterator<Item = f64> + '_ {
        self.parts.iter().map(|part| part.quantile)
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.parts.iter().map(|part| part.wealth.steps()).max().unwrap_or(0)
    }
}

impl Part {
    fn observe(&mut self, weight: f64, counts: Exceedance) {
        if !inside(weight) || !inside(self.quantile) {
            return;
        }
        let Exceedance { above, below } = counts;
        let factors = factors(weight, self.quantile, counts);
        let [slow_stable, slow_candidate, fast_stable, fast_candidate] = &factors;
        let outcomes = [
            Outcome { factors: slow_stable, count: above.stable },
            Outcome { factors: slow_candidate, count: above.candidate },
            Outcome { factors: fast_stable, count: below.stable },
            Outcome { factors: fast_candidate, count: below.candidate },
        ];
        if self.wealth.settle(&outcomes) {
            self.wealth.invest(above.total().saturating_add(below.total()), Pace::Requests);
        }
    }
}

/// The factors per bet: above the threshold in the stable arm and in the candidate, then not above
/// it. What was not counted costs no divisions, and leaves a bet as it is.
pub(super) fn factors(weight: f64, quantile: f64, counts: Exceedance) -> [[f64; 5]; 4] {
    let null = 1.0 - quantile;
    let bets = ODDS.map(|odds| odds * null / (1.0 - null + odds * null));
    // The probabilities of being above, and of not being, over both arms.
    let slow = |bet: f64| weight * bet + (1.0 - weight) * null;
    let fast = |bet: f64| weight * (1.0 - bet) + (1.0 - weight) * (1.0 - null);
    let Exceedance { above, below } = counts;
    [
        row(&bets, above.stable, |bet| null / slow(bet)),
        row(&bets, above.candidate, |bet| bet / slow(bet)),
        row(&bets, below.stable, |bet| (1.0 - null) / fast(bet)),
        row(&bets, below.candidate, |bet| (1.0 - bet) / fast(bet)),
    ]
}

fn row(bets: &[f64; 5], count: u64, factor: impl Fn(f64) -> f64) -> [f64; 5] {
    if count == 0 { [1.0; 5] } else { bets.map(factor) }
}
