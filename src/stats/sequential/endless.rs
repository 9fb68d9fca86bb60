//! A watch without an end: instead of one chance in a hundred over all of it, few alarms per time.
//!
//! Over an endless bake any fixed `α` would be used up, or the test would grow deaf. The
//! Shiryaev–Roberts statistic bets anew at every request: `S ← (S + prior) × factor`. As long as the
//! bound holds, `S` minus the number of requests is not expected to grow, so the mean number of
//! requests to a false alarm at `S ≥ A` is at least `A`, and an alarm within the first `N` has
//! probability at most `N/A` (Shin, Ramdas and Rinaldo, "E-detectors", 2203.03532).
//!
//! The bound is one that was measured before, and seasons change what is normal: an alarm of this
//! test is a reason to look, and to go back only together with a breach of what is promised.

use serde::{Deserialize, Serialize};

use super::rate::factors;
use super::wealth::{CEILING, read_amounts};
use super::wide::Wide;

/// Whether an arm's event rate has risen above a bound at any time since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndlessRateTest {
    max: f64,
    #[serde(deserialize_with = "read_amounts")]
    sums: [f64; 7],
    requests: u64,
}

impl EndlessRateTest {
    /// A watch of "the probability of an event is at most `max`" (0 to 1).
    pub fn new(max: f64) -> Self {
        Self { max, sums: [0.0; 7], requests: 0 }
    }

    /// Takes how many requests had the event and how many had not, since the last call, and gives
    /// the statistic. Requests of one call count as if all of them came at its beginning, which keeps
    /// what is promised: their number was not chosen by looking at them.
    pub fn observe(&mut self, events: u64, others: u64) -> f64 {
        let requests = events.saturating_add(others);
        if let (Some((event, other)), true) = (factors(self.max), requests > 0) {
            let fresh = requests as f64 / self.sums.len() as f64;
            for ((sum, event), other) in self.sums.iter_mut().zip(event).zip(other) {
                let gain = Wide::power(event, events) * Wide::power(other, others);
                *sum = (Wide::new(*sum + fresh) * gain).narrow(CEILING);
            }
            self.requests = self.requests.saturating_add(requests);
        }
        self.statistic()
    }

    /// The statistic so far. Compare with [`endless_threshold`].
    pub fn statistic(&self) -> f64 {
        self.sums.iter().sum()
    }

    /// How many requests it stands on.
    pub fn requests(&self) -> u64 {
        self.requests
    }
}

/// The statistic at which to raise an alarm, so that a false one comes within `requests` requests
/// with probability at most `alpha`.
pub fn endless_threshold(requests: u64, alpha: f64) -> f64 {
    requests as f64 / alpha
}
