//! The circuit breaker: of the candidate's latest requests, so many failed.
//!
//! It keeps no promise about false alarms and waits for no evidence: it is there for the candidate
//! that fails outright. Requests come in deltas, so the window ends within one of them: that one is
//! counted in proportion. If the stable arm would have opened it as well, it is an incident.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::rollout::policy::CircuitBreaker;
use crate::stats::sequential::Arms;

use super::rate::Tally;

/// The latest requests of both arms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    candidate: Window,
    stable: Window,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    /// `(requests, failures)` of deltas, latest last.
    latest: VecDeque<(u64, u64)>,
    requests: u64,
}

impl Window {
    fn take(&mut self, requests: u64, failures: u64, window: u64) {
        if requests == 0 {
            return;
        }
        self.latest.push_back((requests, failures));
        self.requests = self.requests.saturating_add(requests);
        while let Some((oldest, _)) = self.latest.front() {
            if self.requests - oldest.min(&self.requests) < window {
                break;
            }
            self.requests = self.requests.saturating_sub(*oldest);
            self.latest.pop_front();
        }
    }

    /// Failures in the window, the oldest delta in proportion.
    fn failures(&self, window: u64) -> u64 {
        let mut left = window;
        let mut failures = 0;
        for (requests, failed) in self.latest.iter().rev() {
            let within = left.min(*requests);
            let part = u128::from(*failed) * u128::from(within) / u128::from((*requests).max(1));
            failures += u64::try_from(part).unwrap_or(u64::MAX);
            left -= within;
        }
        failures
    }
}

impl Breaker {
    pub(in crate::rollout) fn observe(&mut self, rule: &CircuitBreaker, tally: Tally) {
        self.candidate.take(tally.requests.candidate, tally.events.candidate, rule.window);
        self.stable.take(tally.requests.stable, tally.events.stable, rule.window);
    }

    /// Failures in the windows of both arms.
    pub fn failures(&self, rule: &CircuitBreaker) -> Arms<u64> {
        Arms::new(self.stable.failures(rule.window), self.candidate.failures(rule.window))
    }

    /// Whether the candidate failed too often, and whether the stable arm did as well.
    pub fn open(&self, rule: &CircuitBreaker) -> Arms<bool> {
        let failures = self.failures(rule);
        Arms::new(failures.stable >= rule.max_failures, failures.candidate >= rule.max_failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, failures: u64) -> Tally {
        Tally { events: Arms::new(0, failures), requests: Arms::new(0, requests) }
    }

    #[test]
    fn it_opens_at_so_many_failures_among_the_latest_requests_and_not_before() {
        let rule = CircuitBreaker { window: 50, max_failures: 25 };
        let mut breaker = Breaker::default();
        for _ in 0..24 {
            breaker.observe(&rule, tally(1, 1));
            breaker.observe(&rule, tally(1, 0));
            assert!(!breaker.open(&rule).candidate);
        }
        breaker.observe(&rule, tally(1, 1));
        assert!(breaker.open(&rule).candidate);
        breaker.observe(&rule, tally(50, 0));
        assert!(!breaker.open(&rule).candidate, "old failures leave the window");
        assert_eq!(breaker.candidate.latest.len(), 1);
    }

    #[test]
    fn a_delta_longer_than_the_window_counts_in_proportion() {
        let rule = CircuitBreaker { window: 50, max_failures: 25 };
        let mut breaker = Breaker::default();
        breaker.observe(&rule, tally(10_000, 4_000));
        assert_eq!(breaker.failures(&rule).candidate, 20);
        breaker.observe(&rule, tally(10_000, 6_000));
        assert!(breaker.open(&rule).candidate);
    }
}
