//! One arm against a bound that does not move: at most 2 % errors, at most 1 % above 500 ms.
//!
//! In an incident that strikes both arms this test is right and a rollback still would not help:
//! the caller runs it for the stable arm as well, and holds if that is in breach too.

use serde::{Deserialize, Serialize};

use super::arm::RATIOS;
use super::wealth::{Outcome, Pace, Wealth};

/// From here on every rate is within the bound, for what can be told.
const ALWAYS_WITHIN: f64 = 0.999;

/// Whether events of one arm are more frequent than an absolute bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateTest {
    max: f64,
    wealth: Wealth<7>,
}

impl RateTest {
    /// A test of "the probability of an event is at most `max`" (0 to 1). A bound of 0.999 or more
    /// can't be broken.
    pub fn new(max: f64) -> Self {
        Self { max, wealth: Wealth::switching() }
    }

    /// Takes how many requests of the arm had the event and how many had not, since the last
    /// call, and gives the e-value.
    pub fn observe(&mut self, events: u64, others: u64) -> f64 {
        if let Some((event, other)) = factors(self.max) {
            let outcomes =
                [Outcome { factors: &event, count: events }, Outcome { factors: &other, count: others }];
            if self.wealth.settle(&outcomes) {
                self.wealth.invest(events.saturating_add(others), Pace::Requests);
            }
        }
        self.e_value()
    }

    /// The evidence so far that the bound is broken. Compare with `1/α`.
    pub fn e_value(&self) -> f64 {
        self.wealth.total()
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.wealth.steps()
    }

    /// The bound.
    pub fn max(&self) -> f64 {
        self.max
    }
}

/// The factors at an event and at a request without one, per ratio; nothing for a bound that
/// says nothing.
#[inline]
pub(super) fn factors(max: f64) -> Option<([f64; 7], [f64; 7])> {
    if !(0.0..ALWAYS_WITHIN).contains(&max) {
        return None;
    }
    // A ratio at which the rate would be 1 or more is not a bet that could be paid.
    let event = RATIOS.map(|ratio| if max > 0.0 { ratio.min(ALWAYS_WITHIN / max) } else { ratio });
    let other = event.map(|ratio| (1.0 - ratio * max) / (1.0 - max));
    Some((event, other))
}
