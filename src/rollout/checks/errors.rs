//! Failed requests, against the concurrent stable arm and against a limit.

use serde::{Deserialize, Serialize};

use super::rate::{Absolute, BySegment, Relative, Tally, Totals};
use super::{Figures, Part, PartKind, Scene};
use crate::rollout::delta::Delta;
use crate::rollout::policy::{ErrorRate, Harm};
use crate::stats::sequential::AdvanceTest;

/// What is known about failed requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorCheck {
    relative: Option<Relative>,
    absolute: Option<Absolute>,
    harm: AdvanceTest,
    totals: Totals,
    step: Tally,
    segments: BySegment,
}

impl ErrorCheck {
    pub(super) fn new(rule: &ErrorRate) -> Self {
        Self {
            relative: rule.relative.map(|rule| Relative::new(rule.tolerance)),
            absolute: rule.absolute.map(|limit| Absolute::new(limit.max)),
            harm: harm_test(rule, &Harm::default()),
            totals: Totals::default(),
            step: Tally::default(),
            segments: BySegment::default(),
        }
    }

    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &ErrorRate, delta: &Delta) {
        let tally = Tally { events: delta.errors, requests: delta.requests };
        // Without any weight there is nothing concurrent: a shadow step only fills the stable arm.
        if !scene.warm || delta.weight_bp == 0 || tally.is_empty() {
            return;
        }
        let parts = usize::from(self.relative.is_some()) + usize::from(self.absolute.is_some());
        self.totals.add(delta.weight_bp, tally);
        if let Some(relative) = &mut self.relative {
            relative.observe(delta.weight(), tally);
        }
        if let Some(absolute) = &mut self.absolute {
            absolute.observe(tally, scene.bar(parts));
        }
        if let Some(tolerance) = rule.relative.map(|rule| rule.tolerance) {
            for part in &delta.segments {
                let tally = Tally { events: part.errors, requests: part.requests };
                self.segments.observe(scene, part.segment, delta.weight(), tolerance, tally);
            }
        }
        if scene.of_step {
            self.step.add(tally);
            self.harm.observe(delta.weight(), tally.events, tally.others().candidate);
        }
    }

    pub(super) fn begin_step(&mut self, rule: &ErrorRate, harm: &Harm) {
        self.harm = harm_test(rule, harm);
        self.step = Tally::default();
    }

    pub(super) fn parts(&self, scene: &Scene<'_>, rule: &ErrorRate) -> Vec<Part> {
        let mut parts = Vec::with_capacity(2);
        if let (Some(relative), Some(rule)) = (&self.relative, &rule.relative) {
            let (e_value, withheld) = self.segments.combine(scene, relative, rule);
            parts.push(Part { kind: PartKind::Relative, share: 0.0, e_value, withheld });
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
        let stretch = match (&self.relative, &self.absolute) {
            (Some(relative), _) => relative.stretch(),
            (None, Some(absolute)) => absolute.stretch(),
            (None, None) => Tally::default(),
        };
        Figures {
            whole: self.totals.sum(),
            stretch,
            step: self.step,
            ratio: Some(self.totals.ratio()),
            rates: Some(self.totals.rates()),
            segments: self.segments.guilty(scene),
            ..Figures::default()
        }
    }
}

/// The harm of a step is relative where the check is. A check with nothing but a limit must rule
/// out that the limit is broken.
fn harm_test(rule: &ErrorRate, harm: &Harm) -> AdvanceTest {
    match (rule.relative, rule.absolute) {
        (None, Some(limit)) => AdvanceTest::with_min_rate(1.0, limit.max),
        _ if harm.min_rate > 0.0 => AdvanceTest::with_min_rate(harm.ratio, harm.min_rate),
        _ => AdvanceTest::new(harm.ratio),
    }
}
