//! What is known of a model's rollouts, as it is kept.
//!
//! One [`ModelState`] per model: its stable version, its latches, and the rollout that runs or was
//! the last to run. All of it is plain data; what is read back goes on where it was left.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::analyzer::Analyzer;
use super::checks::{DriftLevel, Traffic};
use super::journal::Journal;
use super::live::{Latch, Live, LiveVersion, Mirror};
use super::plain;
use super::policy::{Gate, GateKind, Policy, Rule, Step};
use super::reduce::Reducer;
use super::time::{Millis, Timestamp};
use super::verdict::StepRule;
use super::version::{Actor, By, VersionRef};
use crate::base::{ModelName, Role, Weight};

/// Latches that are kept. A model with more can't start a rollout before some are cleared.
pub const MAX_LATCHES: usize = 256;
/// How long loading and warming a candidate may take.
const LOAD_TIMEOUT: Millis = Millis::minutes(30);
/// Idempotency keys that are remembered.
pub(super) const MAX_KEYS: usize = 256;

/// Everything that lasts about one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelState {
    /// The model.
    #[serde(with = "plain::model")]
    pub model: ModelName,
    /// The version that is gone back to. Changes when a rollout succeeds, after its bake.
    pub stable: VersionRef,
    /// The rollout that runs, or the last that did.
    pub rollout: Option<Rollout>,
    /// Candidates that may not be tried again, by digest.
    pub latches: BTreeMap<String, Latch>,
    /// How often each digest was tried: trying until it passes inflates `beta`.
    pub attempts: BTreeMap<String, u32>,
    /// Number of the latest trial.
    pub trial: u32,
    /// Number of the next decision.
    pub decisions: u64,
    /// The latest time seen: time never goes backwards here.
    pub clock: Timestamp,
    /// Keys of commands that were carried out.
    pub keys: VecDeque<String>,
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Its identifier, given by whoever started it.
    pub id: String,
    /// The version that serves until the candidate is promoted.
    pub stable: VersionRef,
    /// The version on trial.
    pub candidate: VersionRef,
    /// What was asked for, as it was at the start.
    pub policy: Policy,
    /// Hash of the configuration that the policy came from.
    pub config_hash: String,
    /// How often this candidate was tried, this time included.
    pub attempt: u32,
    /// Who started it.
    pub by: Actor,
    /// Where it stands.
    pub phase: Phase,
    /// Place of the present step; the number of steps once all are done.
    pub step: usize,
    /// The candidate's share of live traffic.
    #[serde(with = "plain::weight")]
    pub weight: Weight,
    /// What the candidate gets.
    pub traffic: Traffic,
    /// Times.
    pub times: Times,
    /// Candidate requests and time of the step at which its `maxRequests` and `maxDuration` begin to
    /// count: more than nothing once an inconclusive step was resumed.
    pub allowance_from: (u64, Millis),
    /// The evidence.
    pub analyzer: Analyzer,
    /// The counters of the last look.
    pub reducer: Reducer,
    /// What was seen since the last record. Not kept: a record after a restart begins with the
    /// evidence as it was read back.
    #[serde(skip)]
    pub journal: Journal,
    /// What was told already.
    pub told: Told,
    /// Number of the latest run of a gate.
    pub runs: u32,
    /// Gates that may ask for a rollback, by name: when each is asked next.
    pub polls: BTreeMap<String, Poll>,
    /// Why it ended or waits, in one line.
    pub reason: String,
}

/// When things happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The rollout began.
    pub started: Timestamp,
    /// The present phase began.
    pub phase: Timestamp,
    /// The step began; later, by as much, when it was paused.
    pub step: Timestamp,
    /// The rollout ended.
    pub ended: Option<Timestamp>,
    /// The state was last asked to be kept.
    pub kept: Timestamp,
}

/// What was told already, so that it is told once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// An incident that still goes on.
    pub incident: bool,
    /// Broken randomisation.
    pub broken: bool,
    /// Drift, by place of the check.
    pub drift: BTreeMap<u16, DriftLevel>,
}

/// A gate that is asked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Poll {
    /// The run whose answer is awaited.
    pub run: Option<u32>,
    /// When it is asked next, or when the answer is given up.
    pub next: Timestamp,
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The candidate has no traffic yet: it is loaded, and gates are asked.
    Pending(Waiting),
    /// A step runs.
    Running,
    /// Gates are asked before the weight rises or the candidate is promoted. Traffic is that of the
    /// step before.
    Confirming(Waiting),
    /// Nothing moves.
    Paused(Pausing),
    /// A step of waiting that only somebody ends.
    WaitingForPromotion,
    /// The candidate is promoted, the previous version is warm.
    Baking,
    /// Traffic has gone back; what is known about it is written at the next turn, which the driver
    /// takes at once.
    RollingBack(Box<GoingBack>),
    /// The candidate is the stable version.
    Succeeded,
    /// Traffic went back, and the candidate is latched.
    RolledBack,
    /// Somebody ended it, or the candidate could not be loaded.
    Aborted,
    /// Another rollout took its place.
    Superseded,
}

/// A rollback whose record is still to be written: that takes milliseconds, and traffic does not
/// wait for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GoingBack {
    /// Why.
    pub by: By,
    /// When it was decided.
    pub at: Timestamp,
    /// Time in the step then.
    pub elapsed: Millis,
    /// How the step would have ended.
    pub rule: StepRule,
    /// The candidate's weight then.
    #[serde(with = "plain::weight")]
    pub weight: Weight,
    /// The reason in one line, where it is not the verdict.
    pub reason: Option<String>,
}

/// Gates that are asked one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Which of the policy's gates.
    pub stage: Stage,
    /// Place among them.
    pub at: usize,
    /// The run whose answer is awaited; nothing between a no and the next question.
    pub run: Option<u32>,
    /// When it is asked again, or when the answer is given up.
    pub next: Timestamp,
}

/// When gates are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Before the first traffic.
    Before,
    /// Before the weight rises.
    Increase,
    /// Before promotion.
    Promotion,
}

/// A pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pausing {
    /// Why.
    pub why: PauseReason,
    /// Whether the candidate is promoted already.
    pub baking: bool,
}

/// Why nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PauseReason {
    /// A step of the policy, for its duration.
    Step,
    /// Somebody asked for it.
    Command,
    /// A step ended without evidence.
    Inconclusive,
    /// Nothing can be decided.
    BrokenRandomisation,
}

impl PauseReason {
    /// The reason's word in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Command => "command",
            Self::Inconclusive => "inconclusive",
            Self::BrokenRandomisation => "brokenRandomisation",
        }
    }

    /// Whether it waits because nothing could be shown, rather than because somebody or the policy
    /// wanted a pause.
    pub fn is_for_want_of_evidence(reason: &str) -> bool {
        [Self::Inconclusive, Self::BrokenRandomisation].iter().any(|known| known.as_str() == reason)
    }
}

impl Phase {
    /// The phase's word in status and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending(_) => "Pending",
            Self::Running => "Running",
            Self::Confirming(_) => "Confirming",
            Self::Paused(_) => "Paused",
            Self::WaitingForPromotion => "WaitingForPromotion",
            Self::Baking => "Baking",
            Self::RollingBack(_) => "RollingBack",
            Self::Succeeded => "Succeeded",
            Self::RolledBack => "RolledBack",
            Self::Aborted => "Aborted",
            Self::Superseded => "Superseded",
        }
    }

    /// Whether nothing will happen any more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Aborted | Self::Superseded)
    }
}

impl ModelState {
    /// A model that never had a rollout.
    pub fn new(model: ModelName, stable: VersionRef) -> Self {
        Self {
            model,
            stable,
            rollout: None,
            latches: BTreeMap::new(),
            attempts: BTreeMap::new(),
            trial: 0,
            decisions: 0,
            clock: Timestamp::default(),
            keys: VecDeque::new(),
        }
    }

    /// The rollout that runs.
    pub fn running(&self) -> Option<&Rollout> {
        self.rollout.as_ref().filter(|rollout| !rollout.phase.is_terminal())
    }

    /// What is to be live now; nothing before the first rollout, when the configuration says it.
    pub fn live(&self) -> Option<Live> {
        self.rollout.as_ref().map(|rollout| rollout.live(self.trial))
    }
}

impl Rollout {
    /// Whether the candidate serves, and the previous version is only kept warm.
    pub fn promoted(&self) -> bool {
        match &self.phase {
            Phase::Baking | Phase::Succeeded => true,
            Phase::Paused(pausing) => pausing.baking,
            _ => false,
        }
    }

    /// The step that it stands at.
    pub fn current_step(&self) -> Option<&Step> {
        self.policy.steps.get(self.step)
    }

    /// Time in the present step, pauses left out.
    pub fn elapsed(&self, now: Timestamp) -> Millis {
        now.since(self.times.step)
    }

    /// How the present step ends. Outside of a running step nothing ends by evidence, and checks
    /// only watch.
    pub fn rule(&self) -> StepRule {
        let by_evidence = matches!(self.phase, Phase::Running | Phase::Confirming(_));
        let step = self.current_step().filter(|_| by_evidence);
        let mut rule = StepRule::of(step, self.traffic);
        let (requests, time) = self.allowance_from;
        rule.max_requests = rule.max_requests.map(|most| most.saturating_add(requests));
        rule.max_duration = rule.max_duration.map(|most| Millis(most.0.saturating_add(time.0)));
        rule
    }

    /// Who gets which traffic in this phase.
    pub fn live(&self, trial: u32) -> Live {
        let promoted = self.promoted();
        let over = self.phase.is_terminal() || matches!(self.phase, Phase::RollingBack(_));
        let (stable_role, candidate_role) = match (&self.phase, self.traffic) {
            (Phase::Succeeded, _) => (Role::Retired, Role::Stable),
            _ if over => (Role::Stable, Role::Retired),
            _ if promoted => (Role::Standby, Role::Stable),
            (_, Traffic::None) => (Role::Stable, Role::Standby),
            (_, Traffic::Copies) => (Role::Stable, Role::Shadow),
            (_, Traffic::Live) => (Role::Stable, Role::Canary),
        };
        let weight = match self.phase {
            Phase::Succeeded => Weight::FULL,
            _ if over => Weight::ZERO,
            _ => self.weight,
        };
        let version = |of: &VersionRef, weight, role| LiveVersion { version: of.name.clone(), weight, role };
        let copies = self.traffic == Traffic::Copies && !over;
        Live {
            trial,
            versions: vec![
                version(&self.stable, weight.rest(), stable_role),
                version(&self.candidate, weight, candidate_role),
            ],
            mirror: copies.then(|| self.mirror()),
            weight_bp: weight.basis_points(),
        }
    }

    /// The mirror of the latest shadow step.
    fn mirror(&self) -> Mirror {
        let shadows = self.policy.steps.iter().take(self.step.saturating_add(1));
        let sample = shadows.rev().find_map(|step| match step {
            Step::Shadow(step) => Some(step.sample),
            _ => None,
        });
        let noise = self.policy.analysis.checks.iter().find_map(|check| match &check.rule {
            Rule::Divergence(rule) => Some(rule.noise_control),
            _ => None,
        });
        Mirror {
            to: self.candidate.name.clone(),
            sample: sample.unwrap_or(Weight::FULL),
            noise_control: noise.unwrap_or(0.0),
        }
    }

    /// The gates of a stage, in the order in which they are asked. Loading comes after the
    /// confirmation, which costs less.
    pub fn gates(&self, stage: Stage) -> Vec<Gate> {
        let kinds: &[GateKind] = match stage {
            Stage::Before => {
                &[GateKind::ConfirmRollout, GateKind::Load, GateKind::PreRollout, GateKind::Golden]
            }
            Stage::Increase => &[GateKind::ConfirmTrafficIncrease],
            Stage::Promotion => &[GateKind::ConfirmPromotion],
        };
        let load = Gate { timeout: LOAD_TIMEOUT, ..Gate::new(GateKind::Load.as_str(), GateKind::Load) };
        let of = |kind: &GateKind| {
            let implied = (*kind == GateKind::Load).then(|| load.clone());
            let asked = self.policy.gates.iter().filter(|gate| gate.kind == *kind);
            implied.into_iter().chain(asked.cloned()).collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of).collect()
    }
}
