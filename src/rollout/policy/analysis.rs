//! What is watched during a rollout, and with what risk of being wrong.
//!
//! `alpha` is the probability of rolling back a candidate that is no worse, over the whole rollout
//! with its bake, however often one looks. It is shared over the checks by `share`. `beta` is the
//! probability that a step advances in spite of the harm that it declares.

use serde::{Deserialize, Serialize};

use crate::rollout::time::Millis;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Analysis {
    /// Bound on the probability of a false rollback, 0 to 1.
    pub alpha: f64,
    /// Bound on the probability of advancing in spite of the declared harm, 0 to 1.
    pub beta: f64,
    /// What is drawn for an arm, and therefore what counts once.
    pub randomize_by: Unit,
    /// What is left out at the beginning of the candidate's live traffic, in both arms.
    pub warmup: Warmup,
    /// The checks that share `alpha`.
    pub checks: Vec<CheckSpec>,
    /// Attributes of requests by which harm to a part of them is looked for.
    pub segments: Option<Segments>,
    /// A plain stop for a candidate that fails outright.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Plain limits over a sliding window, without a bound on false alarms.
    pub thresholds: Vec<Threshold>,
}

impl Default for Analysis {
    /// Errors and latency against the stable arm, divergence of the shadow, a circuit breaker.
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            randomize_by: Unit::Request,
            warmup: Warmup::default(),
            checks: vec![
                CheckSpec::new("error-rate", 0.5, Rule::ErrorRate(ErrorRate::default())),
                CheckSpec::new("latency", 0.3, Rule::Latency(Latency::default())),
                CheckSpec::new("divergence", 0.2, Rule::Divergence(Divergence::default())),
            ],
            segments: None,
            circuit_breaker: Some(CircuitBreaker::default()),
            thresholds: Vec::new(),
        }
    }
}

/// What is drawn for an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Each request.
    #[default]
    Request,
    /// Each sticky key: whoever counts must count a key once per metric.
    Key,
}

/// What is left out at the beginning: cold caches are no fault of a version. Over when both have
/// been reached. The circuit breaker and plain thresholds watch meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// The candidate's first live requests.
    pub requests: u64,
    /// Time since the candidate's first live request.
    pub duration: Millis,
}

/// One rule on one signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckSpec {
    /// Name, unique within the analysis.
    pub name: String,
    /// Part of `alpha`, relative to the sum of all shares. Drift only informs and has none.
    pub share: f64,
    /// The rule.
    pub rule: Rule,
}

impl CheckSpec {
    /// A check.
    pub fn new(name: &str, share: f64, rule: Rule) -> Self {
        Self { name: name.to_owned(), share, rule }
    }
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// Share of live requests that failed.
    ErrorRate(ErrorRate),
    /// How long live requests take.
    Latency(Latency),
    /// How often the candidate's answers differ from the stable version's.
    Divergence(Divergence),
    /// How the distribution of a predicted number moved between the arms.
    Prediction(Prediction),
    /// How far the inputs are from those of the training. Alerts, never a verdict: both arms get
    /// the same inputs.
    Drift(Drift),
}

impl Rule {
    /// The rule's name in status and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ErrorRate(_) => "errorRate",
            Self::Latency(Latency { signal: Signal::Latency, .. }) => "latency",
            Self::Latency(Latency { signal: Signal::TimeToFirstToken, .. }) => "timeToFirstToken",
            Self::Latency(Latency { signal: Signal::InterToken, .. }) => "interToken",
            Self::Divergence(_) => "divergence",
            Self::Prediction(_) => "prediction",
            Self::Drift(_) => "drift",
        }
    }
}

/// Errors: against the concurrent stable arm, against a limit, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorRate {
    /// Against the stable arm.
    pub relative: Option<RelativeRate>,
    /// Against a limit.
    pub absolute: Option<Limit>,
}

impl Default for ErrorRate {
    fn default() -> Self {
        Self { relative: Some(RelativeRate::default()), absolute: None }
    }
}

/// A rate against the stable arm's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RelativeRate {
    /// Ratio of rates that is tolerated. 1: no worse.
    pub tolerance: f64,
    /// Observed ratio below which nothing is rolled back, whatever the evidence.
    pub min_effect: f64,
    /// Observed rate of the candidate below which nothing is rolled back, 0 to 1.
    pub min_rate: f64,
}

impl Default for RelativeRate {
    fn default() -> Self {
        Self { tolerance: 1.0, min_effect: 1.2, min_rate: 0.002 }
    }
}

/// A limit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The highest rate that is all right, between 0 and 1.
    pub max: f64,
}

/// A duration that is measured of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// From the request's head to the end of the answer.
    #[default]
    Latency,
    /// To the first token of a streamed answer.
    TimeToFirstToken,
    /// Between the tokens of a streamed answer, one number for each answer.
    InterToken,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Latency, Self::TimeToFirstToken, Self::InterToken];

    /// As it stands in sentences.
    pub fn words(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::TimeToFirstToken => "time to first token",
            Self::InterToken => "inter-token time",
        }
    }
}

/// Durations: against the concurrent stable arm, against a limit, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Latency {
    /// Which duration.
    pub signal: Signal,
    /// Quantiles of the stable arm at which the candidate is compared, rising, each between 0 and
    /// 1. Empty: no comparison.
    pub quantiles: Vec<f64>,
    /// Slowdown that is tolerated, as a factor: 1.1 is a tenth slower. It is rounded up to the
    /// next edge of the histogram.
    pub tolerance: f64,
    /// Slowdown that is tolerated in any case, in nanoseconds: where answers take microseconds, a
    /// server with less to do, a colder cache or a new connection is more than a tenth slower, and
    /// nobody is hurt by it.
    pub min_difference_nanos: u64,
    /// A limit.
    pub absolute: Option<LatencyBound>,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            signal: Signal::Latency,
            quantiles: vec![0.5, 0.9, 0.99],
            tolerance: 1.1,
            min_difference_nanos: 1_000_000,
            absolute: None,
        }
    }
}

/// A limit of a quantile: `p99 ≤ 500 ms`, read as "at most 1 % take longer than 500 ms".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyBound {
    /// Which quantile, between 0 and 1.
    pub quantile: f64,
    /// Its limit, in nanoseconds; rounded up to the next edge of the histogram.
    pub max_nanos: u64,
}

/// Diverging answers of the shadow, beside the stable version's own noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Divergence {
    /// Share of the copies that go back to the stable version to measure its noise, 0 to below 1.
    pub noise_control: f64,
    /// Against the noise. Judged only once noise was seen: any new model differs from one that
    /// always says the same.
    pub relative: Option<RelativeRate>,
    /// The highest divergence beyond the noise that is all right, between 0 and 1.
    pub max: Option<f64>,
}

impl Default for Divergence {
    fn default() -> Self {
        Self {
            noise_control: 0.3,
            relative: Some(RelativeRate { tolerance: 1.0, min_effect: 1.5, min_rate: 0.01 }),
            max: Some(0.05),
        }
    }
}

/// A predicted number, by its rank among the stable arm's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// Which number of the answer: a name that whoever counts understands.
    pub value: String,
    /// Shift of the mean rank that is all right: 0.02 is `P(candidate > stable)` of 0.48 to 0.52.
    pub rank_shift: f64,
}

/// Inputs against the reference of the training, by the population stability index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The reference, by feature.
    pub profiles: Vec<Profile>,
    /// Index above which is warned.
    pub warn: f64,
    /// Index above which is alerted.
    pub alert: f64,
}

/// How a feature was distributed in the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Name of the feature.
    pub feature: String,
    /// Share of each bin; they sum to 1.
    pub shares: Vec<f64>,
}

/// Harm to a part of the requests: attributes that are known before the arm is drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segments {
    /// The attributes: names that whoever counts understands.
    pub by: Vec<String>,
    /// Most segments that are told apart. Fixed in advance, since it is what the evidence of each
    /// is divided by; further ones count in the whole only.
    pub max: usize,
}

/// Stops a candidate that fails outright: without guarantee, and without waiting for evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// How many of the candidate's latest requests are looked at.
    pub window: u64,
    /// How many of them may fail before it opens.
    pub max_failures: u64,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { window: 50, max_failures: 25 }
    }
}

/// A plain limit of a metric of the candidate over a sliding window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// Name, unique within the analysis.
    pub name: String,
    /// The metric.
    pub metric: Metric,
    /// Rolled back above.
    pub max: Option<f64>,
    /// Rolled back below.
    pub min: Option<f64>,
    /// How far back is looked.
    pub window: Millis,
    /// Requests of the candidate (compared copies for divergence) in the window without which
    /// nothing is said.
    pub min_requests: u64,
}

/// A metric in users' words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// Share of failed requests, 0 to 1.
    ErrorRate,
    /// Share of requests that did not fail, 0 to 1.
    SuccessRate,
    /// A quantile of a duration, in seconds. Only with `max`.
    Quantile {
        /// Which duration.
        signal: Signal,
        /// Which quantile, between 0 and 1.
        quantile: f64,
    },
    /// Share of compared copies that diverged, 0 to 1.
    DivergenceRate,
}
