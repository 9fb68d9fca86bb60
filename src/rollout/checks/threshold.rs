//! Plain limits over a sliding window, in the words that users know.
//!
//! No promise about false alarms: a limit, a window, and a least number of requests. A window is
//! kept in at most 60 slots. If the stable arm breaks the limit too, it is an incident.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::rate::Tally;
use crate::rollout::delta::{Delta, Edge};
use crate::rollout::policy::{Metric, Threshold};
use crate::rollout::time::Timestamp;
use crate::stats::sequential::Arms;

/// Slots of a window.
const SLOTS: u64 = 60;

/// What one plain threshold saw within its window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdWatch {
    /// `(number of the slot, counts)`, latest last.
    slots: VecDeque<(u64, Tally)>,
}

impl ThresholdWatch {
    pub(in crate::rollout) fn observe(&mut self, rule: &Threshold, place: u16, delta: &Delta) {
        let tally = match rule.metric {
            Metric::ErrorRate | Metric::SuccessRate => {
                Tally { events: delta.errors, requests: delta.requests }
            }
            Metric::DivergenceRate => {
                let pairs = delta.pairs.unwrap_or_default();
                Tally { events: pairs.diverged, requests: pairs.compared }
            }
            Metric::Quantile { .. } => {
                let slow = delta.slow.iter().find(|slow| slow.edge == Edge::Threshold(place));
                let counts = slow.map(|slow| slow.counts).unwrap_or_default();
                Tally { events: counts.above, requests: counts.above.plus(counts.below) }
            }
        };
        if tally.requests.total() == 0 {
            return;
        }
        let slot = slot(rule, delta.at);
        match self.slots.back_mut() {
            // A clock that was set back adds to the latest slot.
            Some((latest, sum)) if *latest >= slot => sum.add(tally),
            _ => self.slots.push_back((slot, tally)),
        }
        self.expire(slot);
    }

    fn expire(&mut self, slot: u64) {
        while self.slots.front().is_some_and(|(first, _)| first.saturating_add(SLOTS) <= slot) {
            self.slots.pop_front();
        }
    }

    /// What lies in the window that ends at `now`.
    pub(in crate::rollout) fn tally(&self, rule: &Threshold, now: Timestamp) -> Tally {
        let slot = slot(rule, now);
        let mut sum = Tally::default();
        let within = self.slots.iter().filter(|(first, _)| first.saturating_add(SLOTS) > slot);
        within.for_each(|(_, tally)| sum.add(*tally));
        sum
    }

    /// Which arms break the limit. An arm with too few requests breaks nothing.
    pub(in crate::rollout) fn broken(&self, rule: &Threshold, now: Timestamp) -> Arms<bool> {
        let tally = self.tally(rule, now);
        let rates = tally.rates();
        let breaks = |rate: f64, requests: u64| {
            let value = if rule.metric == Metric::SuccessRate { 1.0 - rate } else { rate };
            let (max, min) = match rule.metric {
                // "p99 above the limit" is "more than 1 % beyond it".
                Metric::Quantile { quantile, .. } => (Some(1.0 - quantile), None),
                _ => (rule.max, rule.min),
            };
            let out = max.is_some_and(|max| value > max) || min.is_some_and(|min| value < min);
            requests >= rule.min_requests.max(1) && out
        };
        Arms::new(
            breaks(rates.stable, tally.requests.stable),
            breaks(rates.candidate, tally.requests.candidate),
        )
    }
}

fn slot(rule: &Threshold, at: Timestamp) -> u64 {
    at.0 / (rule.window.0 / SLOTS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::time::Millis;

    fn delta(at: u64, errors: Arms<u64>, requests: Arms<u64>) -> Delta {
        Delta { at: Timestamp(at), errors, requests, ..Delta::default() }
    }

    #[test]
    fn a_limit_holds_over_its_window_and_with_enough_requests() {
        let rule = Threshold {
            name: "errors".to_owned(),
            metric: Metric::ErrorRate,
            max: Some(0.05),
            min: None,
            window: Millis::minutes(1),
            min_requests: 20,
        };
        let mut watch = ThresholdWatch::default();
        watch.observe(&rule, 0, &delta(1_000, Arms::new(0, 5), Arms::new(100, 10)));
        assert_eq!(watch.broken(&rule, Timestamp(1_000)), Arms::new(false, false), "too few");
        watch.observe(&rule, 0, &delta(2_000, Arms::new(0, 0), Arms::new(100, 10)));
        assert!(watch.broken(&rule, Timestamp(2_000)).candidate);
        assert!(!watch.broken(&rule, Timestamp(61_500)).candidate, "the errors left the window");
        watch.observe(&rule, 0, &delta(10, Arms::new(50, 9), Arms::new(100, 20)));
        assert_eq!(
            watch.broken(&rule, Timestamp(2_500)),
            Arms::new(true, true),
            "a clock set back loses nothing"
        );
        (0..100_000).for_each(|n| watch.observe(&rule, 0, &delta(n * 100, Arms::default(), Arms::new(1, 1))));
        assert!(watch.slots.len() <= 61);
    }
}
