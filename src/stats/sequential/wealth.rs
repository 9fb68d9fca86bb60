//! What a test has gained with its bets: a grid of alternatives, and cash that is invested slowly.
//!
//! Half of the wealth is bet from the start, equally on `K` alternatives. The other half is cash,
//! of which a share of `0.5/(n + offset)` moves into the bets after a step that `n` others went
//! before. Bets that lost everything in a long good time are so revived, and a harm that begins late
//! is found almost as fast as one that was there at once ("switching"; Herbster and Warmuth 1998, and for e-processes
//! Shin, Ramdas and Rinaldo, "E-detectors", 2203.03532). Moving cash keeps the sum, so it costs no
//! validity, whatever is moved and when.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wide::Wide;

/// No component grows beyond this: the sum stays finite, and finite numbers stand in JSON. To take
/// wealth away is always allowed.
pub(super) const CEILING: f64 = 1e300;

/// The share of the cash that is invested after a step, times `n + offset`.
const HAZARD: f64 = 0.5;
/// Up to here investments are made one by one, beyond it at once by a series.
const ONE_BY_ONE: u64 = 16;

/// How slowly cash is invested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// For tests whose step is an event: errors, divergence. Offset 20 at the first.
    Events,
    /// For tests whose step is a request. Offset 101 at the first.
    Requests,
}

/// The wealth of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wealth<const K: usize> {
    #[serde(serialize_with = "write_amount", deserialize_with = "read_amount")]
    cash: f64,
    #[serde(serialize_with = "write_amounts", deserialize_with = "read_amounts")]
    bets: [f64; K],
    /// Steps after which cash was invested.
    steps: u64,
}

/// The counts of one delta that share their factors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'a, const K: usize> {
    /// What each bet is multiplied by, once for every count.
    pub factors: &'a [f64; K],
    /// How often this was seen.
    pub count: u64,
}

impl<const K: usize> Wealth<K> {
    /// Half in cash, half on the grid.
    pub(super) fn switching() -> Self {
        Self { cash: 0.5, bets: [0.5 / K as f64; K], steps: 0 }
    }

    /// All of it on the grid, for good.
    pub(super) fn invested() -> Self {
        Self { cash: 0.0, bets: [1.0 / K as f64; K], steps: 0 }
    }

    /// The e-value: how many times over the null was lost against.
    #[inline]
    pub(super) fn total(&self) -> f64 {
        self.bets.iter().fold(self.cash, |sum, bet| sum + bet)
    }

    /// What is not bet.
    #[cfg(test)]
    pub(super) fn cash(&self) -> f64 {
        self.cash
    }

    /// How many steps were seen.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Settles the bets on what was seen. A factor that is negative or not a finite number takes
    /// all of the delta out: such a delta says nothing.
    ///
    /// Returns whether the delta was taken.
    #[inline]
    pub(super) fn settle(&mut self, outcomes: &[Outcome<'_, K>]) -> bool {
        let sound = |f: &f64| f.is_finite() && *f >= 0.0;
        if !outcomes.iter().filter(|o| o.count > 0).all(|o| o.factors.iter().all(sound)) {
            return false;
        }
        for outcome in outcomes {
            // The usual case by far, and exactly the product of the definition.
            if outcome.count == 1 {
                for (bet, factor) in self.bets.iter_mut().zip(outcome.factors) {
                    *bet = (*bet * factor).min(CEILING);
                }
            }
        }
        if outcomes.iter().all(|o| o.count <= 1) {
            return true;
        }
        for (k, bet) in self.bets.iter_mut().enumerate() {
            let many = outcomes.iter().filter(|o| o.count > 1);
            let gain = many.fold(Wide::new(*bet), |gain, outcome| {
                gain * Wide::power(outcome.factors.get(k).copied().unwrap_or(1.0), outcome.count)
            });
            *bet = gain.narrow(CEILING);
        }
        true
    }

    /// Moves cash into the bets, for `steps` more steps.
    #[inline]
    pub(super) fn invest(&mut self, steps: u64, pace: Pace) {
        let kept = kept(self.steps, steps, pace);
        self.steps = self.steps.saturating_add(steps);
        let moved = self.cash * (1.0 - kept);
        self.cash *= kept;
        let each = moved / K as f64;
        for bet in &mut self.bets {
            *bet += each;
        }
    }
}

/// The share of the cash that is left after the steps from `done` on: the product of
/// `1 - 0.5/(n + offset)`.
#[inline]
fn kept(done: u64, steps: u64, pace: Pace) -> f64 {
    let offset = match pace {
        Pace::Events => 20.0,
        Pace::Requests => 101.0,
    };
    let from = done as f64 + offset;
    if steps <= ONE_BY_ONE {
        return (0..steps).fold(1.0, |kept, n| kept * (1.0 - HAZARD / (from + n as f64)));
    }
    let to = from + steps as f64;
    (half_step(from - 0.5) / half_step(to - 0.5)).clamp(0.0, 1.0)
}

/// `Γ(x + ½)/Γ(x)` for `x ≥ 19`, to 13 digits: the telescoped product of [`kept`]. The series is
/// answer 9.60 of Graham, Knuth and Patashnik, "Concrete Mathematics".
fn half_step(x: f64) -> f64 {
    const SERIES: [f64; 8] = [
        1.0,
        -1.0 / 8.0,
        1.0 / 128.0,
        5.0 / 1024.0,
        -21.0 / 32768.0,
        -399.0 / 262_144.0,
        869.0 / 4_194_304.0,
        39_325.0 / 33_554_432.0,
    ];
    x.sqrt() * SERIES.iter().rev().fold(0.0, |sum, term| sum / x + term)
}

/// Amounts are checked when they are read: what no test can hold is refused.
fn amount<E: serde::de::Error>(amount: f64) -> Result<f64, E> {
    if (0.0..=CEILING).contains(&amount) {
        Ok(amount)
    } else {
        Err(E::custom(format_args!("{amount} is not an amount of evidence: 0 to {CEILING:e}")))
    }
}

fn write_amount<S: Serializer>(amount: &f64, to: S) -> Result<S::Ok, S::Error> {
    amount.serialize(to)
}

fn read_amount<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    amount(f64::deserialize(from)?)
}

fn write_amounts<S: Serializer, const K: usize>(amounts: &[f64; K], to: S) -> Result<S::Ok, S::Error> {
    amounts.as_slice().serialize(to)
}

pub(super) fn read_amounts<'de, D: Deserializer<'de>, const K: usize>(from: D) -> Result<[f64; K], D::Error> {
    let amounts = Vec::<f64>::deserialize(from)?;
    let found = amounts.len();
    let amounts = amounts.into_iter().map(amount).collect::<Result<Vec<_>, D::Error>>()?;
    amounts.try_into().map_err(|_| D::Error::custom(format_args!("{found} bets where the grid has {K}")))
}
