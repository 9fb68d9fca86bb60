//! What the operator asked for, checked and resolved, with nothing live in it. Plain data: two
//! specs that are equal describe the same house, so a reload can tell what changed.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::base::{ModelName, Role, VersionName, Weight};
use crate::divergence::CompareSpec;
use crate::divergence::pairs::PairSpec;
use crate::divergence::segment::ColumnSpec;
use crate::onnx::EngineSpec;
use crate::onnx::repository::policy::VersionPolicy;
use crate::split::KeySource;
use crate::upstream::UpstreamSpec;
use crate::wire::rewrite::RewriteSpec;

/// A model: what clients call.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Its name.
    pub name: ModelName,
    /// Requests that are this model's; any one of them is enough. Never empty.
    pub matches: Vec<MatchSpec>,
    /// Its versions, in the order of the configuration, or by number where they come from a folder.
    pub versions: Vec<VersionSpec>,
    /// The folder that its versions come from, where they are not written in the configuration.
    pub repository: Option<RepositorySpec>,
    /// Stickiness; without it every request is a draw of its own.
    pub sticky: Option<StickySpec>,
    /// Copies of requests to shadows.
    pub mirrors: Vec<MirrorSpec>,
    /// Whether stable answers when a canary fails before the first response byte.
    pub fallback: bool,
    /// Longest request body that is kept for a fallback.
    pub fallback_body_bytes: usize,
    /// Whether and how failed requests are sent again.
    pub retry: Option<RetrySpec>,
    /// Requests under way at one time, all versions together.
    pub limit: Option<LimitSpec>,
    /// Longest request body; longer ones are answered 413.
    pub max_request_bytes: u64,
    /// Longest body that is read ahead to find a model name or a sticky key in it.
    pub max_peek_bytes: usize,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
    /// Longest standstill of a request or response body.
    pub idle_timeout: Duration,
    /// From the head of a request to the last byte of its answer.
    pub total_timeout: Option<Duration>,
    /// Whether answers name their version in `x-switchback-version`.
    pub expose_version: bool,
    /// How the answers of its pairs are compared.
    pub compare: Arc<CompareSpec>,
    /// What is kept of pairs that differ.
    pub pairs: PairSpec,
}

impl ModelSpec {
    /// The version of this name: one that is declared, or one that lies in the model's folder. Blocks
    /// where it has to look there.
    pub fn find(&self, name: &VersionName) -> Option<VersionSpec> {
        let declared = self.versions.iter().find(|version| version.name == *name).cloned();
        declared.or_else(|| self.repository.as_ref()?.lookup(name))
    }
}

/// One way in which a request is a model's.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchSpec {
    /// `Host`/`:authority` without its port, lower case; `*.` in front matches any one label.
    pub host: Option<String>,
    /// Header of this name with this value.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// What the request is, by path or by the name in it.
    pub target: Target,
}

/// What part of a request names the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any path.
    Any,
    /// This path or below it, by whole segments.
    PathPrefix(String),
    /// The inference protocols' own name: `/v2/models/{name}`, `/v1/models/{name}`, OIP gRPC
    /// `model_name`, OpenAI `model`.
    Model(String),
}

/// Where versions come from and which of them are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySpec {
    /// What every version's engine is told; its own number and stamp are put in.
    pub engine: EngineSpec,
    /// Which versions are served.
    pub policy: VersionPolicy,
    /// The version labelled `stable`. Without it the highest number is.
    pub stable: Option<u64>,
    /// The version labelled `canary`.
    pub canary: Option<u64>,
    /// Its share.
    pub canary_weight: Weight,
    /// How long the previous stable version stays loaded after another took its place.
    pub keep_previous: Duration,
    /// Whether a rollout moves the model on: then a new version is its candidate, and not stable.
    pub has_rollout: bool,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionSpec {
    /// Its name.
    pub name: VersionName,
    /// Share of the live traffic. Weights of a model sum to 100 %.
    pub weight: Weight,
    /// What it does.
    pub role: Role,
    /// What serves it.
    pub backend: BackendSpec,
    /// What it is sent.
    pub rewrite: RewriteSpec,
    /// Requests under way at one time.
    pub limit: Option<LimitSpec>,
}

/// How failed requests are sent again, to the same version.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySpec {
    /// How often one request is.
    pub attempts: u32,
    /// What for.
    pub when: Vec<RetryOn>,
    /// For the head of an answer, for each attempt but the last; `None`: the model's timeout.
    pub per_try: Option<Duration>,
    /// Longest body that is kept for it.
    pub max_body_bytes: usize,
    /// Share of the requests that may be sent again.
    pub budget: Weight,
    /// So many a second may be in any case, per worker.
    pub min_per_second: u32,
    /// Longest wait before the first repetition; it doubles each time.
    pub backoff: Duration,
    /// Whether requests that neither their method nor their protocol says may be repeated are.
    pub non_idempotent: bool,
}

/// A reason to send a request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// The connection could not be made, or ended without a whole head of an answer.
    Reset,
    /// No head of an answer came within the time of one attempt.
    Timeout,
    /// 503, or gRPC UNAVAILABLE in the head.
    Unavailable,
    /// 502, 503 or 504.
    Gateway,
    /// 500 and above.
    ServerError,
}

/// How many requests may be under way at one time, in the whole process.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitSpec {
    /// So many.
    pub max: Option<usize>,
    /// As many as latency allows.
    pub adaptive: Option<AdaptiveSpec>,
}

/// A limit that follows latency.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveSpec {
    /// Never below.
    pub min: usize,
    /// Never above.
    pub max: usize,
    /// Where it begins.
    pub initial: usize,
    /// Latency, as a multiple of the usual one, that is no reason to fall.
    pub tolerance: f64,
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self {
            attempts: 1,
            when: vec![RetryOn::Reset, RetryOn::Unavailable],
            per_try: None,
            max_body_bytes: 1024 * 1024,
            budget: Weight::percent(20),
            min_per_second: 10,
            backoff: Duration::from_millis(25),
            non_idempotent: false,
        }
    }
}

impl Default for AdaptiveSpec {
    fn default() -> Self {
        Self { min: 4, max: 1_000, initial: 20, tolerance: 1.5 }
    }
}

/// What serves a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendSpec {
    /// A model server.
    Upstream(Box<UpstreamSpec>),
    /// ONNX Runtime in this process.
    Onnx(EngineSpec),
}

/// Which unit is assigned, and the salt that makes the assignment this model's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickySpec {
    /// Where the key is found. A request without one is a draw of its own.
    pub source: KeySource,
    /// Salt of the hash; by default the model's name.
    pub salt: String,
}

/// What tells the segments of a model's requests apart, in one or more ways at once. It is known
/// before a version is drawn, or it would say something about the version.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentSpec {
    /// The ways: 1 to [`crate::stats::segments::MAX_DIMENSIONS`].
    pub dimensions: Vec<Dimension>,
}

/// One way in which requests are told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// What stands before the value in a segment's name, `name=value`; where there is one dimension
    /// only, it may have none.
    pub name: Option<String>,
    /// Where the value is found. A request without one belongs to no segment of this dimension.
    pub source: SegmentSource,
    /// Where one bin of numbers ends and the next begins, rising; without any, each value is a segment.
    pub edges: Vec<f64>,
    /// Segments of it that are told apart at most.
    pub max: usize,
}

/// Where the value of a dimension is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentSource {
    /// As a sticky key.
    Key(KeySource),
    /// Among the inputs. The whole body is read for it, of gRPC the first message.
    Column(ColumnSpec),
}

/// Copies to one shadow version.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorSpec {
    /// The version that gets the copies.
    pub to: VersionName,
    /// Share of the live requests that is copied.
    pub sample: Weight,
    /// For the whole of a copy's exchange.
    pub deadline: Duration,
    /// Copies under way per worker.
    pub max_in_flight: usize,
    /// Bytes retained for copies per worker.
    pub max_bytes: usize,
    /// Longest body that is copied.
    pub max_body_bytes: usize,
    /// Live requests under way per worker above which mirroring is suspended.
    pub suspend_above: usize,
    /// Headers that do not reach the shadow.
    pub drop_headers: Vec<HeaderName>,
    /// Share of the copies that goes back to the stable version instead: how far it differs from
    /// itself is the noise that a shadow's divergence is judged against.
    pub noise_control: Weight,
    /// How the answers are compared; `None` leaves them uncompared.
    pub compare: Option<Arc<CompareSpec>>,
    /// Longest answer that is kept for a comparison.
    pub max_answer_bytes: usize,
}

impl MirrorSpec {
    /// Whether some copies go back to the stable version.
    pub fn has_controls(&self) -> bool {
        self.noise_control > Weight::ZERO && self.compare.is_some()
    }
}
