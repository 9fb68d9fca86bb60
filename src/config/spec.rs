//! The configuration once every value in it is known to be good. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{BindAddress, Weight};
use crate::certs::NameRule;
use crate::control::rollouts::spec::RolloutSpec;
use crate::net::{DownstreamSpec, ListenerSpec, TlsSpec};
use crate::notify::{NotifySpec, Secret};
use crate::routing::spec::ModelSpec;

use super::problem::Problem;

/// A whole, valid configuration with every default filled in and every path made absolute
/// (or relative to the working folder, where the configuration's own path is).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Data threads, each with listeners and pools of its own; 1 to 1024.
    pub workers: usize,
    /// Addresses clients connect to; never empty, names unique.
    pub listeners: Vec<ListenerSpec>,
    /// What clients may do, on every listener.
    pub downstream: DownstreamSpec,
    /// The operator's side.
    pub admin: AdminSpec,
    /// One JSON line per sampled request, if asked for.
    pub access_log: Option<AccessLogSpec>,
    /// How the process ends.
    pub drain: DrainSpec,
    /// Resident memory that the process may use, in bytes; without it the cgroup's limit counts.
    pub memory: Option<u64>,
    /// The ONNX Runtime library; without it `ORT_DYLIB_PATH` and the system decide.
    pub onnx_library: Option<PathBuf>,
    /// What may change which models are loaded.
    pub model_control: ModelControl,
    /// Between two looks at model folders.
    pub poll_interval: Duration,
    /// What clients call; never empty, names unique.
    pub models: Vec<ModelSpec>,
    /// How models move to other versions: at most one for each model, in the order of `models`.
    pub rollouts: Vec<RolloutSpec>,
    /// Who is told what happens; names unique.
    pub notifications: Vec<NotifySpec>,
    /// SQLite file in which rollouts last; without it they are kept in memory.
    pub store: Option<PathBuf>,
    /// XXH3 (128 bit) of the text as 32 hexadecimal digits, what `xxh128sum FILE` prints: the same
    /// text has the same hash on every machine and in every release.
    pub hash: String,
    /// What will work but may not be meant, such as a model folder that is not there yet.
    pub warnings: Vec<Problem>,
}

/// Admin API, metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSpec {
    /// Where it listens.
    pub address: BindAddress,
    /// Who may ask; names and secrets unique. Empty, and no clients: whoever reaches it on this machine
    /// may do everything.
    pub tokens: Vec<AdminToken>,
    /// TLS; without it the API speaks plaintext.
    pub tls: Option<TlsSpec>,
    /// Who may ask by certificate; names unique. Empty without `tls`, or without an authority in it.
    pub clients: Vec<AdminClient>,
}

/// Whose certificate opens the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminClient {
    /// Who it is, for logs and the history of rollouts.
    pub name: String,
    /// What it opens.
    pub role: AdminRole,
    /// Names that the certificate bears, any one of them.
    pub names: Vec<NameRule>,
}

/// A bearer token of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Whose it is, for logs and the history of rollouts.
    pub name: String,
    /// What it opens.
    pub role: AdminRole,
    /// The token; at least 16 bytes that fit in a header (RFC 6750 section 2.1).
    pub secret: Secret,
}

/// What somebody may do over the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdminRole {
    /// Look at everything.
    Read,
    /// Look at everything and change it.
    Operate,
}

impl AdminRole {
    /// The role as it stands in the configuration and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// What may change which models are loaded, beside the configuration. Triton's model control modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelControl {
    /// Nothing.
    None,
    /// What lies in model folders.
    Poll,
    /// Clients, by commands.
    Explicit,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSpec {
    /// File that lines are appended to.
    pub path: PathBuf,
    /// Share of the requests that get a line; above zero.
    pub sample: Weight,
}

/// What happens between SIGTERM and exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSpec {
    /// Not ready, but still accepting, for this long: time for load balancers to notice.
    pub delay: Duration,
    /// Then requests under way get this long to finish.
    pub timeout: Duration,
}
