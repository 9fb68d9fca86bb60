//! The documents of the API, as its description shows them.
//!
//! What is served is made elsewhere, much of it on floors that know nothing of HTTP. These are its
//! shapes, for the OpenAPI document alone; nothing is ever made of them, and tests hold them to what
//! is served.
#![expect(dead_code, reason = "only their shape is of interest")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(ToSchema)]
pub(super) struct Error {
    /// What is wrong and what to do about it, in one line.
    error: String,
}

/// The process is alive.
#[derive(ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: String,
}

/// Whether traffic should be sent here.
#[derive(ToSchema)]
pub(super) struct Readiness {
    /// Whether it should.
    ready: bool,
    /// If not, why; else what is nevertheless amiss.
    reasons: Vec<String>,
}

/// How the sidecar stands.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Status {
    /// Version of Switchback.
    version: String,
    /// `starting`, `ready` or `draining`.
    state: String,
    /// Whether traffic should be sent here.
    ready: bool,
    /// Time since the start.
    uptime_seconds: f64,
    /// The configuration in force: path, hash, when it was loaded, reloads and their last error.
    config: BTreeMap<String, Value>,
    /// What clients connect to: name and address.
    listeners: Vec<BTreeMap<String, String>>,
    /// What clients call: versions with role, weight, readiness, counts and latencies; mirrors.
    models: Vec<BTreeMap<String, Value>>,
}

/// What a reload did.
#[derive(ToSchema)]
pub(super) struct Reloaded {
    /// Hash of the configuration that is in force now.
    hash: String,
    /// Whether it is another one than before.
    changed: bool,
}

/// Weights to be set.
#[derive(ToSchema)]
pub(super) struct Weights {
    /// Weight by version, such as `10%` or `25bp`; together 100 %.
    #[schema(example = json!({"v1": "90%", "v2": "10%"}))]
    weights: BTreeMap<String, String>,
}

/// Weights that are live.
#[derive(ToSchema)]
pub(super) struct WeightsDone {
    /// The model.
    model: String,
    /// Weight by version.
    weights: BTreeMap<String, String>,
    /// Whether they outlive the process.
    durable: bool,
}

/// A rollout to be started.
#[derive(ToSchema)]
pub(super) struct Start {
    /// The model.
    model: String,
    /// The version to move to.
    candidate: Candidate,
    /// In place of the configuration's: what stands under `rollout` there, without `candidate`.
    #[schema(value_type = Option<Object>)]
    policy: Option<Value>,
    /// Whether to take the place of a rollout that runs.
    supersede: Option<bool>,
}

/// The version to move to.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Candidate {
    /// Name of a version that the configuration declares.
    Declared(String),
    /// A version that comes with the request, and is kept in the store.
    Given(Box<Given>),
}

/// A version as it stands in the configuration, without weight and role.
#[derive(serde::Deserialize, ToSchema)]
pub(super) struct Given {
    /// Its name.
    name: String,
    /// The model server.
    #[schema(value_type = Option<Object>, example = json!({"url": "http://10.0.0.7:9000"}))]
    upstream: Option<Value>,
    /// Or the model file, served in process.
    #[schema(value_type = Option<Object>)]
    onnx: Option<Value>,
    /// Names to be put into requests.
    #[schema(value_type = Option<Object>)]
    rewrite: Option<Value>,
    /// What it is: for a model server whatever the caller knows it by, such as an image's digest; for
    /// a model file its SHA-256, which is then checked.
    digest: Option<String>,
}

/// How far to go.
#[derive(ToSchema)]
pub(super) struct Promote {
    /// Past all steps that are left, to the bake.
    full: Option<bool>,
}

/// What came of a request.
#[derive(ToSchema)]
pub(super) struct Done {
    /// The model's rollout as it stands now.
    rollout: Option<Rollout>,
    /// Whether what was done outlives the process.
    durable: bool,
}

/// A page of rollouts.
#[derive(ToSchema)]
pub(super) struct Rollouts {
    /// Rollouts, latest first.
    rollouts: Vec<Rollout>,
    /// What `before` is for the next page, if this one is full.
    next: Option<String>,
}

/// A rollout.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Rollout {
    /// Its identifier.
    id: String,
    /// The model.
    model: String,
    /// The version that serves until the candidate is promoted.
    stable: String,
    /// The version on trial.
    candidate: String,
    /// What the candidate is.
    digest: String,
    /// Where it stands: `Pending`, `Running`, `Confirming`, `Paused`, `WaitingForPromotion`, `Baking`,
    /// `RollingBack`, `Succeeded`, `RolledBack`, `Aborted`, `Superseded`.
    phase: String,
    /// Of a pause: `step` (the policy's own, for its duration), `command` (somebody asked for it),
    /// `inconclusive` (a step ended without evidence), `brokenRandomisation` (nothing can be decided).
    #[schema(required)]
    pause_reason: Option<String>,
    /// Whether it has ended.
    ended: bool,
    /// Why it waits or ended, in one line; empty while it simply goes on.
    reason: String,
    /// Place of the present step, from 0; the number of steps once all are done.
    step: u64,
    /// The steps, in words.
    steps: Vec<String>,
    /// The candidate's share of live traffic, such as `5%`.
    weight: String,
    /// How often this candidate was tried, this time included.
    attempt: u32,
    /// Who started it.
    by: By,
    /// Hash of the configuration that the policy came from.
    config_hash: String,
    /// When it began, in milliseconds since 1970.
    started_ms: u64,
    /// When the present step began.
    step_since_ms: u64,
    /// When it ended.
    #[schema(required)]
    ended_ms: Option<u64>,
    /// What the checks say together: `hold`, `advance`, `rollback`, `incident`, `inconclusive`,
    /// `brokenRandomisation`.
    verdict: String,
    /// The verdict in a sentence, with numbers.
    sentence: String,
    /// The numbers behind the verdict.
    evidence: Evidence,
    /// Names of segments, by the places that the figures of checks use.
    segments: Vec<String>,
    /// Who gets which traffic.
    versions: Vec<LiveVersion>,
}

/// Who asked.
#[derive(ToSchema)]
pub(super) struct By {
    /// Name of the token, `local`, or `config`.
    name: String,
    /// The idempotency key.
    #[schema(required)]
    key: Option<String>,
}

/// One version's part.
#[derive(ToSchema)]
pub(super) struct LiveVersion {
    /// Its name.
    version: String,
    /// Its share of live traffic in basis points, 0 to 10000.
    weight: u16,
    /// `stable`, `canary`, `shadow`, `standby` or `retired`.
    role: String,
}

/// Everything that is known at one moment. An e-value says how much a bet against "the candidate is
/// no worse" has won; `null` stands for a number beyond all bounds.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Evidence {
    /// The combined e-value of all checks.
    e_value: f64,
    /// What it is compared with.
    threshold: f64,
    /// What the evidence against a step's harm is compared with.
    pass_threshold: f64,
    /// The checks, in the order of the policy.
    checks: Vec<Check>,
    /// The plain thresholds: name, what lies in the window, which arms break the limit.
    thresholds: Vec<BTreeMap<String, Value>>,
    /// Failures in the circuit breaker's window, by arm.
    #[schema(required)]
    breaker: Option<Arms>,
    /// Evidence that the coins are not what they are said to be: live requests, copies.
    balance: Vec<f64>,
    /// What that is compared with.
    balance_threshold: f64,
    /// Live requests that ended, in the whole rollout.
    requests: Arms,
    /// Live requests that ended, in the present step.
    step_requests: Arms,
    /// Ratio of error rates that would have been found in this step with 80 % probability.
    #[schema(required)]
    smallest_harm: Option<f64>,
    /// Whether live requests are still left out because the candidate warms up.
    warming: bool,
    /// The grids that the tests bet on.
    grids: String,
    /// Deltas that the evidence was made of.
    deltas: u64,
}

/// A number for each arm.
#[derive(ToSchema)]
pub(super) struct Arms {
    /// Of the version that serves now.
    stable: u64,
    /// Of the version that is to replace it.
    candidate: u64,
}

/// The state of one check.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Check {
    /// Name in the policy.
    name: String,
    /// What it looks at: `errorRate`, `latency`, …
    rule: String,
    /// `pass`, `fail`, `inconclusive` or `incident`.
    verdict: String,
    /// The evidence that counts, of all its parts.
    e_value: f64,
    /// The e-value with which this check would roll back alone.
    threshold: f64,
    /// Its parts: kind, share of the risk, e-value, and why it does not count.
    parts: Vec<BTreeMap<String, Value>>,
    /// Evidence against the step's harm, where it has a say in this step.
    #[schema(required)]
    ruled_out: Option<f64>,
    /// The numbers: events and requests by arm, ratio and rates with their intervals.
    figures: BTreeMap<String, Value>,
    /// The same in words.
    sentence: String,
}

/// The numbers behind a rollout's verdict.
#[derive(ToSchema)]
pub(super) struct RolloutEvidence {
    /// The rollout.
    rollout: String,
    /// Where it stands.
    phase: String,
    /// What the checks say together.
    verdict: String,
    /// The same in a sentence.
    sentence: String,
    /// The numbers.
    evidence: Evidence,
}

/// A page of decision records.
#[derive(ToSchema)]
pub(super) struct Decisions {
    /// Records, in order.
    decisions: Vec<Decision>,
}

/// One decision, with everything that it was made of. Only the parts that are of use outside of
/// `switchback rollout verify` are described.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Decision {
    /// Format of the record.
    format: u32,
    /// Number of the decision, rising within a model.
    number: u64,
    /// The model.
    model: String,
    /// The rollout.
    rollout: String,
    /// When, in milliseconds since 1970.
    at: u64,
    /// `start`, `advance`, `promote`, `succeed`, `rollback`, `abort`, `supersede`, `pause`, `resume` or
    /// `hold`.
    action: String,
    /// Why it was done: the verdict, the policy, a gate, or somebody.
    #[schema(value_type = Value)]
    by: Value,
    /// Place of the step that was decided about.
    step: u64,
    /// The candidate's weight before, in basis points.
    weight_before: u16,
    /// The candidate's weight after.
    weight_after: u16,
    /// The evidence that came out.
    evidence: Evidence,
    /// What it says.
    #[schema(value_type = Value)]
    verdict: Value,
    /// The decision in one line.
    sentence: String,
}

/// How the rollouts of a model stand.
#[derive(ToSchema)]
pub(super) struct Model {
    /// The model.
    model: String,
    /// The version that is gone back to.
    stable: String,
    /// The rollout that runs, or the last that did.
    #[schema(required)]
    rollout: Option<Rollout>,
    /// Candidates that may not be tried again.
    latches: Vec<Latch>,
    /// What the configuration says otherwise, one line each.
    differences: Vec<String>,
}

/// A candidate that may not be tried again.
#[derive(ToSchema)]
pub(super) struct Latch {
    /// Digest of the candidate.
    digest: String,
    /// Its name then.
    version: String,
    /// The rollout that ended so.
    rollout: String,
    /// Since when, in milliseconds since 1970.
    since: u64,
    /// Why, in one line.
    reason: String,
}

/// Pairs of answers.
#[derive(ToSchema)]
pub(super) struct Pairs {
    /// The pairs.
    pairs: Vec<Pair>,
}

/// Two answers to one request that differ.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Pair {
    /// Its number, unique in this process and rising.
    id: u64,
    /// When it was compared, in milliseconds since 1970.
    at: u64,
    /// The model.
    model: String,
    /// The version that answered the client.
    primary_version: String,
    /// The version that got the copy.
    shadow_version: String,
    /// Whether the copy went back to the primary's version, to measure noise.
    control: bool,
    /// The request.
    request: Excerpt,
    /// The primary's answer.
    primary: Excerpt,
    /// The shadow's answer.
    shadow: Excerpt,
    /// How they differ: the gravest reason, the output that differs most, and what was measured.
    comparison: BTreeMap<String, Value>,
}

/// The beginning of a body.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Excerpt {
    /// What kind of content it is, such as `tensors` or `chat`.
    kind: String,
    /// Length of the whole body, in bytes.
    bytes: u64,
    /// The text.
    #[schema(required)]
    text: Option<String>,
    /// Whether more of it was there.
    truncated: bool,
    /// Why there is no text: `binary` or `redaction`.
    #[schema(required)]
    left_out: Option<String>,
}

/// A verdict for pipelines.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Verdict {
    /// What it comes to: `Successful`, `Failed`, `Inconclusive` or `Running`.
    status: String,
    /// The model.
    model: String,
    /// Its latest rollout.
    rollout: String,
    /// The version on trial.
    candidate: String,
    /// Where the rollout stands.
    phase: String,
    /// What the checks say together.
    verdict: String,
    /// Why, in one line.
    sentence: String,
    /// The combined e-value of all checks: `$.eValue`.
    e_value: f64,
    /// What it is compared with.
    threshold: f64,
    /// The numbers.
    evidence: Evidence,
}

/// A gate's answer.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Gate {
    /// What the verdict comes to: `Successful`, `Failed`, `Inconclusive` or `Running`.
    status: String,
    /// The model.
    model: String,
    /// Its latest rollout.
    rollout: String,
    /// The version on trial.
    candidate: String,
    /// Where the rollout stands.
    phase: String,
    /// What the checks say together.
    verdict: String,
    /// Why, in one line.
    sentence: String,
    /// The combined e-value of all checks.
    e_value: f64,
    /// What it is compared with.
    threshold: f64,
}

/// What Flagger sends to a webhook. Nothing of it is needed.
#[derive(ToSchema)]
pub(super) struct FlaggerCall {
    /// Name of the canary.
    name: Option<String>,
    /// Its namespace.
    namespace: Option<String>,
    /// Its phase.
    phase: Option<String>,
}
