//! What is written of rollouts.
//!
//! One row per model holds everything that the decider must know to go on; beside it stand the rows
//! that people read: rollouts, decisions, latches.

use serde::{Deserialize, Serialize};

use super::view::RolloutView;
use crate::base::{ModelName, Role, VersionName, Weight};
use crate::rollout::live;
use crate::rollout::record::DecisionRecord;
use crate::rollout::state::{ModelState, Rollout};
use crate::rollout::time::Timestamp;
use crate::routing::spec::ModelSpec;
use crate::store::{Decision, Latch, Roles, Write};

/// Everything that is kept of one model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) state: ModelState,
    /// Weights that an operator has set since the last rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weights: Option<Weights>,
    /// What the configuration said then, where there had been no rollout: if it says otherwise now, it
    /// is newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) over: Option<Weights>,
    /// What the system's clock said when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wall: Option<Timestamp>,
}

/// Weights by version, in basis points.
pub(super) type Weights = Vec<(String, u16)>;

/// The weights as they are kept.
pub(super) fn weights(weights: &[(VersionName, Weight)]) -> Weights {
    weights.iter().map(|(version, weight)| (version.to_string(), weight.basis_points())).collect()
}

/// The write that keeps what the decider must know.
pub(super) fn kept(
    state: &ModelState,
    by_hand: Option<&[(VersionName, Weight)]>,
    over: Option<&[(VersionName, Weight)]>,
    now: Timestamp,
    wall: Timestamp,
) -> Write {
    let kept = Kept {
        state: state.clone(),
        weights: by_hand.map(weights),
        over: over.filter(|_| state.rollout.is_none()).map(weights),
        wall: Some(wall),
    };
    Write::Roles(Roles {
        model: state.model.to_string(),
        updated_ms: now.0,
        roles: serde_json::to_string(&kept).unwrap_or_default(),
    })
}

/// The write that keeps a rollout for people.
pub(super) fn row(state: &ModelState, rollout: &Rollout, now: Timestamp) -> Option<Write> {
    let view = RolloutView::of(state, rollout, now);
    Some(Write::Rollout(crate::store::Rollout {
        id: rollout.id.clone(),
        model: state.model.to_string(),
        phase: rollout.phase.as_str().to_owned(),
        terminal: rollout.phase.is_terminal(),
        created_ms: rollout.times.started.0,
        updated_ms: now.0,
        state: serde_json::to_string(&view).ok()?,
    }))
}

/// The write that adds a decision to the history.
pub(super) fn decision(record: &DecisionRecord) -> Option<Write> {
    Some(Write::Decision(Decision {
        rollout: record.rollout.clone(),
        seq: record.number,
        at_ms: record.at.0,
        kind: record.action.as_str().to_owned(),
        record: serde_json::to_string(record).ok()?,
    }))
}

/// The write that keeps traffic from a candidate.
pub(super) fn latch(model: &ModelName, latch: &live::Latch) -> Write {
    Write::Latch(Latch {
        model: model.to_string(),
        digest: latch.digest.clone(),
        since_ms: latch.since.0,
        reason: latch.reason.clone(),
    })
}

/// What the configuration says otherwise than what is live, one line each.
pub(super) fn differences(state: &ModelState, declared: Option<&ModelSpec>) -> Vec<String> {
    let Some(declared) = declared else {
        return vec!["the configuration does not declare this model any more".to_owned()];
    };
    let Some(live) = state.live() else { return Vec::new() };
    let mut lines = Vec::new();
    let stable = live.versions.iter().find(|version| version.role == Role::Stable);
    let written = declared.versions.iter().find(|version| version.role == Role::Stable);
    if let (Some(stable), Some(written)) = (stable, written)
        && stable.version != written.name
    {
        lines.push(format!("stable is {}; the configuration says {}", stable.version, written.name));
    }
    for version in &live.versions {
        // What is retired serves nobody: a configuration may forget it.
        match declared.versions.iter().find(|written| written.name == version.version) {
            None if version.role == Role::Retired => {}
            None => lines.push(format!("{} is not in the configuration", version.version)),
            Some(written) if written.weight != version.weight => lines.push(format!(
                "{} has weight {}; the configuration says {}",
                version.version, version.weight, written.weight
            )),
            Some(_) => {}
        }
    }
    lines
}
