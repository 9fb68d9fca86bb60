//! What an operator asks of a rollout: steps, gates and what is analysed.
//!
//! Plain data with defaults. `config` reads YAML into it with the same words, and it travels with
//! the rollout's state, so that a running rollout keeps the policy it began with whatever happens
//! to the configuration. Deliberately absent: where webhooks live and what golden examples hold;
//! here a gate is a name.

mod analysis;
mod validate;

pub use analysis::{
    Analysis, CheckSpec, CircuitBreaker, Divergence, Drift, ErrorRate, Latency, LatencyBound, Limit, Metric,
    Prediction, Profile, RelativeRate, Rule, Segments, Signal, Threshold, Unit, Warmup,
};
pub use validate::{MAX_CHECKS, MAX_GATES, MAX_SEGMENTS, MAX_STEPS, MAX_THRESHOLDS, PolicyError};

use serde::{Deserialize, Serialize};

use super::plain;
use super::time::Millis;
use crate::base::Weight;

/// How a model moves from one version to the next.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// What is watched, and with what risk of error.
    pub analysis: Analysis,
    /// What happens, in order. After the last step the candidate gets all traffic.
    pub steps: Vec<Step>,
    /// Who is asked before traffic moves. Loading the candidate comes before all of them and needs
    /// no entry.
    pub gates: Vec<Gate>,
    /// Whether a configuration that names a new candidate starts a rollout.
    pub auto_start: bool,
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Copies of requests go to the candidate; its answers are compared and reach nobody.
    Shadow(Shadow),
    /// The candidate gets a share of live traffic.
    SetWeight(SetWeight),
    /// Nothing moves for a while, or until somebody promotes. Checks go on.
    Pause(Pause),
    /// The candidate is promoted, the previous version stays warm. Only as the last step.
    Bake(Bake),
}

impl Step {
    /// The step's name in configuration, status and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shadow(_) => "shadow",
            Self::SetWeight(_) => "setWeight",
            Self::Pause(_) => "pause",
            Self::Bake(_) => "bake",
        }
    }
}

/// A step of copies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shadow {
    /// Share of the live requests that are copied.
    #[serde(with = "plain::weight")]
    pub sample: Weight,
    /// Compared copies of the candidate without which the step never passes.
    pub min_pairs: u64,
    /// Share of the sampled requests, 0 to 1, that must have been compared: what was lost on the
    /// way may not look like agreement.
    pub min_coverage: f64,
    /// When the step ends.
    pub advance: Advance,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { sample: Weight::FULL, min_pairs: 100, min_coverage: 0.9, advance: Advance::default() }
    }
}

/// A step of live traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetWeight {
    /// The candidate's share of live traffic: more than nothing, less than all.
    #[serde(with = "plain::weight")]
    pub weight: Weight,
    /// When the step ends.
    pub advance: Advance,
}

/// When a step ends: as soon as the harm is ruled out and the least time is over, or else at the
/// deadline, as inconclusive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Advance {
    /// What must be ruled out.
    pub harm: Harm,
    /// The step lasts at least this long.
    pub min_duration: Millis,
    /// Without evidence by then, the step is inconclusive. `None`: it waits for evidence.
    pub max_duration: Option<Millis>,
    /// The same, counted in the candidate's requests (compared copies in a shadow step).
    pub max_requests: Option<u64>,
    /// What an inconclusive step does.
    pub on_inconclusive: OnInconclusive,
}

impl Default for Advance {
    fn default() -> Self {
        Self {
            harm: Harm::default(),
            min_duration: Millis::minutes(1),
            max_duration: Some(Millis::hours(1)),
            max_requests: None,
            on_inconclusive: OnInconclusive::Pause,
        }
    }
}

/// The harm whose absence lets a step advance: the candidate's rate of errors (of slow requests, of
/// diverging answers) is at least `ratio` times the stable one's, and at least `min_rate`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Harm {
    /// How many times the stable version's rate. More than 1.
    pub ratio: f64,
    /// What rate is worth mentioning, 0 to 1. 0: any.
    pub min_rate: f64,
}

impl Default for Harm {
    fn default() -> Self {
        Self { ratio: 2.0, min_rate: 0.005 }
    }
}

/// What a step does that ends without evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnInconclusive {
    /// Stay where we are until somebody decides.
    #[default]
    Pause,
    /// Go back.
    Rollback,
    /// Go on.
    Advance,
}

/// A step of waiting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pause {
    /// How long. `None`: until somebody promotes.
    pub duration: Option<Millis>,
}

/// The time after promotion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bake {
    /// How long the previous version stays warm and is gone back to at once.
    pub duration: Millis,
    /// Share of traffic that stays on the previous version, so that there is something concurrent
    /// to compare with. Without one, only absolute limits can end a bake.
    #[serde(with = "plain::weight")]
    pub holdback: Weight,
}

impl Default for Bake {
    fn default() -> Self {
        Self { duration: Millis::hours(24), holdback: Weight::ZERO }
    }
}

/// Somebody who is asked before traffic moves, or who may ask for it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Name, unique within the policy: the driver finds the webhook or the examples by it.
    pub name: String,
    /// When it is asked, and what its answer means.
    pub kind: GateKind,
    /// How long one answer may take.
    #[serde(default = "Gate::timeout")]
    pub timeout: Millis,
    /// How long to wait before a gate that said no is asked again.
    #[serde(default = "Gate::retry")]
    pub retry_every: Millis,
}

impl Gate {
    /// A gate with the default timeout (30 s) and retry (10 s).
    pub fn new(name: &str, kind: GateKind) -> Self {
        Self { name: name.to_owned(), kind, timeout: Self::timeout(), retry_every: Self::retry() }
    }

    fn timeout() -> Millis {
        Millis::seconds(30)
    }

    fn retry() -> Millis {
        Millis::seconds(10)
    }
}

/// When a gate is asked, and what its answer means. The webhook kinds are those of Flagger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Load and warm the candidate. Implied before all others; no ends the rollout.
    Load,
    /// Before anything else: no means wait and ask again.
    ConfirmRollout,
    /// Before the first traffic: no refuses the candidate.
    PreRollout,
    /// Golden examples, answered by the candidate before the first traffic: no refuses it.
    Golden,
    /// Before each rise of the weight: no means wait and ask again.
    ConfirmTrafficIncrease,
    /// Before promotion: no means wait and ask again.
    ConfirmPromotion,
    /// After the end, for whoever cleans up. The answer changes nothing.
    PostRollout,
    /// Asked again and again while the rollout runs: yes means roll back.
    Rollback,
    /// Told of every event. The answer changes nothing.
    Event,
}

impl GateKind {
    /// The kind's name in configuration, payloads and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::ConfirmRollout => "confirm-rollout",
            Self::PreRollout => "pre-rollout",
            Self::Golden => "golden",
            Self::ConfirmTrafficIncrease => "confirm-traffic-increase",
            Self::ConfirmPromotion => "confirm-promotion",
            Self::PostRollout => "post-rollout",
            Self::Rollback => "rollback",
            Self::Event => "event",
        }
    }

    /// Whether a no means to wait and ask again.
    pub fn waits(self) -> bool {
        matches!(self, Self::ConfirmRollout | Self::ConfirmTrafficIncrease | Self::ConfirmPromotion)
    }
}
