//! A load test as data: every value in it is known to be good.
//!
//! It is made from a scenario file by `config`, or from the flags of the command line; from here on
//! nobody knows which.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::schedule::Stage;
use super::slo::Slo;
use crate::upstream::UpstreamSpec;

/// A load test.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: String,
    /// What is tested: one, or two that are compared (the first one is A, the second one B).
    pub targets: Vec<TargetSpec>,
    /// Kinds of requests; never empty, names unique.
    pub requests: Vec<RequestSpec>,
    /// How they arrive.
    pub load: LoadSpec,
    /// Time at the beginning, at the beginning's rate, that is not measured.
    pub warmup: Duration,
    /// What must hold.
    pub slos: Vec<Slo>,
    /// Confidence of intervals, strictly between 0 and 1.
    pub confidence: f64,
    /// Bounds of the test.
    pub limits: LimitSpec,
    /// Processes that are watched; names unique.
    pub resources: Vec<ResourceSpec>,
    /// Everything random follows from it.
    pub seed: u64,
    /// Whether addresses other than loopback may be loaded.
    pub allow_remote: bool,
}

/// Something that is tested.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetSpec {
    /// `A` or `B`, or what the user calls it.
    pub name: String,
    /// The URL as it was written.
    pub url: String,
    /// Where it is.
    pub upstream: UpstreamSpec,
    /// Path in front of every request's path, without `/` at its end; mostly empty.
    pub prefix: String,
    /// Headers of every request to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl TargetSpec {
    /// The URL without its path, to name a request by.
    pub fn origin(&self) -> &str {
        let url = self.url.trim_end_matches('/');
        url.strip_suffix(self.prefix.as_str()).unwrap_or(url)
    }
}

/// How a request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Open Inference Protocol v2, JSON.
    V2,
    /// Open Inference Protocol v2 with binary tensors.
    V2Binary,
    /// Open Inference Protocol v2 over gRPC.
    Grpc,
    /// V1 `:predict`.
    V1,
    /// OpenAI chat completions, in one piece.
    Chat,
    /// OpenAI chat completions, streamed.
    ChatStream,
    /// Any path and body.
    Plain,
}

impl Format {
    /// The word in scenarios, flags and results.
    pub fn word(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Binary => "v2-binary",
            Self::Grpc => "grpc",
            Self::V1 => "v1",
            Self::Chat => "chat",
            Self::ChatStream => "chat-stream",
            Self::Plain => "plain",
        }
    }

    /// Every format.
    pub const ALL: [Self; 7] =
        [Self::V2, Self::V2Binary, Self::Grpc, Self::V1, Self::Chat, Self::ChatStream, Self::Plain];

    /// Whether requests carry tensors.
    pub fn has_tensors(self) -> bool {
        matches!(self, Self::V2 | Self::V2Binary | Self::Grpc)
    }
}

/// A kind of request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSpec {
    /// What it is called in reports.
    pub name: String,
    /// How it is written.
    pub format: Format,
    /// The model; not of plain requests.
    pub model: Option<String>,
    /// The model's version, where the protocol knows one.
    pub version: Option<String>,
    /// Share of the requests, relative to the other kinds' weights; above zero.
    pub weight: u32,
    /// Method of a plain request.
    pub method: Method,
    /// Path of a plain request; with its query.
    pub path: Option<String>,
    /// Headers beside those of the format.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is sent.
    pub inputs: InputSpec,
    /// Rows of a file that make one request; at least 1.
    pub batch: usize,
    /// Longest answer of a language model, in tokens.
    pub max_tokens: u32,
    /// What a good answer is.
    pub check: CheckSpec,
}

/// Where inputs come from.
#[derive(Debug, Clone, PartialEq)]
pub enum InputSpec {
    /// Random values, as the model's metadata describes its inputs; for language models a few
    /// prompts, for plain requests no body.
    Generated {
        /// Size of dimensions that the model leaves open.
        dynamic: usize,
        /// How many different requests are made.
        count: usize,
    },
    /// This one text: a body, or a language model's prompt.
    Text(String),
    /// A file; what it is is told by its name's ending.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it holds.
        kind: FileKind,
        /// Column or key with the expected label.
        label: Option<String>,
    },
    /// Requests of pairs that a sidecar has kept.
    Pairs {
        /// URL of its admin API.
        server: String,
        /// The model whose pairs are meant.
        model: String,
    },
}

/// What a file of inputs holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A JSON value per line.
    JsonLines,
    /// Comma-separated values with a line of names.
    Csv,
    /// An array of NumPy.
    Npy,
    /// Pairs as `switchback rollout pairs --output json` and the admin API write them.
    Pairs,
}

/// What a good answer is, beside that it must be whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckSpec {
    /// The status; none: any from 200 to 299. gRPC's own status must always be 0.
    pub status: Option<u16>,
    /// Values inside the answer.
    pub values: Vec<ValueCheck>,
    /// The class, compared with the row's label.
    pub label: Option<LabelCheck>,
}

impl CheckSpec {
    /// Whether an answer's body must be kept to be checked.
    pub fn reads_body(&self) -> bool {
        self.label.is_some() || !self.values.is_empty()
    }
}

/// A value inside the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueCheck {
    /// JSON pointer to it. Binary and gRPC answers are pointed into as the JSON protocol has them.
    pub pointer: String,
    /// What it must be as text; none: it must be there.
    pub equals: Option<String>,
}

/// The class in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCheck {
    /// JSON pointer to the class, or to a list of scores.
    pub pointer: String,
    /// Whether the class is the position of the largest score.
    pub argmax: bool,
}

/// How requests arrive.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadSpec {
    /// At times of their own, whatever becomes of the ones before.
    Open {
        /// How fast; never empty.
        stages: Vec<Stage>,
        /// How spread.
        arrivals: ArrivalSpec,
    },
    /// Each client sends its next request when it has the answer to its last.
    Closed {
        /// How many clients.
        clients: usize,
        /// For how long.
        duration: Duration,
    },
    /// The highest rate that holds the goals is looked for.
    FindMax(FindMaxSpec),
}

/// How open arrivals are spread.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrivalSpec {
    /// Evenly.
    Constant,
    /// A Poisson process.
    Poisson,
    /// At recorded times; the stages then only say how long the trace may be.
    Trace(Arc<[Duration]>),
}

/// How the highest rate is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct FindMaxSpec {
    /// Where to begin, in requests per second.
    pub from: f64,
    /// Where to stop.
    pub to: f64,
    /// How far apart a rate that holds and one that does not may be in the end, relative to the
    /// former.
    pub precision: f64,
    /// How long each rate is tried.
    pub probe: Duration,
    /// How many runs must confirm the result.
    pub confirmations: usize,
    /// How arrivals are spread.
    pub poisson: bool,
}

/// Bounds of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitSpec {
    /// For one request, from when it was meant to leave. Later it has failed.
    pub timeout: Duration,
    /// Requests under way, all threads together. What would be more is not sent and has failed.
    pub max_in_flight: usize,
    /// Requests of a whole test, runs of a search and warm-up included.
    pub max_requests: u64,
    /// Threads that send; 0: as many as the rate needs.
    pub threads: usize,
    /// Connections to one target, per thread.
    pub max_connections: usize,
    /// A request that leaves later than this is the generator's fault; none: a tenth of the
    /// tightest limit of latency, from 1 ms to 10 ms.
    pub max_lag: Option<Duration>,
}

impl Default for LimitSpec {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_in_flight: 10_000,
            max_requests: 10_000_000,
            threads: 0,
            max_connections: 1024,
            max_lag: None,
        }
    }
}

/// A process that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceSpec {
    /// What it is called in goals and reports.
    pub name: String,
    /// How it is watched.
    pub source: ResourceSource,
}

/// How a process is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceSource {
    /// By `/proc` of this machine.
    Pid(u32),
    /// By the metrics page of a sidecar, or of anything with Prometheus' `process_*` metrics.
    Metrics(String),
}

impl Scenario {
    /// The goals' largest limit of a request's latency: what goodput is judged by unless it names
    /// a limit of its own.
    pub fn largest_latency_limit(&self) -> Option<Duration> {
        self.slos.iter().filter_map(Slo::latency_limit).max()
    }

    /// How late a request may leave before that is the generator's fault.
    pub fn max_lag(&self) -> Duration {
        let tightest = self.slos.iter().filter_map(Slo::latency_limit).min();
        let (least, most) = (Duration::from_millis(1), Duration::from_millis(10));
        self.limits.max_lag.unwrap_or_else(|| tightest.map_or(most, |t| (t / 10).clamp(least, most)))
    }
}
