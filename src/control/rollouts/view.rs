//! How rollouts stand, for whoever looks: plain data, made by the decider, read by anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rollout::evidence::Evidence;
use crate::rollout::live::{Latch, LiveVersion};
use crate::rollout::policy::Step;
use crate::rollout::state::{ModelState, Phase, Rollout};
use crate::rollout::time::Timestamp;
use crate::rollout::verdict::verdict;
use crate::rollout::version::Actor;
use crate::rollout::words::{Setting, sentence};

/// All models that have had a rollout, by name.
pub type Views = BTreeMap<String, Arc<ModelView>>;

/// One model's rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelView {
    /// The model.
    pub model: String,
    /// The version that is gone back to.
    pub stable: String,
    /// The rollout that runs, or the last that did.
    pub rollout: Option<RolloutView>,
    /// Candidates that may not be tried again.
    pub latches: Vec<Latch>,
    /// What the configuration says otherwise, one line each: it does not undo what was decided here.
    pub differences: Vec<String>,
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// Its identifier.
    pub id: String,
    /// The model.
    pub model: String,
    /// The version that serves until the candidate is promoted.
    pub stable: String,
    /// The version on trial.
    pub candidate: String,
    /// What the candidate is.
    pub digest: String,
    /// Where it stands: `Pending`, `Running`, `Confirming`, `Paused`, `WaitingForPromotion`, `Baking`,
    /// `RollingBack`, `Succeeded`, `RolledBack`, `Aborted`, `Superseded`.
    pub phase: String,
    /// Of a pause: `step` (the policy's own, for its duration), `command` (somebody asked for it),
    /// `inconclusive` (a step ended without evidence), `brokenRandomisation` (nothing can be decided).
    #[serde(default)]
    pub pause_reason: Option<String>,
    /// Whether it has ended.
    pub ended: bool,
    /// Why it waits or ended, in one line; empty while it simply goes on.
    pub reason: String,
    /// Place of the present step, from 0; the number of steps once all are done.
    pub step: usize,
    /// The steps, in words.
    pub steps: Vec<String>,
    /// The candidate's share of live traffic, such as `5%`.
    pub weight: String,
    /// How often this candidate was tried, this time included.
    pub attempt: u32,
    /// Who started it.
    pub by: Actor,
    /// Hash of the configuration that the policy came from.
    pub config_hash: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When the present step began.
    pub step_since_ms: u64,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// What the checks say together: `hold`, `advance`, `rollback`, `incident`, `inconclusive`,
    /// `brokenRandomisation`.
    pub verdict: String,
    /// The verdict in a sentence, with numbers.
    pub sentence: String,
    /// The numbers behind the verdict.
    pub evidence: Evidence,
    /// Names of segments, by the places that the evidence uses.
    #[serde(default)]
    pub segments: Vec<String>,
    /// Who gets which traffic.
    pub versions: Vec<LiveVersion>,
}

impl ModelView {
    /// How `state` stands at `now`. `differences` are what the configuration says otherwise.
    pub(super) fn of(state: &ModelState, now: Timestamp, differences: Vec<String>) -> Self {
        Self {
            model: state.model.to_string(),
            stable: state.stable.name.to_string(),
            rollout: state.rollout.as_ref().map(|rollout| RolloutView::of(state, rollout, now)),
            latches: state.latches.values().cloned().collect(),
            differences,
        }
    }
}

impl RolloutView {
    pub(super) fn of(state: &ModelState, rollout: &Rollout, now: Timestamp) -> Self {
        let analysis = &rollout.policy.analysis;
        let at = rollout.times.ended.unwrap_or(now);
        let (rule, elapsed) = (rollout.rule(), rollout.elapsed(at));
        let verdict = verdict(&rollout.analyzer, analysis, &rule, elapsed, at);
        let evidence = Evidence::of(&rollout.analyzer, analysis, at);
        let weight = rollout.weight.to_string();
        let setting = Setting {
            stable: rollout.stable.name.as_str(),
            candidate: rollout.candidate.name.as_str(),
            from: &weight,
            to: "the next step",
            elapsed,
            segments: rollout.reducer.segments(),
        };
        let sentence = sentence(&verdict, &evidence, analysis, &rule, &setting);
        Self {
            id: rollout.id.clone(),
            model: state.model.to_string(),
            stable: rollout.stable.name.to_string(),
            candidate: rollout.candidate.name.to_string(),
            digest: rollout.candidate.digest.clone(),
            phase: rollout.phase.as_str().to_owned(),
            pause_reason: match &rollout.phase {
                Phase::Paused(pausing) => Some(pausing.why.as_str().to_owned()),
                _ => None,
            },
            ended: rollout.phase.is_terminal(),
            reason: rollout.reason.clone(),
            step: rollout.step,
            steps: rollout.policy.steps.iter().map(words).collect(),
            weight,
            attempt: rollout.attempt,
            by: rollout.by.clone(),
            config_hash: rollout.config_hash.clone(),
            started_ms: rollout.times.started.0,
            step_since_ms: rollout.times.step.0,
            ended_ms: rollout.times.ended.map(|at| at.0),
            verdict: verdict.as_str().to_owned(),
            sentence,
            evidence,
            segments: rollout.reducer.segments().to_vec(),
            versions: rollout.live(state.trial).versions,
        }
    }
}

/// A step as people say it.
fn words(step: &Step) -> String {
    match step {
        Step::Shadow(step) => format!("shadow {}", step.sample),
        Step::SetWeight(step) => format!("setWeight {}", step.weight),
        Step::Pause(step) => step.duration.map_or("pause".to_owned(), |time| format!("pause {time}")),
        Step::Bake(step) => format!("bake {}", step.duration),
    }
}
