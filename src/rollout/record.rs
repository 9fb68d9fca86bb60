//! A decision as it is kept: everything that it was made of, so that anybody can make it again.
//!
//! [`verify`] applies what was seen to the evidence that the record begins with, and compares the
//! outcome bit for bit. Nothing of the machine takes part in that, only the analyzer and the one
//! function that turns evidence into a verdict.

use serde::{Deserialize, Serialize};

use super::analyzer::Analyzer;
use super::evidence::Evidence;
use super::journal::Entry;
use super::plain;
use super::policy::Analysis;
use super::time::{Millis, Timestamp};
use super::verdict::{StepRule, Verdict, verdict};
use super::version::{By, VersionRef};
use crate::base::Weight;
use crate::stats::sequential::GRIDS;

/// The format of records that this build writes and verifies.
pub const FORMAT: u32 = 1;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// Format of the record.
    pub format: u32,
    /// Number of the decision, rising within a model.
    pub number: u64,
    /// The model.
    pub model: String,
    /// The rollout.
    pub rollout: String,
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// Why it was done.
    pub by: By,
    /// The version that is or was replaced.
    pub stable: VersionRef,
    /// The version on trial.
    pub candidate: VersionRef,
    /// How often this candidate was tried.
    pub attempt: u32,
    /// Hash of the configuration that the policy came from.
    pub config_hash: String,
    /// Place of the step that was decided about.
    pub step: usize,
    /// How that step ends.
    pub rule: StepRule,
    /// Time in that step.
    pub elapsed: Millis,
    /// The candidate's weight before.
    #[serde(with = "plain::weight")]
    pub weight_before: Weight,
    /// The candidate's weight after.
    #[serde(with = "plain::weight")]
    pub weight_after: Weight,
    /// What was watched, and with which risks.
    pub analysis: Analysis,
    /// Names of segments, by the places that deltas use.
    pub segments: Vec<String>,
    /// The evidence to begin with.
    pub base: Analyzer,
    /// What changed it, in order.
    pub entries: Vec<Entry>,
    /// The evidence that came out.
    pub evidence: Evidence,
    /// What it says.
    pub verdict: Verdict,
    /// The decision in one line.
    pub sentence: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The rollout began.
    Start,
    /// The next step began.
    Advance,
    /// The candidate was promoted.
    Promote,
    /// The rollout ended well.
    Succeed,
    /// Traffic went back, and the candidate was latched.
    Rollback,
    /// Traffic went back because somebody wanted it, or the candidate never got any.
    Abort,
    /// Another rollout took its place.
    Supersede,
    /// It waits.
    Pause,
    /// It goes on.
    Resume,
    /// It holds, because both arms break a limit.
    Hold,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::Advance,
        Self::Promote,
        Self::Succeed,
        Self::Rollback,
        Self::Abort,
        Self::Supersede,
        Self::Pause,
        Self::Resume,
        Self::Hold,
    ];

    /// The action's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Advance => "advance",
            Self::Promote => "promote",
            Self::Succeed => "succeed",
            Self::Rollback => "rollback",
            Self::Abort => "abort",
            Self::Supersede => "supersede",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Hold => "hold",
        }
    }
}

/// Why a record is not what its evidence says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another build wrote it.
    #[error(
        "the record has format {found} with grids {grids:?}; this build knows format {FORMAT} with grids {GRIDS:?}"
    )]
    Format {
        /// Format found.
        found: u32,
        /// Grids found.
        grids: String,
    },
    /// The evidence comes out differently.
    #[error("{what} is {recorded} in the record and {recomputed} when it is recomputed")]
    Evidence {
        /// Which number.
        what: String,
        /// As recorded.
        recorded: String,
        /// As recomputed.
        recomputed: String,
    },
    /// The verdict comes out differently.
    #[error("the verdict is {recorded:?} in the record and {recomputed:?} when it is recomputed")]
    Verdict {
        /// As recorded.
        recorded: Verdict,
        /// As recomputed.
        recomputed: Verdict,
    },
    /// What was done is not what the verdict asks for.
    #[error("the record says that {verdict:?} led to {action:?}")]
    Action {
        /// The verdict, which is right.
        verdict: Verdict,
        /// What was done.
        action: Action,
    },
}

/// Makes the decision again from what was seen, and compares all of it.
///
/// # Errors
/// The first thing that does not agree, bit for bit.
pub fn verify(record: &DecisionRecord) -> Result<Verdict, Mismatch> {
    if record.format != FORMAT || record.evidence.grids != GRIDS {
        return Err(Mismatch::Format { found: record.format, grids: record.evidence.grids.clone() });
    }
    let mut analyzer = record.base.clone();
    for entry in &record.entries {
        entry.apply(&mut analyzer, &record.analysis);
    }
    let evidence = Evidence::of(&analyzer, &record.analysis, record.at);
    compare(&record.evidence, &evidence)?;
    let recomputed = verdict(&analyzer, &record.analysis, &record.rule, record.elapsed, record.at);
    if recomputed != record.verdict {
        return Err(Mismatch::Verdict { recorded: record.verdict.clone(), recomputed });
    }
    let follows = match (&record.by, &record.verdict) {
        (By::Verdict, Verdict::Rollback(_)) => record.action == Action::Rollback,
        (By::Verdict, Verdict::Advance) => {
            matches!(record.action, Action::Advance | Action::Promote | Action::Succeed)
        }
        (By::Verdict, Verdict::Incident(_)) => record.action == Action::Hold,
        (By::Verdict, Verdict::BrokenRandomisation) => record.action == Action::Pause,
        (By::Verdict, Verdict::Hold | Verdict::Inconclusive) => false,
        (By::Policy | By::Gate(_) | By::Actor(_), _) => true,
    };
    if follows {
        Ok(recomputed)
    } else {
        Err(Mismatch::Action { verdict: recomputed, action: record.action })
    }
}

fn compare(recorded: &Evidence, recomputed: &Evidence) -> Result<(), Mismatch> {
    if recorded == recomputed {
        return Ok(());
    }
    let differs = |what: String, recorded: String, recomputed: String| Mismatch::Evidence {
        what,
        recorded,
        recomputed,
    };
    for (a, b) in recorded.checks.iter().zip(&recomputed.checks) {
        if a.e_value.to_bits() != b.e_value.to_bits() {
            let what = format!("the e-value of {}", a.name);
            return Err(differs(what, a.e_value.to_string(), b.e_value.to_string()));
        }
        if a != b {
            let what = format!("the state of {}", a.name);
            return Err(differs(what, a.sentence.clone(), b.sentence.clone()));
        }
    }
    let what = "the evidence of all checks".to_owned();
    Err(differs(what, recorded.e_value.to_string(), recomputed.e_value.to_string()))
}
