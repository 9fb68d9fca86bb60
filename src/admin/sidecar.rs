//! What the operator's side needs from the rest of the house: a trait, and the plain data it hands
//! over. Counts are not in it; they come from the statistics registry.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::base::{ModelName, Role, VersionName, Weight};
use crate::control::rollouts::{CallError, CandidateCall, Rollouts};
use crate::mirror::compare::Books;
use crate::onnx::statistics::Statistics;
use crate::onnx::{Facts, Loads};
use crate::rollout::machine::Refusal;
use crate::rollout::policy::Policy;
use crate::rollout::version::Actor;
use crate::stats::Registry;
use crate::store::StoreError;

/// The running sidecar, as the operator's side sees it. Called from the admin thread.
pub trait Sidecar: Send + Sync + 'static {
    /// How things stand now. To be quick: it is called for each status and each scrape.
    fn live(&self) -> Live;

    /// Whether traffic should be sent here. To be quick: it is called for each probe.
    fn readiness(&self) -> Readiness;

    /// Gives the versions of `model` new weights, in one step, and says what they all are then.
    /// Pairs are version and weight as they were sent; versions that are left out get none. May
    /// block: it runs on a thread of its own.
    ///
    /// # Errors
    /// [`AdminError`]; then nothing has changed.
    fn set_weights(
        &self,
        model: &str,
        weights: &[(String, String)],
        by: &Actor,
    ) -> Result<WeightsSet, AdminError>;

    /// Reads the configuration again and applies it as a whole. May block: it runs on a thread of
    /// its own.
    ///
    /// # Errors
    /// [`AdminError`]; then the old configuration is in force.
    fn reload(&self) -> Result<Reloaded, AdminError>;

    /// The models in process and what they have done. To be quick: it is called for each scrape.
    fn engines(&self) -> Vec<EngineState>;

    /// How loading models went.
    fn loads(&self) -> Vec<Loads>;

    /// Where everything is counted.
    fn registry(&self) -> &Registry;

    /// The rollouts.
    fn rollouts(&self) -> &Rollouts;

    /// Pairs that are kept for people.
    fn books(&self) -> &Books;

    /// Reads a candidate of `model` that comes with the start of a rollout: the keys of a version in
    /// the configuration, and `digest`. May block: it looks at files.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] with what is wrong with it.
    fn candidate(&self, model: &ModelName, written: Value) -> Result<CandidateCall, AdminError>;

    /// Reads a policy for `model` that comes with the start of a rollout, in the words of the
    /// configuration. May block: it looks at files.
    ///
    /// # Errors
    /// [`AdminError::Invalid`] with what is wrong with it.
    fn policy(&self, model: &ModelName, written: &Value) -> Result<Policy, AdminError>;
}

/// Why a change was refused. The text is shown to whoever asked: one line that names the mistake
/// and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// What was asked for makes no sense: 400.
    #[error("{0}")]
    Invalid(String),
    /// What it was asked of does not exist: 404.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done in the present state: 409.
    #[error("{0}")]
    Conflict(String),
    /// The same idempotency key came with another request: 422.
    #[error("{0}")]
    KeyReused(String),
    /// It cannot be done now, and may be a little later: 503.
    #[error("{0}")]
    Unavailable(String),
    /// Something failed on our side: 500.
    #[error("{0}")]
    Internal(String),
}

impl From<CallError> for AdminError {
    fn from(error: CallError) -> Self {
        let line = error.to_string();
        match error {
            CallError::NotFound(_) | CallError::Refused(Refusal::NotLatched { .. }) => Self::NotFound(line),
            CallError::Invalid(_) | CallError::Refused(Refusal::Policy(_)) => Self::Invalid(line),
            CallError::Refused(_) | CallError::Conflict(_) => Self::Conflict(line),
            CallError::Store(_) | CallError::Ending => Self::Unavailable(line),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(format!("the store of rollouts cannot be read: {error}"))
    }
}

/// Whether traffic should be sent here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// If not, why; else what is nevertheless amiss.
    pub reasons: Vec<String>,
}

/// What setting weights did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsSet {
    /// The weights that are live now.
    pub weights: Vec<(VersionName, Weight)>,
    /// Whether they outlive the process.
    pub durable: bool,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// Hash of the configuration that is in force now.
    pub hash: String,
    /// Whether it is another one than before.
    pub changed: bool,
}

/// Where the process stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Not every listener is open or not every version was tried yet.
    Starting,
    /// Serving.
    Ready,
    /// Ending: what is under way is finished, nothing new is taken.
    Draining,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Where the process stands in its life.
    pub state: State,
    /// Time since the start.
    pub uptime: Duration,
    /// The configuration in force.
    pub config: ConfigState,
    /// What clients connect to.
    pub listeners: Vec<ListenerState>,
    /// What is watched of the process.
    pub process: ProcessState,
    /// What clients call.
    pub models: Vec<ModelState>,
}

/// What is watched of the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessState {
    /// Resident memory that it may use, in bytes.
    pub memory_ceiling: Option<u64>,
    /// The share of it that it uses.
    pub memory_share: Option<f64>,
    /// How often a worker was started again.
    pub worker_restarts: u64,
    /// How often a loop was started again, by what it does.
    pub task_restarts: Vec<(&'static str, u64)>,
    /// Certificates that changed: how often they were taken up, and how often refused.
    pub tls_reloads: (u64, u64),
}

/// A limit of requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyState {
    /// The limit of now.
    pub limit: usize,
    /// Requests under way.
    pub under_way: usize,
}

/// The endpoints of a version.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamState {
    /// How each stands.
    pub endpoints: Vec<EndpointState>,
    /// Endpoints that were left out for what they answered, since the upstream was set up.
    pub ejections: u64,
    /// Health checks that were passed.
    pub checks_passed: u64,
    /// Health checks that were failed.
    pub checks_failed: u64,
    /// Names that could not be looked up.
    pub lookups_failed: u64,
}

/// An endpoint of a version.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EndpointState {
    /// Where it is.
    pub address: String,
    /// `available`, `unhealthy` or `ejected`.
    pub standing: &'static str,
}

/// The configuration in force, and what became of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigState {
    /// The file.
    pub path: String,
    /// Hash of its content.
    pub hash: String,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// Reloads that were applied.
    pub applied: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Why the last reload was refused, if it was.
    pub last_error: Option<String>,
}

/// An address clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ListenerState {
    /// Its name.
    pub name: String,
    /// The address, with the real port.
    pub address: String,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelState {
    /// Its name.
    pub name: ModelName,
    /// The version that is gone back to.
    pub stable: VersionName,
    /// Its versions, in the order of the configuration.
    pub versions: Vec<VersionState>,
    /// Its mirrors, in the order of the configuration.
    pub mirrors: Vec<MirrorState>,
    /// Its limit of requests under way, if it has one.
    pub concurrency: Option<ConcurrencyState>,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionState {
    /// Its name.
    pub name: VersionName,
    /// What it does now.
    pub role: Role,
    /// Its share of the live traffic now.
    pub weight: Weight,
    /// What kind of thing serves it: `upstream` or `onnx`.
    pub backend: &'static str,
    /// Where: a URL or a path.
    pub target: String,
    /// Whether it can serve.
    pub ready: bool,
    /// If not, why.
    pub reason: Option<String>,
    /// Its endpoints, where there are several or they are asked.
    pub upstream: Option<UpstreamState>,
    /// Its limit of requests under way, if it has one.
    pub concurrency: Option<ConcurrencyState>,
    /// What is known of its file, where it is loaded in this process.
    pub facts: Option<Facts>,
}

/// A version of a model in process.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineState {
    /// Its model, as clients call it.
    pub model: String,
    /// Its name.
    pub version: String,
    /// What it has done.
    pub statistics: Statistics,
    /// Roughly what it takes, in bytes; 0 where it is not loaded.
    pub resident_bytes: u64,
}

/// A mirror of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorState {
    /// The version that gets the copies.
    pub to: VersionName,
    /// The share of requests that is copied.
    pub sample: Weight,
}
