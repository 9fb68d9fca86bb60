//! Answers of the shadow that differ, beside how often the stable version differs from itself.
//!
//! Each copy goes, by a coin, to the candidate or back to stable: never both, since noise that lies
//! in an input would then strike both and the coin would say nothing. What is judged is the excess.
//! A stable version that always says the same has no noise to be a multiple of; there the limit
//! decides alone.

use serde::{Deserialize, Serialize};

use super::rate::{BySegment, Relative, Tally, Totals};
use super::{Figures, Part, PartKind, Scene, Withheld};
use crate::rollout::delta::Delta;
use crate::rollout::policy::{Divergence, Harm};
use crate::stats::sequential::{AdvanceTest, Arms, DifferenceTest, RateTest, Side};

/// Copies of either side that must have been drawn before their losses are compared.
const LOSSES: u64 = 50;

/// What is known about diverging answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DivergenceCheck {
    relative: Option<Relative>,
    /// The limit against all divergence of the candidate.
    limit: Option<RateTest>,
    /// The limit against what is beyond the noise.
    excess: Option<DifferenceTest>,
    harm: AdvanceTest,
    totals: Totals,
    step: Tally,
    sampled: Arms<u64>,
    sampled_in_step: Arms<u64>,
    segments: BySegment,
}

impl DivergenceCheck {
    pub(super) fn new(rule: &Divergence) -> Self {
        let controlled = rule.noise_control > 0.0;
        Self {
            relative: rule.relative.filter(|_| controlled).map(|rule| Relative::new(rule.tolerance)),
            limit: rule.max.map(RateTest::new),
            excess: rule.max.filter(|_| controlled).map(|max| DifferenceTest::new(max, Side::Higher)),
            harm: harm_test(rule, &Harm::default()),
            totals: Totals::default(),
            step: Tally::default(),
            sampled: Arms::default(),
            sampled_in_step: Arms::default(),
            segments: BySegment::default(),
        }
    }

    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &Divergence, delta: &Delta) {
        let Some(pairs) = delta.pairs else { return };
        let tally = Tally { events: pairs.diverged, requests: pairs.compared };
        self.sampled = self.sampled.plus(pairs.sampled);
        self.totals.add(pairs.coin_bp, tally);
        if let Some(relative) = &mut self.relative {
            relative.observe(pairs.coin(), tally);
        }
        if let Some(limit) = &mut self.limit {
            limit.observe(tally.events.candidate, tally.others().candidate);
        }
        if let Some(excess) = &mut self.excess {
            let values = [(0.0, tally.others()), (1.0, tally.events)];
            excess.observe_values(pairs.coin(), values.into_iter());
        }
        if let (Some(_), Some(rule)) = (&self.relative, &rule.relative) {
            for part in &delta.segments {
                let tally = Tally { events: part.diverged, requests: part.compared };
                self.segments.observe(scene, part.segment, pairs.coin(), rule.tolerance, tally);
            }
        }
        if scene.of_step {
            self.step.add(tally);
            self.sampled_in_step = self.sampled_in_step.plus(pairs.sampled);
            self.harm.observe(pairs.coin(), tally.events, tally.others().candidate);
        }
    }

    pub(super) fn begin_step(&mut self, rule: &Divergence, harm: &Harm) {
        self.harm = harm_test(rule, harm);
        self.step = Tally::default();
        self.sampled_in_step = Arms::default();
    }

    pub(super) fn parts(&self, scene: &Scene<'_>, rule: &Divergence) -> Vec<Part> {
        let mut parts = Vec::with_capacity(3);
        let noise = self.totals.sum().events.stable > 0;
        let lost = self.loses_controls().then_some(Withheld::LostControls);
        if let (Some(relative), Some(rule)) = (&self.relative, &rule.relative) {
            let (e_value, small) = self.segments.combine(scene, relative, rule);
            let withheld = lost.or((!noise).then_some(Withheld::NoNoise)).or(small);
            parts.push(Part { kind: PartKind::Relative, share: 0.0, e_value, withheld });
        }
        if let Some(limit) = &self.limit {
            let withheld = noise.then_some(Withheld::Noise);
            parts.push(Part { kind: PartKind::Absolute, share: 0.0, e_value: limit.e_value(), withheld });
        }
        if let Some(excess) = &self.excess {
            parts.push(Part {
                kind: PartKind::Excess,
                share: 0.0,
                e_value: excess.e_value(),
                withheld: lost,
            });
        }
        parts
    }

    pub(super) fn ruled_out(&self) -> f64 {
        self.harm.e_value()
    }

    /// Compared copies of the candidate in this step, and the share of this step's samples that were
    /// compared: the lower one of both sides.
    pub(in crate::rollout) fn coverage(&self) -> (u64, f64) {
        (self.step.requests.candidate, least_coverage(self.step.requests, self.sampled_in_step))
    }

    /// Whether copies back to stable get lost so much more often than the candidate's that the coin
    /// no longer says how many of each were compared. The other way round is harmless here, and
    /// coverage shows it.
    fn loses_controls(&self) -> bool {
        let compared = self.totals.sum().requests;
        let enough = self.sampled.stable >= LOSSES && self.sampled.candidate >= LOSSES;
        let share = |compared: u64, sampled: u64| compared as f64 / sampled.max(1) as f64;
        let stable = share(compared.stable, self.sampled.stable);
        enough && stable < 0.8 * share(compared.candidate, self.sampled.candidate)
    }

    pub(super) fn figures(&self, scene: &Scene<'_>) -> Figures {
        Figures {
            whole: self.totals.sum(),
            stretch: self.relative.as_ref().map(Relative::stretch).unwrap_or_default(),
            step: self.step,
            ratio: Some(self.totals.ratio()),
            rates: Some(self.totals.rates()),
            coverage: (self.sampled.total() > 0)
                .then(|| least_coverage(self.totals.sum().requests, self.sampled)),
            segments: self.segments.guilty(scene),
            ..Figures::default()
        }
    }
}

fn least_coverage(compared: Arms<u64>, sampled: Arms<u64>) -> f64 {
    let share =
        |compared: u64, sampled: u64| if sampled == 0 { 1.0 } else { compared as f64 / sampled as f64 };
    if sampled.total() == 0 {
        return 0.0;
    }
    share(compared.stable, sampled.stable).min(share(compared.candidate, sampled.candidate)).min(1.0)
}

/// The harm is so many times the noise *and* more than the limit; a check without a limit takes the
/// step's least rate.
fn harm_test(rule: &Divergence, harm: &Harm) -> AdvanceTest {
    let ratio = if rule.noise_control > 0.0 { harm.ratio } else { 1.0 };
    let rate = rule.max.unwrap_or(harm.min_rate);
    if rate > 0.0 { AdvanceTest::with_min_rate(ratio, rate) } else { AdvanceTest::new(ratio) }
}
