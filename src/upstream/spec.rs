//! What a pool of connections to one model server is told. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// A model server and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Where it listens.
    pub address: Address,
    /// `host[:port]` sent as `Host`/`:authority` when the rewrite asks for the upstream's own.
    pub authority: String,
    /// Which HTTP it speaks.
    pub protocol: Protocol,
    /// TLS to the upstream; `None` is plaintext.
    pub tls: Option<UpstreamTls>,
    /// For connecting, TLS handshake included.
    pub connect_timeout: Duration,
    /// Connections per worker; requests beyond what they carry wait at most `connect_timeout`.
    pub max_connections: usize,
    /// Idle HTTP/1.1 connections kept per worker.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// HTTP/2 streams per connection before another connection is opened.
    pub h2_streams_per_connection: usize,
    /// Largest response head in bytes.
    pub max_header_bytes: usize,
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
    /// the upstream's ALPN answer is honoured.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; with prior knowledge where there is no TLS.
    Http2,
}

/// TLS to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust; without it the public web's roots are.
    pub ca: Option<PathBuf>,
    /// Name that the certificate must bear and that is sent as SNI; by default the host.
    pub server_name: Option<String>,
}

impl UpstreamSpec {
    /// An upstream at `address` with the defaults that the configuration documents.
    pub fn new(address: Address, authority: String) -> Self {
        Self {
            address,
            authority,
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
