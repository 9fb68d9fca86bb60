//! Durations, against the concurrent stable arm's own quantiles and against a limit.

use serde::{Deserialize, Serialize};

use super::rate::{Absolute, BySegment, Tally, Totals};
use super::{Figures, Part, PartKind, Scene};
use crate::rollout::delta::{Delta, Edge, Slow};
use crate::rollout::policy::{Harm, Latency, Signal};
use crate::stats::sequential::{AdvanceTest, Arms, Dispersion, TailTest, with_segments};

/// What is known about durations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyCheck {
    tail: Option<TailTest>,
    absolute: Option<Absolute>,
    harm: AdvanceTest,
    /// Requests beyond each threshold: at each quantile, and the limit last where there is one.
    beyond: Vec<Beyond>,
    /// Requests of the step beyond the highest quantile of the stable arm, or beyond the limit where
    /// there is no other comparison.
    step: Tally,
    segments: BySegment,
}

/// Requests beyond one threshold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Beyond {
    totals: Totals,
    /// The latest thresholds, by arm.
    edges: Option<Arms<u64>>,
    bursts: Dispersion,
}

impl LatencyCheck {
    pub(super) fn new(rule: &Latency) -> Self {
        let thresholds = rule.quantiles.len() + usize::from(rule.absolute.is_some());
        Self {
            tail: (!rule.quantiles.is_empty()).then(|| TailTest::new(&rule.quantiles)),
            absolute: rule.absolute.map(|bound| Absolute::new(1.0 - bound.quantile)),
            harm: harm_test(rule, &Harm::default()),
            beyond: vec![Beyond::default(); thresholds],
            step: Tally::default(),
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
                    let e_value = self.tail.as_mut().map_or(1.0, |tail| {
                        tail.observe(delta.weight(), place, slow.counts);
                        tail.parts().nth(place).map_or(1.0, |(_, e_value)| e_value)
                    });
                    self.count(place, delta, slow, e_value);
                    if place + 1 == rule.quantiles.len() {
                        self.count_step(scene, delta, slow);
                    }
                }
                Edge::Bound(check) if check == scene.place => {
                    if let Some(absolute) = &mut self.absolute {
                        absolute.observe(tally(slow), scene.bar(parts));
                    }
                    self.count(rule.quantiles.len(), delta, slow, 1.0);
                    if self.tail.is_none() {
                        self.count_step(scene, delta, slow);
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

    fn count(&mut self, place: usize, delta: &Delta, slow: &Slow, e_value: f64) {
        let Some(beyond) = self.beyond.get_mut(place) else { return };
        beyond.totals.add(delta.weight_bp, tally(slow));
        beyond.edges = Some(slow.nanos);
        beyond.bursts.observe(delta.at.0, delta.weight_bp, slow.counts.above, e_value);
    }

    fn count_step(&mut self, scene: &Scene<'_>, delta: &Delta, slow: &Slow) {
        if scene.of_step {
            let tally = tally(slow);
            self.step.add(tally);
            self.harm.observe(delta.weight(), tally.events, tally.others().candidate);
        }
    }

    /// What counts of the evidence at a quantile.
    fn tempered(&self, place: usize, e_value: f64) -> f64 {
        self.beyond.get(place).map_or(e_value, |beyond| beyond.bursts.temper(e_value))
    }

    /// Which threshold has most to say: a quantile, or the limit, which is the last.
    fn telling(&self) -> Option<usize> {
        let at_quantiles = self.tail.iter().flat_map(TailTest::parts).enumerate();
        let tail = at_quantiles.map(|(place, (_, e_value))| (place, self.tempered(place, e_value)));
        let last = self.beyond.len().checked_sub(1);
        let limit = self.absolute.as_ref().and_then(|absolute| Some((last?, absolute.e_value())));
        tail.chain(limit).max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(place, _)| place)
    }

    pub(super) fn begin_step(&mut self, rule: &Latency, harm: &Harm) {
        self.harm = harm_test(rule, harm);
        self.step = Tally::default();
    }

    pub(super) fn parts(&self, scene: &Scene<'_>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(2);
        if let Some(tail) = &self.tail {
            let whole = tail.e_value_by(|place, e_value| self.tempered(place, e_value));
            // The threshold of segments lies between the quantiles, and bursts with it.
            let segments = self.segments.e_values().map(|e_value| {
                let each = (0..self.beyond.len()).map(|place| self.tempered(place, e_value));
                each.fold(e_value, f64::min)
            });
            let e_value = with_segments(whole, segments, scene.slots());
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
        let quantiles =
            self.tail.as_ref().map(|tail| tail.quantiles().collect::<Vec<_>>()).unwrap_or_default();
        let place = self.telling();
        let nothing = Beyond::default();
        let beyond = place.and_then(|place| self.beyond.get(place)).unwrap_or(&nothing);
        Figures {
            whole: beyond.totals.sum(),
            stretch: self.absolute.as_ref().map(Absolute::stretch).unwrap_or_default(),
            step: self.step,
            ratio: Some(beyond.totals.ratio()),
            rates: Some(beyond.totals.rates()),
            segments: self.segments.guilty(scene),
            quantile: place.and_then(|place| quantiles.get(place).copied()),
            edge_nanos: beyond.edges.map(|edges| edges.candidate),
            burstiness: self.tail.is_some().then(|| beyond.bursts.index()),
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
