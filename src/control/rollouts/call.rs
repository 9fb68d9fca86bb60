//! What people and pipelines may ask of the decider, and what they are told.

use std::sync::mpsc::SyncSender;

use serde::{Deserialize, Serialize};

use super::view::RolloutView;
use crate::base::{VersionName, Weight};
use crate::rollout::machine::{Refusal, What};
use crate::rollout::policy::Policy;
use crate::rollout::version::Actor;
use crate::routing::spec::VersionSpec;

/// A rollout to be started.
#[derive(Debug, Clone)]
pub struct StartCall {
    /// The model.
    pub model: String,
    /// The version to move to.
    pub candidate: CandidateCall,
    /// In place of the configuration's policy.
    pub policy: Option<Policy>,
    /// Whether to take the place of a rollout that runs.
    pub supersede: bool,
    /// Who asks, and under which idempotency key.
    pub by: Actor,
}

/// A candidate, as it is named by who starts a rollout.
#[derive(Debug, Clone)]
pub enum CandidateCall {
    /// A version that the configuration declares.
    Declared(VersionName),
    /// A version that comes with the call, and is kept in the store.
    Given {
        /// What it is.
        spec: Box<VersionSpec>,
        /// The same as it was written, to make it again after a restart.
        origin: serde_json::Value,
        /// What the caller says that it is, such as the digest of an image: for model servers, whose
        /// files nobody here can read.
        digest: Option<String>,
    },
}

/// What is asked.
#[derive(Debug)]
pub enum Call {
    /// Begin a rollout.
    Start(Box<StartCall>),
    /// Do something about a rollout that is there.
    Command {
        /// The model whose rollout it is.
        model: String,
        /// Only if this is the rollout's id.
        id: Option<String>,
        /// What.
        what: What,
        /// Who asks.
        by: Actor,
    },
    /// Set the weights of a model that has no rollout under way.
    Weights {
        /// The model.
        model: String,
        /// Weights; versions that are not named get none.
        weights: Vec<(VersionName, Weight)>,
        /// Who asks.
        by: Actor,
    },
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The rollout as it stands now; none where the call was not about one.
    pub rollout: Option<RolloutView>,
    /// Whether what was done outlives the process.
    pub durable: bool,
}

/// Why a call was refused. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// There is no such model or rollout.
    #[error("{0}")]
    NotFound(String),
    /// The call makes no sense as it is.
    #[error("{0}")]
    Invalid(String),
    /// The machine says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It contradicts something that is under way.
    #[error("{0}")]
    Conflict(String),
    /// What must last cannot be written now.
    #[error("the store cannot be written, so no rollout is started: {0}")]
    Store(String),
    /// The decider is not there: the process is ending.
    #[error("the process is ending")]
    Ending,
}

/// Where the answer to a call goes.
pub(super) type Reply = SyncSender<Result<Done, CallError>>;
