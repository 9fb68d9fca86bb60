//! The numbers behind a verdict, as they are shown and kept. `gather` makes them.

use serde::{Deserialize, Serialize};

use super::checks::{Figures, Part, Tally};
use crate::stats::sequential::Arms;

/// Everything that is known at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The combined e-value of all checks.
    pub e_value: f64,
    /// What it is compared with: `1/alpha`.
    pub threshold: f64,
    /// What the evidence against a step's harm is compared with: `1/beta`.
    pub pass_threshold: f64,
    /// The checks, in the order of the policy.
    pub checks: Vec<CheckState>,
    /// The plain thresholds, in the order of the policy.
    pub thresholds: Vec<ThresholdState>,
    /// Failures in the circuit breaker's window, by arm.
    pub breaker: Option<Arms<u64>>,
    /// Evidence that the coins are not what they are said to be: live requests, copies.
    pub balance: (f64, f64),
    /// What that is compared with.
    pub balance_threshold: f64,
    /// Live requests that ended, in the whole rollout.
    pub requests: Arms<u64>,
    /// Live requests that ended, in the present step.
    pub step_requests: Arms<u64>,
    /// Ratio of error rates that would have been found in this step with 80 % probability.
    pub smallest_harm: Option<f64>,
    /// Whether live requests are still left out because the candidate warms up.
    pub warming: bool,
    /// The grids that the tests bet on.
    pub grids: String,
    /// Deltas that the evidence was made of.
    pub deltas: u64,
}

/// The state of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckState {
    /// Name in the policy.
    pub name: String,
    /// What it looks at: `errorRate`, `latency`, …
    pub rule: String,
    /// What it says.
    pub verdict: CheckVerdict,
    /// The evidence that counts, of all its parts.
    pub e_value: f64,
    /// The e-value with which this check would roll back alone.
    pub threshold: f64,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Evidence against the step's harm, where it has a say in this step.
    pub ruled_out: Option<f64>,
    /// The numbers.
    pub figures: Figures,
    /// The same in words.
    pub sentence: String,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckVerdict {
    /// The step's harm is ruled out.
    Pass,
    /// The candidate is worse.
    Fail,
    /// Neither can be said.
    Inconclusive,
    /// Both arms break the limit.
    Incident,
}

impl CheckVerdict {
    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Incident => "incident",
        }
    }
}

/// The state of one plain threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdState {
    /// Name in the policy.
    pub name: String,
    /// What lies in its window.
    pub window: Tally,
    /// Which arms break the limit.
    pub broken: Arms<bool>,
}
