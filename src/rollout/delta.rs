//! What a decider saw in one look: the smallest thing that evidence is computed from.
//!
//! Deltas are what a decision's record carries, in order. Whoever applies the same deltas to the
//! same analyzer gets the same evidence, bit for bit. Durations are in here as counts above and
//! below thresholds that were fixed before, so a delta stays small whatever happened.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;
use crate::stats::sequential::{Arms, Exceedance};

/// What was counted in one trial between two looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delta {
    /// When it was seen.
    pub at: Timestamp,
    /// The trial.
    pub trial: u32,
    /// The candidate's share of the draws between candidate and stable, in basis points.
    pub weight_bp: u16,
    /// Requests drawn for each arm.
    #[serde(skip_serializing_if = "none")]
    pub assigned: Arms<u64>,
    /// Requests that ended.
    #[serde(skip_serializing_if = "none")]
    pub requests: Arms<u64>,
    /// Of these, those that failed.
    #[serde(skip_serializing_if = "none")]
    pub errors: Arms<u64>,
    /// Durations beside their thresholds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<Slow>,
    /// Copies for the shadow and back to stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairDelta>,
    /// The same by segment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentDelta>,
    /// Predicted numbers, in bins of rank.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ScoreDelta>,
    /// Inputs, in bins of the reference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputDelta>,
}

/// Which threshold durations were held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Edge {
    /// A quantile of the stable arm: places of the check and of the quantile in it.
    Tail(u16, u16),
    /// The limit of a check: its place.
    Bound(u16),
    /// The limit of a plain threshold: its place.
    Threshold(u16),
}

/// Durations beside one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slow {
    /// Which threshold.
    pub edge: Edge,
    /// The threshold in nanoseconds; the candidate's has the tolerated slowdown on top.
    pub nanos: Arms<u64>,
    /// Requests above it and not.
    pub counts: Exceedance,
}

/// Copies for the candidate, and copies back to stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairDelta {
    /// The candidate's share of the copies, in basis points.
    pub coin_bp: u16,
    /// Copies drawn.
    pub sampled: Arms<u64>,
    /// Of these, compared.
    pub compared: Arms<u64>,
    /// Of these, diverged.
    pub diverged: Arms<u64>,
}

/// What was counted for one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SegmentDelta {
    /// Its place in the list of segments that were seen.
    pub segment: u16,
    /// Requests that ended.
    #[serde(skip_serializing_if = "none")]
    pub requests: Arms<u64>,
    /// Of these, failed.
    #[serde(skip_serializing_if = "none")]
    pub errors: Arms<u64>,
    /// Of these, slow.
    #[serde(skip_serializing_if = "none")]
    pub slow: Arms<u64>,
    /// Copies compared.
    #[serde(skip_serializing_if = "none")]
    pub compared: Arms<u64>,
    /// Of these, diverged.
    #[serde(skip_serializing_if = "none")]
    pub diverged: Arms<u64>,
}

/// Predicted numbers of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoreDelta {
    /// Place of the check.
    pub check: u16,
    /// Counts by bin of rank among the stable arm's earlier numbers, lowest first.
    pub bins: Vec<Arms<u64>>,
}

/// Inputs of one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InputDelta {
    /// Place of the check.
    pub check: u16,
    /// Place of the profile in it.
    pub profile: u16,
    /// Counts by bin of the reference.
    pub bins: Vec<u64>,
}

impl Delta {
    /// The candidate's share of the draws, 0 to 1.
    pub fn weight(&self) -> f64 {
        f64::from(self.weight_bp.min(10_000)) / 10_000.0
    }
}

impl PairDelta {
    /// The candidate's share of the copies, 0 to 1.
    pub fn coin(&self) -> f64 {
        f64::from(self.coin_bp.min(10_000)) / 10_000.0
    }
}

fn none(counts: &Arms<u64>) -> bool {
    counts.total() == 0
}
