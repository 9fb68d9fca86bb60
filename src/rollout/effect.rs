//! What the machine asks of its driver. Effects are carried out in their order.
//!
//! A way back begins with [`Effect::SetLive`]: nothing is written or asked before traffic has left
//! the candidate. A way forward begins with [`Effect::Persist`]: what is announced has been kept.
//! Every effect may be repeated without harm, because after a crash it is.

use serde::{Deserialize, Serialize};

use super::live::{Latch, Live};
use super::plain;
use super::policy::GateKind;
use super::record::DecisionRecord;
use super::state::Rollout;
use super::time::{Millis, Timestamp};
use crate::base::{VersionName, Weight};

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Make this the live table of the model: one atomic store, no I/O.
    SetLive(Live),
    /// Keep the state that came with these effects, and return when it lasts.
    Persist,
    /// Keep a rollout that ended and is no longer part of the state.
    Archive(Box<Rollout>),
    /// Add to the history.
    Decide(Box<DecisionRecord>),
    /// Tell whoever wants to know. Waits for nobody.
    Notify(Event),
    /// Ask a gate; its answer comes back as an input with the number of this run.
    RunGate(GateRun),
    /// Tell whoever is on duty. The rollout goes on or holds.
    Alert(Event),
    /// Keep this digest from getting traffic until somebody clears it.
    Latch(Latch),
    /// The digest may be tried again.
    Unlatch(String),
}

impl Effect {
    /// Every kind, by its word.
    pub const KINDS: [&str; 9] =
        ["setLive", "persist", "archive", "decide", "notify", "runGate", "alert", "latch", "unlatch"];

    /// The kind's word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SetLive(_) => "setLive",
            Self::Persist => "persist",
            Self::Archive(_) => "archive",
            Self::Decide(_) => "decide",
            Self::Notify(_) => "notify",
            Self::RunGate(_) => "runGate",
            Self::Alert(_) => "alert",
            Self::Latch(_) => "latch",
            Self::Unlatch(_) => "unlatch",
        }
    }
}

/// One question to a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRun {
    /// Number of the run, unique within the rollout: the answer names it.
    pub run: u32,
    /// What kind of gate.
    pub kind: GateKind,
    /// Its name in the policy; `load` for loading the candidate.
    pub name: String,
    /// When an answer comes too late.
    pub timeout: Millis,
    /// The rollout.
    pub rollout: String,
    /// The candidate.
    #[serde(with = "plain::version")]
    pub candidate: VersionName,
    /// Its weight now.
    #[serde(with = "plain::weight")]
    pub weight: Weight,
}

/// Something that happened, for people and machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// The model.
    pub model: String,
    /// The rollout.
    pub rollout: String,
    /// The version that is or was replaced.
    pub stable: String,
    /// The version on trial.
    pub candidate: String,
    /// Number of the decision's record, where one belongs to it.
    pub decision: Option<u64>,
    /// In one line, with numbers.
    pub sentence: String,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A rollout began.
    Started,
    /// A step began.
    Advanced,
    /// The candidate got all traffic; the previous version stays warm.
    Promoted,
    /// The rollout ended well.
    Succeeded,
    /// Traffic went back by itself.
    RolledBack,
    /// Somebody took traffic back.
    Aborted,
    /// Another rollout took its place.
    Superseded,
    /// It waits for somebody.
    Paused,
    /// It goes on.
    Resumed,
    /// A gate said no and is asked again.
    GateClosed,
    /// Both arms break a limit.
    Incident,
    /// Requests do not fall on the versions as drawn.
    BrokenRandomisation,
    /// Inputs are not those of the training.
    Drift,
    /// Inputs are those of the training again.
    DriftEnded,
    /// A latch was taken off.
    Cleared,
}

impl EventKind {
    /// The kind's word in payloads and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Advanced => "advanced",
            Self::Promoted => "promoted",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolledBack",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::GateClosed => "gateClosed",
            Self::Incident => "incident",
            Self::BrokenRandomisation => "brokenRandomisation",
            Self::Drift => "drift",
            Self::DriftEnded => "driftEnded",
            Self::Cleared => "cleared",
        }
    }
}
