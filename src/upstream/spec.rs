//! What a pool of connections to one model server is told. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::Weight;
use crate::certs::{MinVersion, NameRule};

/// A model server and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Where it listens.
    pub address: Address,
    /// `host[:port]` sent as `Host`/`:authority` when the rewrite asks for the upstream's own.
    pub authority: String,
    /// Further endpoints that serve the same.
    pub others: Vec<EndpointSpec>,
    /// How requests are shared out among endpoints.
    pub balance: BalanceSpec,
    /// Which HTTP it speaks.
    pub protocol: Protocol,
    /// TLS to the upstream; `None` is plaintext.
    pub tls: Option<UpstreamTls>,
    /// For connecting, TLS handshake included.
    pub connect_timeout: Duration,
    /// Connections per worker and endpoint; requests beyond what they carry wait at most `connect_timeout`.
    pub max_connections: usize,
    /// Idle HTTP/1.1 connections kept per worker and endpoint.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// HTTP/2 streams per connection before another connection is opened.
    pub h2_streams_per_connection: usize,
    /// Largest response head in bytes.
    pub max_header_bytes: usize,
}

/// One place where an upstream's models are served.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointSpec {
    /// Where it listens.
    pub address: Address,
    /// `host[:port]`, as [`UpstreamSpec::authority`].
    pub authority: String,
}

/// How requests are shared out among the endpoints of an upstream. The defaults are those that
/// users of Envoy know; nothing of it costs a lone endpoint anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceSpec {
    /// Host names are looked up this often, and every address of one is an endpoint. Without it a
    /// name is one endpoint, looked up at each connect.
    pub resolve: Option<Duration>,
    /// Requests under way per endpoint and worker, beyond which others are chosen, and none of
    /// them left the request is refused.
    pub max_requests: Option<usize>,
    /// Endpoints that a request which never left is offered to after the first one.
    pub moves: usize,
    /// How long an endpoint that has come (back) is spared; zero: not at all.
    pub slow_start: Duration,
    /// Share of endpoints below which all are used, whatever health checks and ejections say.
    pub panic_below: Weight,
    /// Questions asked of each endpoint; without them it is well unless its answers say otherwise.
    pub health: Option<HealthSpec>,
    /// When an endpoint is taken out for what it answers; `None`: never.
    pub outlier: Option<OutlierSpec>,
}

/// An active health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSpec {
    /// What is asked.
    pub question: Question,
    /// Between two questions to an endpoint.
    pub interval: Duration,
    /// For the whole answer.
    pub timeout: Duration,
    /// Failures in a row after which an endpoint gets no requests.
    pub unhealthy_after: u32,
    /// Successes in a row after which it gets some again.
    pub healthy_after: u32,
}

/// What an endpoint is asked to find out whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `GET` of this path (and query); well is 2xx.
    Http {
        /// Path, from `/` on.
        path: String,
    },
    /// The Open Inference Protocol's readiness: of the server, or of one model.
    Oip {
        /// The model's name at the server.
        model: Option<String>,
    },
    /// `grpc.health.v1.Health/Check`; well is `SERVING`.
    Grpc {
        /// The service that is asked about; empty: the server.
        service: String,
    },
}

/// When an endpoint is taken out for what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierSpec {
    /// Failures in a row: no answer, a broken one, 5xx, or the gRPC statuses that say as much.
    pub consecutive: u32,
    /// How long it is out the first time; each further time it is out that much longer.
    pub base: Duration,
    /// Longest time it is out.
    pub longest: Duration,
    /// Most endpoints that may be out at one time; one always may, unless it is the only one.
    pub max_share: Weight,
}

/// Address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or IP address, and port.
    Tcp {
        /// Host name or IP address (no brackets around IPv6).
        host: String,
        /// Port.
        port: u16,
    },
    /// Path of a Unix stream socket.
    Unix(PathBuf),
}

/// HTTP version spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// What the client spoke: HTTP/2 requests (gRPC) go by HTTP/2, others by HTTP/1.1. Over TLS
    /// the upstream's ALPN answer is honoured; without, one that answers HTTP/2 in HTTP/1.1 is spoken
    /// to in that from then on, but for gRPC.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; with prior knowledge where there is no TLS.
    Http2,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust; without it the public web's roots are.
    pub ca: Option<PathBuf>,
    /// Name that the certificate must bear and that is sent as SNI; by default the host.
    pub server_name: Option<String>,
    /// Names that the certificate may bear in place of that one, any of them; empty: that one alone.
    pub names: Vec<NameRule>,
    /// PEM files of the certificate that is shown to the server, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Oldest version that is spoken.
    pub min_version: MinVersion,
}

impl UpstreamSpec {
    /// An upstream at `address` with the defaults that the configuration documents.
    pub fn new(address: Address, authority: String) -> Self {
        Self {
            address,
            authority,
            others: Vec::new(),
            balance: BalanceSpec::default(),
            protocol: Protocol::Auto,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            max_connections: 1024,
            max_idle: 256,
            idle_timeout: Duration::from_secs(60),
            h2_streams_per_connection: 100,
            max_header_bytes: 64 * 1024,
        }
    }
}

impl Default for BalanceSpec {
    fn default() -> Self {
        Self {
            resolve: None,
            max_requests: None,
            moves: 2,
            slow_start: Duration::ZERO,
            panic_below: Weight::percent(50),
            health: None,
            outlier: Some(OutlierSpec::default()),
        }
    }
}

impl Default for OutlierSpec {
    fn default() -> Self {
        Self {
            consecutive: 5,
            base: Duration::from_secs(30),
            longest: Duration::from_secs(300),
            max_share: Weight::percent(10),
        }
    }
}

impl HealthSpec {
    /// A check that asks `question`, with the defaults that the configuration documents.
    pub fn new(question: Question) -> Self {
        Self {
            question,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}
