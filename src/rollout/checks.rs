//! The checks: each turns deltas into evidence about one signal.
//!
//! A check may have several *parts* (against the stable arm, against a limit), each with a test of
//! its own and its part of `alpha`. A part can be *withheld*: its evidence then counts as nothing,
//! which only ever makes a rollback rarer. Beside them a check runs a fresh test for each step, of
//! whether the step's harm has been ruled out.
//!
//! | file | signal |
//! |---|---|
//! | `errors` | failed requests |
//! | `latency` | durations, by quantile of the stable arm and against a limit |
//! | `divergence` | answers of the shadow, beside the stable version's noise |
//! | `prediction` | a predicted number, by rank |
//! | `drift` | inputs, against the training: informs |
//! | `breaker`, `threshold` | plain limits, without evidence |
//! | `rate` | what the first three have in common |

mod breaker;
mod divergence;
mod drift;
mod errors;
mod latency;
mod prediction;
mod rate;
mod threshold;

pub use breaker::Breaker;
pub use divergence::DivergenceCheck;
pub use drift::{DriftCheck, DriftLevel};
pub use errors::ErrorCheck;
pub use latency::LatencyCheck;
pub use prediction::PredictionCheck;
pub use rate::{Absolute, Relative, Tally};
pub use threshold::ThresholdWatch;

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use super::policy::{Analysis, CheckSpec, Harm, Rule};
use crate::stats::sequential::{Interval, Share};

/// The confidence of intervals that are shown: 95 %.
pub(super) const INTERVAL_ALPHA: f64 = 0.05;

/// What a check sees of its surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The analysis that the check belongs to.
    pub analysis: &'a Analysis,
    /// Place of the check.
    pub place: u16,
    /// Whether the delta was drawn in the present step.
    pub of_step: bool,
    /// Whether live requests count: not while the candidate warms up.
    pub warm: bool,
}

impl Scene<'_> {
    /// The e-value that one of `parts` equal parts of this check needs alone.
    fn bar(&self, parts: usize) -> f64 {
        let share = self.analysis.checks.get(usize::from(self.place)).map_or(0.0, |check| check.share);
        parts as f64 / (self.analysis.alpha * share / total_share(self.analysis))
    }

    /// How many segments evidence is divided by.
    fn slots(&self) -> usize {
        slots(self.analysis)
    }
}

/// The sum of all shares of `alpha`.
pub(super) fn total_share(analysis: &Analysis) -> f64 {
    analysis
        .checks
        .iter()
        .filter(|check| !matches!(check.rule, Rule::Drift(_)))
        .map(|check| check.share)
        .sum()
}

pub(super) fn slots(analysis: &Analysis) -> usize {
    analysis.segments.as_ref().map_or(0, |segments| segments.max)
}

/// The state of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// Failed requests.
    ErrorRate(ErrorCheck),
    /// Durations.
    Latency(LatencyCheck),
    /// Answers of the shadow.
    Divergence(DivergenceCheck),
    /// A predicted number.
    Prediction(PredictionCheck),
    /// Inputs.
    Drift(DriftCheck),
}

/// Which kind of traffic a step brings, and therefore which checks can say something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Traffic {
    /// None: nothing of the candidate is seen.
    None,
    /// Copies.
    Copies,
    /// Live requests.
    Live,
}

/// What part of a check a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartKind {
    /// Rates against the stable arm.
    Relative,
    /// Durations against the stable arm's quantiles.
    Tail,
    /// A rate against a limit.
    Absolute,
    /// Divergence beyond the noise against a limit.
    Excess,
    /// Mean rank against a margin.
    Shift,
}

/// Why the evidence of a part does not count just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Withheld {
    /// The observed ratio is below `minEffect`, or the observed rate below `minRate`.
    SmallEffect,
    /// The stable arm breaks the same limit.
    SharedIncident,
    /// No noise was seen, so that there is nothing to be a multiple of.
    NoNoise,
    /// There is noise, so that a limit of the whole says nothing: the excess is judged.
    Noise,
    /// Copies back to stable get lost more often than those for the candidate.
    LostControls,
}

/// The evidence of one part of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Which part.
    pub kind: PartKind,
    /// Its part of `alpha`, in units of the policy's shares.
    pub share: f64,
    /// Its e-value.
    pub e_value: f64,
    /// Why it does not count, if so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withheld: Option<Withheld>,
}

impl Part {
    /// What it counts for in the mean of all parts.
    pub fn counted(&self) -> Share {
        let e_value = if self.withheld.is_some() { 0.0 } else { self.e_value };
        Share { share: self.share, e_value }
    }
}

/// What a check knows, in numbers: for status, records and sentences.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Events and requests of the whole rollout.
    pub whole: Tally,
    /// The same since the evidence began to grow: a harm that began late shows here.
    pub stretch: Tally,
    /// The same in the present step.
    pub step: Tally,
    /// Interval of the ratio of rates, at 95 %.
    pub ratio: Option<Interval>,
    /// Intervals of the rates, at 95 %: stable, candidate.
    pub rates: Option<(Interval, Interval)>,
    /// Share of the sampled copies that were compared.
    pub coverage: Option<f64>,
    /// Segments in which the candidate is worse, by place: e-BH at `alpha`.
    pub segments: Vec<u16>,
    /// Mean rank of the candidate's numbers among the stable arm's, 0 to 1.
    pub mean_rank: Option<f64>,
    /// Evidence that the number is distributed differently at all. Informs.
    pub tilt: Option<f64>,
    /// Where durations are compared with a quantile of the stable arm: the one with most evidence.
    pub quantile: Option<f64>,
    /// The candidate's threshold in nanoseconds, where durations are compared with one.
    pub edge_nanos: Option<u64>,
    /// By how much evidence on durations is divided for coming in bursts.
    pub burstiness: Option<f64>,
    /// Population stability index of the inputs that is certain, and as commonly computed: the
    /// largest of all features.
    pub drift: Option<(f64, f64)>,
}

impl Check {
    /// A check that has seen nothing.
    pub(super) fn new(spec: &CheckSpec) -> Self {
        match &spec.rule {
            Rule::ErrorRate(rule) => Self::ErrorRate(ErrorCheck::new(rule)),
            Rule::Latency(rule) => Self::Latency(LatencyCheck::new(rule)),
            Rule::Divergence(rule) => Self::Divergence(DivergenceCheck::new(rule)),
            Rule::Prediction(rule) => Self::Prediction(PredictionCheck::new(rule)),
            Rule::Drift(rule) => Self::Drift(DriftCheck::new(rule)),
        }
    }

    /// Takes a delta.
    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &Rule, delta: &Delta) {
        match (self, rule) {
            (Self::ErrorRate(check), Rule::ErrorRate(rule)) => check.observe(scene, rule, delta),
            (Self::Latency(check), Rule::Latency(rule)) => check.observe(scene, rule, delta),
            (Self::Divergence(check), Rule::Divergence(rule)) => check.observe(scene, rule, delta),
            (Self::Prediction(check), Rule::Prediction(rule)) => check.observe(scene, rule, delta),
            (Self::Drift(check), Rule::Drift(rule)) => check.observe(scene, rule, delta),
            // A state of another policy: nothing is made of it.
            _ => {}
        }
    }

    /// Starts the test of the next step's harm; the evidence for a rollback goes on.
    pub(super) fn begin_step(&mut self, rule: &Rule, harm: &Harm) {
        match (self, rule) {
            (Self::ErrorRate(check), Rule::ErrorRate(rule)) => check.begin_step(rule, harm),
            (Self::Latency(check), Rule::Latency(rule)) => check.begin_step(rule, harm),
            (Self::Divergence(check), Rule::Divergence(rule)) => check.begin_step(rule, harm),
            (Self::Prediction(check), Rule::Prediction(rule)) => check.begin_step(rule),
            _ => {}
        }
    }

    /// The evidence for a rollback.
    pub(super) fn parts(&self, scene: &Scene<'_>, rule: &Rule) -> Vec<Part> {
        let mut parts = match (self, rule) {
            (Self::ErrorRate(check), Rule::ErrorRate(rule)) => check.parts(scene, rule),
            (Self::Latency(check), Rule::Latency(_)) => check.parts(scene),
            (Self::Divergence(check), Rule::Divergence(rule)) => check.parts(scene, rule),
            (Self::Prediction(check), Rule::Prediction(_)) => check.parts(),
            _ => Vec::new(),
        };
        let share = scene.analysis.checks.get(usize::from(scene.place)).map_or(0.0, |check| check.share);
        let each = share / parts.len().max(1) as f64;
        parts.iter_mut().for_each(|part| part.share = each);
        parts
    }

    /// The evidence that the step's harm is not there; nothing where the check has no say in a
    /// step with this traffic.
    pub(super) fn ruled_out(&self, traffic: Traffic) -> Option<f64> {
        match (self, traffic) {
            (Self::ErrorRate(check), Traffic::Live) => Some(check.ruled_out()),
            (Self::Latency(check), Traffic::Live) => Some(check.ruled_out()),
            (Self::Divergence(check), Traffic::Copies) => Some(check.ruled_out()),
            (Self::Prediction(check), Traffic::Live) => Some(check.ruled_out()),
            _ => None,
        }
    }

    /// Whether both arms break a limit just now.
    pub(super) fn incident(&self) -> bool {
        match self {
            Self::ErrorRate(check) => check.incident(),
            Self::Latency(check) => check.incident(),
            Self::Divergence(_) | Self::Prediction(_) | Self::Drift(_) => false,
        }
    }

    /// What the check knows. Takes up to a millisecond: for records and status, not for each look.
    pub(super) fn figures(&self, scene: &Scene<'_>) -> Figures {
        match self {
            Self::ErrorRate(check) => check.figures(scene),
            Self::Latency(check) => check.figures(scene),
            Self::Divergence(check) => check.figures(scene),
            Self::Prediction(check) => check.figures(),
            Self::Drift(check) => check.figures(),
        }
    }
}
