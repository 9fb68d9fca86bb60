//! Which version, and on whose behalf.

use serde::{Deserialize, Serialize};

use super::plain;
use crate::base::VersionName;

/// A version, and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRef {
    /// Its name.
    #[serde(with = "plain::version")]
    pub name: VersionName,
    /// What it is: of the model file, or of the description where there is no file.
    pub digest: String,
    /// How to make it again after a restart. Only the driver understands it.
    #[serde(default)]
    pub origin: serde_json::Value,
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// A person, a pipeline, `config`.
    pub name: String,
    /// Carried out once however often it is sent.
    #[serde(default)]
    pub key: Option<String>,
}

/// Why something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// The verdict asked for it.
    Verdict,
    /// The policy's time was over, or the policy said so for an inconclusive step.
    Policy,
    /// A gate.
    Gate(String),
    /// Somebody.
    Actor(Actor),
}
