//! Turning the question round: has the declared harm been ruled out?
//!
//! The null is that the candidate *does* the harm, "its event rate is at least `ratio` times the
//! stable one's". A healthy canary refutes it, with a number of events that follows from the harm
//! and not from a clock. Nothing is kept in cash: a harm that is there is there from the start of a
//! step, and each step takes a fresh test, since harm that depends on load appears only at higher
//! weights.
//!
//! A service that has hardly any errors would wait for them forever. There the harm is declared
//! with a least rate as well: ratio *and* rate. Refuting either refutes both, so the wealth is
//! split in halves, and the second half is refuted by clean requests.

use serde::{Deserialize, Serialize};

use super::arm::{factors, inside};
use super::arms::Arms;
use super::wealth::{Outcome, Pace, Wealth};

/// The rates that are bet on against a least rate, as shares of it.
const RATES: [f64; 3] = [0.0, 0.25, 0.5];

/// Whether a harm can be ruled out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdvanceTest {
    ratio: f64,
    min_rate: Option<f64>,
    relative: Wealth<3>,
    absolute: Wealth<3>,
}

impl AdvanceTest {
    /// A test of "the candidate's rate is at least `ratio` (above 1) times the stable one's".
    pub fn new(ratio: f64) -> Self {
        Self { ratio, min_rate: None, relative: Wealth::invested(), absolute: Wealth::invested() }
    }

    /// The same with "and it is at least `min_rate`" (strictly between 0 and 1).
    #[must_use]
    pub fn with_min_rate(ratio: f64, min_rate: f64) -> Self {
        Self { min_rate: Some(min_rate), ..Self::new(ratio) }
    }

    /// Takes what was counted at one weight since the last call, and gives the e-value. `events`
    /// are those of both arms, `others` are the candidate's requests without the event; they matter
    /// only where the harm has a least rate.
    pub fn observe(&mut self, weight: f64, events: Arms<u64>, others: u64) -> f64 {
        if inside(weight) && self.ratio > 1.0 {
            let ratios = [0.5, 1.0, self.ratio.sqrt()].map(|r| r / self.ratio);
            let (stable, candidate) = factors(weight, self.ratio, &ratios);
            let settled = self.relative.settle(&[
                Outcome { factors: &stable, count: events.stable },
                Outcome { factors: &candidate, count: events.candidate },
            ]);
            if settled {
                self.relative.invest(events.total(), Pace::Events);
            }
        }
        if let Some(rate) = self.min_rate.filter(|rate| inside(*rate)) {
            let other = RATES.map(|share| (1.0 - share * rate) / (1.0 - rate));
            let outcomes = [
                Outcome { factors: &RATES, count: events.candidate },
                Outcome { factors: &other, count: others },
            ];
            if self.absolute.settle(&outcomes) {
                self.absolute.invest(events.candidate.saturating_add(others), Pace::Requests);
            }
        }
        self.e_value()
    }

    /// The evidence so far that the candidate does not do the harm. Compare with `1/β`.
    pub fn e_value(&self) -> f64 {
        match self.min_rate {
            Some(_) => 0.5 * (self.relative.total() + self.absolute.total()),
            None => self.relative.total(),
        }
    }

    /// How many events of both arms it stands on.
    pub fn events(&self) -> u64 {
        self.relative.steps()
    }

    /// The harm that is to be ruled out, as a ratio of rates.
    pub fn ratio(&self) -> f64 {
        self.ratio
    }
}
