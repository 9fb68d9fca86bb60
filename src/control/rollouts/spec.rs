//! What a configuration says about the rollout of a model. Plain data.
//!
//! The policy itself is `rollout`'s and knows gates, predictions and features by name only; here is
//! what stands behind the names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{ModelName, VersionName};
pub use crate::divergence::feature::{FeatureSource, FeatureSpec};
use crate::divergence::score::ScoreSpec;
use crate::notify::Secret;
use crate::rollout::policy::Policy;
use crate::routing::spec::SegmentSpec;

/// How a model moves from its stable version to another one.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutSpec {
    /// The model.
    pub model: ModelName,
    /// The version to move to, if the configuration names one: one of the model's, without a weight.
    pub candidate: Option<VersionName>,
    /// What is done and watched; [`Policy::validate`] finds nothing wrong with it.
    pub policy: Policy,
    /// What tells segments apart; there exactly when the policy has segments.
    pub segment: Option<SegmentSpec>,
    /// Where predicted numbers stand, by `Prediction::value`.
    pub scores: BTreeMap<String, ScoreSpec>,
    /// Where features stand and how they are binned, by `Profile::feature`.
    pub features: BTreeMap<String, FeatureSpec>,
    /// What stands behind each gate of the policy, in its order.
    pub gates: Vec<GateSpec>,
}

/// What stands behind a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSpec {
    /// The gate's name in the policy.
    pub name: String,
    /// Who answers.
    pub asked: Asked,
}

/// Who answers a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A webhook.
    Webhook {
        /// Where it is. Not shown: who knows some URLs may do much.
        url: Secret,
        /// What it is told beside who asks.
        metadata: BTreeMap<String, String>,
    },
    /// The candidate itself, asked for examples.
    Golden {
        /// File of examples, one JSON object a line.
        examples: PathBuf,
    },
}
