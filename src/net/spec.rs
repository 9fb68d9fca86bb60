//! What a listener is told: addresses, TLS files, limits and timeouts. Plain data.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::BindAddress;

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
}

/// Certificate and key of a TLS listener, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// Certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
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
    /// Streams a client may have open on one HTTP/2 connection.
    pub h2_max_streams: u32,
    /// HTTP/2 flow-control window of a stream, in bytes.
    pub h2_stream_window: u32,
    /// HTTP/2 flow-control window of a connection, in bytes.
    pub h2_connection_window: u32,
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
            h2_max_streams: 256,
            h2_stream_window: 1024 * 1024,
            h2_connection_window: 4 * 1024 * 1024,
        }
    }
}
