//! All evidence of one rollout, gathered delta by delta.
//!
//! The evidence for a rollback runs on over all steps and the bake, because `alpha` is spent once
//! per rollout. The evidence that a step's harm is absent is fresh for each step. The analyzer
//! never looks at a clock; a delta carries its time.

use serde::{Deserialize, Serialize};

use super::checks::{self, Breaker, Check, DriftLevel, Part, Scene, Tally, ThresholdWatch, Traffic};
use super::delta::Delta;
use super::policy::{Analysis, Harm, Rule};
use super::time::Timestamp;
use crate::stats::sequential::{Arms, SampleRatioTest, weighted_mean};

/// The probability of calling a sound randomisation broken, for each of the two coins.
pub const BALANCE_ALPHA: f64 = 0.001;

/// The evidence so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analyzer {
    checks: Vec<Check>,
    thresholds: Vec<ThresholdWatch>,
    breaker: Breaker,
    /// Whether requests fall on the arms as drawn.
    balance: SampleRatioTest,
    /// Whether copies do.
    coin: SampleRatioTest,
    /// Once broken, broken: what was gathered meanwhile can't be told apart from the rest.
    broken: bool,
    warmup: WarmupSeen,
    step: StepSeen,
    /// Live requests that ended.
    requests: Arms<u64>,
    /// Time of the latest delta.
    at: Timestamp,
    /// Deltas that were taken.
    deltas: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WarmupSeen {
    requests: u64,
    since: Option<Timestamp>,
    over: bool,
}

/// What was seen in the present step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepSeen {
    first_trial: u32,
    traffic: Traffic,
    requests: Arms<u64>,
    weight_bp: u16,
}

impl Analyzer {
    /// An analyzer that has seen nothing.
    pub fn new(analysis: &Analysis) -> Self {
        Self {
            checks: analysis.checks.iter().map(Check::new).collect(),
            thresholds: vec![ThresholdWatch::default(); analysis.thresholds.len()],
            breaker: Breaker::default(),
            balance: SampleRatioTest::new(),
            coin: SampleRatioTest::new(),
            broken: false,
            warmup: WarmupSeen::default(),
            step: StepSeen {
                first_trial: 0,
                traffic: Traffic::None,
                requests: Arms::default(),
                weight_bp: 0,
            },
            requests: Arms::default(),
            at: Timestamp::default(),
            deltas: 0,
        }
    }

    /// Begins a step: what is drawn from `first_trial` on belongs to it, and its harm is to be ruled
    /// out afresh.
    pub fn begin_step(&mut self, analysis: &Analysis, traffic: Traffic, harm: &Harm, first_trial: u32) {
        self.step = StepSeen { first_trial, traffic, requests: Arms::default(), weight_bp: 0 };
        for (check, spec) in self.checks.iter_mut().zip(&analysis.checks) {
            check.begin_step(&spec.rule, harm);
        }
    }

    /// Takes what was counted between two looks.
    pub fn observe(&mut self, analysis: &Analysis, delta: &Delta) {
        self.at = self.at.max(delta.at);
        self.deltas = self.deltas.saturating_add(1);
        self.requests = self.requests.plus(delta.requests);
        let of_step = delta.trial >= self.step.first_trial;
        if of_step {
            self.step.requests = self.step.requests.plus(delta.requests);
            self.step.weight_bp = delta.weight_bp;
        }
        let tally = Tally { events: delta.errors, requests: delta.requests };
        if let Some(rule) = &analysis.circuit_breaker {
            self.breaker.observe(rule, tally);
        }
        for ((place, watch), rule) in (0..).zip(&mut self.thresholds).zip(&analysis.thresholds) {
            watch.observe(rule, place, delta);
        }
        self.balance.observe(delta.weight(), delta.assigned);
        if let Some(pairs) = &delta.pairs {
            self.coin.observe(pairs.coin(), pairs.sampled);
        }
        let bar = 1.0 / BALANCE_ALPHA;
        self.broken |= self.balance.e_value() >= bar || self.coin.e_value() >= bar;
        let warm = self.warm_up(analysis, delta);
        for ((place, check), spec) in (0..).zip(&mut self.checks).zip(&analysis.checks) {
            check.observe(&Scene { analysis, place, of_step, warm }, &spec.rule, delta);
        }
    }

    /// Whether this delta counts, or is still part of the warm-up. A delta in which the warm-up
    /// ends belongs to it, so that the end never depends on what is counted.
    fn warm_up(&mut self, analysis: &Analysis, delta: &Delta) -> bool {
        if self.warmup.over {
            return true;
        }
        let rule = &analysis.warmup;
        if rule.requests == 0 && rule.duration.0 == 0 {
            self.warmup.over = true;
            return true;
        }
        self.warmup.requests = self.warmup.requests.saturating_add(delta.requests.candidate);
        if self.warmup.requests > 0 {
            let since = *self.warmup.since.get_or_insert(delta.at);
            self.warmup.over =
                self.warmup.requests >= rule.requests && delta.at.since(since) >= rule.duration;
        }
        false
    }

    /// Whether the candidate is still warming up, having had live requests.
    pub fn warming(&self) -> bool {
        self.warmup.since.is_some() && !self.warmup.over
    }

    fn scenes<'a>(
        &'a self,
        analysis: &'a Analysis,
    ) -> impl Iterator<Item = (Scene<'a>, &'a Check, &'a Rule)> {
        (0..).zip(&self.checks).zip(&analysis.checks).map(move |((place, check), spec)| {
            (Scene { analysis, place, of_step: true, warm: true }, check, &spec.rule)
        })
    }

    /// The checks that share `alpha`, each with the evidence of its parts.
    pub fn parts(&self, analysis: &Analysis) -> Vec<Vec<Part>> {
        self.scenes(analysis).map(|(scene, check, rule)| check.parts(&scene, rule)).collect()
    }

    /// The evidence for a rollback, of all checks: compare with `1/alpha`.
    pub fn e_value(&self, analysis: &Analysis) -> f64 {
        weighted_mean(self.parts(analysis).iter().flatten().map(Part::counted))
    }

    /// The evidence against the step's harm by check, where the check has a say in it: each is
    /// compared with `1/beta`.
    pub fn ruled_out(&self) -> Vec<Option<f64>> {
        self.checks.iter().map(|check| check.ruled_out(self.step.traffic)).collect()
    }

    /// Places of the checks whose limit both arms break just now.
    pub fn incidents(&self) -> Vec<u16> {
        let places = (0..).zip(&self.checks).filter(|(_, check)| check.incident());
        places.map(|(place, _)| place).collect()
    }

    /// Whether requests or copies do not fall on the arms as they were said to.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// The evidence that the coins are not what they are said to be: live requests, copies.
    pub fn balance(&self) -> (f64, f64) {
        (self.balance.e_value(), self.coin.e_value())
    }

    /// Live requests of the whole rollout.
    pub fn requests(&self) -> Arms<u64> {
        self.requests
    }

    /// Live requests that were drawn in this step.
    pub fn step_requests(&self) -> Arms<u64> {
        self.step.requests
    }

    /// Traffic that the present step brings.
    pub fn traffic(&self) -> Traffic {
        self.step.traffic
    }

    /// The weight that requests of this step were last drawn with, in basis points.
    pub fn step_weight_bp(&self) -> u16 {
        self.step.weight_bp
    }

    /// Copies of the candidate that were compared in this step, and the step's coverage, where
    /// there is a check of divergence.
    pub fn coverage(&self) -> Option<(u64, f64)> {
        self.checks.iter().find_map(|check| match check {
            Check::Divergence(check) => Some(check.coverage()),
            _ => None,
        })
    }

    /// The circuit breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// What the plain thresholds saw, in the order of the policy.
    pub fn thresholds(&self) -> &[ThresholdWatch] {
        &self.thresholds
    }

    /// How far inputs have moved: place of the check, its level, place of the feature.
    pub fn drift(&self) -> Vec<(u16, DriftLevel, usize)> {
        let level = |(place, check): (u16, &Check)| match check {
            Check::Drift(check) => Some((place, check.level().0, check.level().1)),
            _ => None,
        };
        (0..).zip(&self.checks).filter_map(level).collect()
    }

    /// How many deltas were taken.
    pub fn deltas(&self) -> u64 {
        self.deltas
    }

    /// Time of the latest delta.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What each check knows, in numbers. Takes up to a millisecond for each.
    pub(super) fn figures(&self, analysis: &Analysis) -> Vec<checks::Figures> {
        self.scenes(analysis).map(|(scene, check, _)| check.figures(&scene)).collect()
    }
}
