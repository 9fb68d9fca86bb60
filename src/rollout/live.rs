//! Who gets which traffic, and who gets none any more.

use serde::{Deserialize, Serialize};

use super::plain;
use super::time::Timestamp;
use crate::base::{Role, VersionName, Weight};

/// Who gets which traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// To be stamped on every request and copy that is drawn with this table.
    pub trial: u32,
    /// The versions that the rollout has a say about. Weights sum to 100 %.
    pub versions: Vec<LiveVersion>,
    /// Copies for the candidate, if any.
    pub mirror: Option<Mirror>,
    /// The candidate's share of the draws between candidate and stable, in basis points.
    pub weight_bp: u16,
}

/// One version's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveVersion {
    /// Its name.
    #[serde(with = "plain::version")]
    pub version: VersionName,
    /// Its share of live traffic.
    #[serde(with = "plain::weight")]
    pub weight: Weight,
    /// Its role.
    #[serde(with = "plain::role")]
    pub role: Role,
}

/// Copies for the candidate, and back to stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// The candidate.
    #[serde(with = "plain::version")]
    pub to: VersionName,
    /// Share of the live requests that is copied.
    #[serde(with = "plain::weight")]
    pub sample: Weight,
    /// Share of the copies that goes back to stable, 0 to 1.
    pub noise_control: f64,
}

/// A candidate that may not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latch {
    /// Digest of the candidate.
    pub digest: String,
    /// Its name then.
    #[serde(with = "plain::version")]
    pub version: VersionName,
    /// The rollout that ended so.
    pub rollout: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, in one line.
    pub reason: String,
}
