//! Durations, against the concurrent stable arm's own quantiles and against a limit.

use serde::{Deserialize, Serialize};

use super::rate::{Absolute, BySegment, Tally, Totals};
use super::{Figures, Part, PartKind, Scene};
use crate::rollout::delta::{Delta, Edge, Slow};
use crate::rollout::policy::{Harm, Latency, Signal};
use crate::stats::sequential::{AdvanceTest, TailTest, with_segments};

/// What is known about durations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyCheck {
    tail: Option<TailTest>,
    absolute: Option<Absolute>,
    harm: AdvanceTest,
    /// Requests beyond the highest quantile of the stable arm, or beyond the limit where there is
    /// no other comparison.
    totals: Totals,
    step: Tally,
    edge_nanos: Option<u64>,
    segments: BySegment,
}

impl LatencyCheck {
    pub(super) fn new(rule: &Latency) -> Self {
        Self {
            tail: (!rule.quantiles.is_empty()).then(|| TailTest::new(&rule.quantiles)),
            absolute: rule.absolute.map(|bound| Absolute::new(1.0 - bound.quantile)),
            harm: harm_test(rule, &Harm::default()),
            totals: Totals::default(),
            step: Tally::default(),
            edge_nanos: None,
            segments: BySegment::default(),
        }
    }

    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &Latency, delta: &Delta) {
        if !scene.warm || delta.weight_bp == 0 {
            return;
        }
        let parts = usize::from(self.tail.is_some()) + usize::from(self.absolute.is_some());
        for slow in &delta.slow {
            match slow.edge {
                Edge::Tail(check, quantile) if check == scene.place => {
                    let place = usize::from(quantile);
                    if let Some(tail) = &mut self.tail {
                        tail.observe(delta.weight(), place, slow.counts);
                    }
                    if place + 1 == rule.quantiles.len() {
                        self.count(scene, delta, slow);
                    }
                }
                Edge::Bound(check) if check == scene.place => {
                    if let Some(absolute) = &mut self.absolute {
                        absolute.observe(tally(slow), scene.bar(parts));
                    }
                    if self.tail.is_none() {
                        self.count(scene, delta, slow);
                    }
                }
                Edge::Tail(..) | Edge::Bound(_) | Edge::Threshold(_) => {}
            }
        }
        if self.tail.is_some() && rule.signal == Signal::Latency {
            for part in &delta.segments {
                let tally = Tally { events: part.slow, requests: part.requests };
                self.segments.observe(scene, part.segment, delta.weight(), 1.0, tally);
            }
        }
    }

    fn count(&mut self, scene: &Scene<'_>, delta: &Delta, slow: &Slow) {
        let tally = tally(slow);
        self.edge_nanos = Some(slow.nanos.stable);
        self.totals.add(delta.weight_bp, tally);
        if scene.of_step {
            self.step.add(tally);
            self.harm.observe(delta.weight(), tally.events, tally.others().candidate);
        }
    }

    pub(super) fn begin_step(&mut self, rule: &Latency, harm: &Harm) {
        self.harm = harm_test(rule, harm);
        self.step = Tally::default();
    }

    pub(super) fn parts(&self, scene: &Scene<'_>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(2);
        if let Some(tail) = &self.tail {
            let e_value = with_segments(tail.e_value(), self.segments.e_values(), scene.slots());
            parts.push(Part { kind: PartKind::Tail, share: 0.0, e_value, withheld: None });
        }
        if let Some(absolute) = &self.absolute {
            let (e_value, withheld) = (absolute.e_value(), absolute.withheld());
            parts.push(Part { kind: PartKind::Absolute, share: 0.0, e_value, withheld });
        }
        parts
    }

    pub(super) fn ruled_out(&self) -> f64 {
        self.harm.e_value()
    }

    pub(super) fn incident(&self) -> bool {
        self.absolute.as_ref().is_some_and(Absolute::incident)
    }

    pub(super) fn figures(&self, scene: &Scene<'_>) -> Figures {
        Figures {
            whole: self.totals.sum(),
            stretch: self.absolute.as_ref().map(Absolute::stretch).unwrap_or_default(),
            step: self.step,
            ratio: Some(self.totals.ratio()),
            rates: Some(self.totals.rates()),
            segments: self.segments.guilty(scene),
            edge_nanos: self.edge_nanos,
            ..Figures::default()
        }
    }
}

fn tally(slow: &Slow) -> Tally {
    Tally { events: slow.counts.above, requests: slow.counts.above.plus(slow.counts.below) }
}

/// The harm of a step is "so many times as many beyond the highest quantile". By definition the
/// stable arm has `1 − quantile` of its requests there, so that a least rate adds nothing.
fn harm_test(rule: &Latency, harm: &Harm) -> AdvanceTest {
    match (rule.quantiles.is_empty(), rule.absolute) {
        (true, Some(bound)) => AdvanceTest::with_min_rate(1.0, 1.0 - bound.quantile),
        _ => AdvanceTest::new(harm.ratio),
    }
}
