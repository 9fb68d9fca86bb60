//! Where clients connect and what they may do.

use super::super::choice::Choice;
use super::super::read::{List, section};
use super::super::scalar::{Count, Flag, GI, KI, MI, Size};
use super::super::text::{AddressText, CertificateNameText, ListenerNameText, NetworkText, PathText};
use super::{Limit, Timeout};
use crate::certs::MinVersion;

section! {
    /// An address that clients connect to.
    Listener {
        required {
            /// Name in logs and metrics.
            name: ListenerNameText,
            /// `IP:PORT` (port 0: the system chooses) or `unix:/path`.
            address: AddressText,
        }
        optional {
            /// TLS. Default: plaintext.
            tls: ListenerTls,
            /// Whether clients may choose the version with the header `x-switchback-version`.
            #[schemars(extend("default" = false))]
            allow_pin: Flag,
            /// Peers whose `x-forwarded-*` and `x-switchback-version` are believed: networks such as
            /// `10.0.0.0/8`, and `unix` for a Unix socket. Default: nobody's `x-forwarded-*`, and where
            /// `allowPin` is set everybody's `x-switchback-version`.
            trusted_peers: List<NetworkText, 0, 256>,
        }
    }
}

section! {
    /// Certificate and key of a listener.
    ListenerTls {
        required {
            /// PEM file: the certificate chain, the server's own certificate first. Relative to the
            /// folder of this file.
            certificate: PathText,
            /// PEM file: the private key. Relative to the folder of this file.
            key: PathText,
        }
        optional {
            /// Further certificates, each for the names in it: the client says by SNI which it wants.
            more: List<KeyPair, 1, 64>,
            /// PEM file of the authorities whose clients are let in. Relative to the folder of this file.
            /// Default: clients need no certificate.
            client_ca: PathText,
            /// Names of the clients that are let in: DNS names, `*.` for one label, or URIs such as
            /// `spiffe://cluster/caller`, `*` at their end for any rest. Default: all of `clientCa`.
            client_names: List<CertificateNameText, 1, 256>,
            /// Whether clients without a certificate are let in as well.
            #[schemars(extend("default" = false))]
            client_optional: Flag,
            /// Oldest version of TLS.
            #[schemars(extend("default" = "tls1.2"))]
            min_version: Choice<MinVersion>,
        }
    }
}

section! {
    /// A certificate with its key.
    KeyPair {
        required {
            /// PEM file: the certificate chain, the server's own certificate first. Relative to the
            /// folder of this file.
            certificate: PathText,
            /// PEM file: the private key. Relative to the folder of this file.
            key: PathText,
        }
        optional {}
    }
}

section! {
    /// Limits of what clients may do, the same on every listener.
    Downstream {
        required {}
        optional {
            /// Open connections per worker; further ones are closed at once.
            #[schemars(extend("default" = 10000))]
            max_connections: Limit,
            /// Largest request head, in bytes.
            #[schemars(extend("default" = "64Ki"))]
            header_bytes: Size<{ 8 * KI }, { 16 * MI }>,
            /// Most header fields of a request.
            #[schemars(extend("default" = 100))]
            header_count: Count<10, 10_000>,
            /// From accept, or the end of the TLS handshake, to the first byte.
            #[schemars(extend("default" = "60s"))]
            first_byte_timeout: Timeout,
            /// For a whole TLS handshake.
            #[schemars(extend("default" = "10s"))]
            handshake_timeout: Timeout,
            /// From the first byte of a request head to its last, and between the requests of an
            /// HTTP/1.1 connection.
            #[schemars(extend("default" = "60s"))]
            header_timeout: Timeout,
            /// TLS handshakes under way per worker and listener; further ones are broken off.
            #[schemars(extend("default" = 256))]
            max_handshakes: Limit,
            /// For a client to take any of what it is sent.
            #[schemars(extend("default" = "60s"))]
            send_timeout: Timeout,
            /// Bytes per second of a request body, once it has been waited for during a minute in all;
            /// slower ones are answered 408. Where others wait for its place it must be 64 times as many, and
            /// clients must take as much of an answer. 0: any. Requests by gRPC are left alone.
            #[schemars(extend("default" = 64))]
            body_rate: Size<0, { 16 * MI }>,
            /// HTTP/2 limits.
            h2: Http2,
        }
    }
}

section! {
    /// HTTP/2 limits of clients' connections.
    Http2 {
        required {}
        optional {
            /// Streams open at one time on one connection.
            #[schemars(extend("default" = 256))]
            max_streams: Count<1, 65_536>,
            /// Flow-control window of one stream, in bytes.
            #[schemars(extend("default" = "1Mi"))]
            stream_window: Size<{ 16 * KI }, { 2 * GI - 1 }>,
            /// Flow-control window of one connection, in bytes.
            #[schemars(extend("default" = "4Mi"))]
            connection_window: Size<{ 64 * KI }, { 2 * GI - 1 }>,
            /// How long a connection without a stream is kept.
            #[schemars(extend("default" = "1h"))]
            idle_timeout: Timeout,
            /// Streams that a client may reset before they were looked at, at one time.
            #[schemars(extend("default" = 20))]
            pending_resets: Count<1, 65_536>,
            /// Streams that may be reset for a client's mistakes.
            #[schemars(extend("default" = 1024))]
            local_resets: Count<1, 1_000_000>,
            /// Streams that a client may reset within ten seconds, over half of those that it opens.
            #[schemars(extend("default" = 1000))]
            resets: Count<1, 1_000_000>,
            /// PING, SETTINGS, PRIORITY and empty frames that a client may send within ten seconds, and ten
            /// times as many WINDOW_UPDATE frames; what it is sent allows for more.
            #[schemars(extend("default" = 1000))]
            control_frames: Count<10, 1_000_000>,
        }
    }
}
