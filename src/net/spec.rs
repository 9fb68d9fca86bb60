//! What a listener is told: addresses, TLS files, limits and timeouts. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{BindAddress, Network};
use crate::certs::{MinVersion, NameRule};

/// One address clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Name in logs, metrics and errors.
    pub name: String,
    /// Where it listens.
    pub address: BindAddress,
    /// TLS; without it the listener speaks plaintext.
    pub tls: Option<TlsSpec>,
    /// Whether `x-switchback-version` from its clients chooses the version.
    pub allow_pin: bool,
    /// Peers whose forwarding fields and pins are believed; `None`: nobody's fields, and pins of all
    /// whom `allow_pin` lets choose.
    pub trusted_peers: Option<Vec<Network>>,
}

/// TLS of a listener; all files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// What is shown to clients that ask for no name, or for one that nobody here has.
    pub identity: KeyPair,
    /// Further certificates, each for the names in it.
    pub more: Vec<KeyPair>,
    /// Which clients are let in; `None`: all, and none is asked for a certificate.
    pub clients: Option<ClientsSpec>,
    /// Oldest version that is spoken.
    pub min_version: MinVersion,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub http2: bool,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Which clients of a TLS listener are let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientsSpec {
    /// The authorities that their certificates are signed by.
    pub ca: PathBuf,
    /// Names that their certificates must bear, any one of them; empty: any name.
    pub names: Vec<NameRule>,
    /// Whether those without a certificate are let in as well.
    pub optional: bool,
}

impl TlsSpec {
    /// TLS with one certificate, for all clients.
    pub fn new(identity: KeyPair) -> Self {
        Self { identity, more: Vec::new(), clients: None, min_version: MinVersion::default(), http2: true }
    }
}

/// Limits of what clients may do, the same on every listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamSpec {
    /// Open connections per worker and listener, tunnels included; beyond them new ones are closed at
    /// once. Counted per listener so that a flood on one cannot shut the others.
    pub max_connections: usize,
    /// Bytes of the request head (HTTP/1.1) or of the header list (HTTP/2).
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// From accept (or the end of the TLS handshake) to the first byte.
    pub first_byte_timeout: Duration,
    /// For a whole TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last, and between requests of an HTTP/1.1 connection.
    pub header_timeout: Duration,
    /// TLS handshakes under way per worker and listener.
    pub max_handshakes: usize,
    /// For a client to take any of what it is sent.
    pub send_timeout: Duration,
    /// Bytes per second of a request body, once it has been waited for long enough; 0: any.
    pub body_rate: u64,
    /// Streams a client may have open on one HTTP/2 connection.
    pub h2_max_streams: u32,
    /// HTTP/2 flow-control window of a stream, in bytes.
    pub h2_stream_window: u32,
    /// HTTP/2 flow-control window of a connection, in bytes.
    pub h2_connection_window: u32,
    /// How long an HTTP/2 connection without a stream is kept.
    pub h2_idle_timeout: Duration,
    /// Streams a client may reset before they were taken up, at one time (CVE-2023-44487).
    pub h2_pending_resets: usize,
    /// Streams that may be reset for a client's mistakes (RUSTSEC-2024-0003).
    pub h2_local_resets: usize,
    /// Streams a client may reset within ten seconds, over half of those that it opens.
    pub h2_resets: u32,
    /// PING, SETTINGS, PRIORITY and empty frames a client may send within ten seconds.
    pub h2_control_frames: u32,
}

impl Default for DownstreamSpec {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_bytes: 64 * 1024,
            header_count: 100,
            first_byte_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            max_handshakes: 256,
            send_timeout: Duration::from_secs(60),
            body_rate: 64,
            h2_max_streams: 256,
            h2_stream_window: 1024 * 1024,
            h2_connection_window: 4 * 1024 * 1024,
            h2_idle_timeout: Duration::from_secs(3_600),
            h2_pending_resets: 20,
            h2_local_resets: 1_024,
            h2_resets: 1_000,
            h2_control_frames: 1_000,
        }
    }
}
