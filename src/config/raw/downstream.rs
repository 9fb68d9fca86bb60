//! Where clients connect and what they may do.

use super::super::read::section;
use super::super::scalar::{Count, Flag, GI, KI, MI, Size};
use super::super::text::{AddressText, ListenerNameText, PathText};
use super::{Limit, Timeout};

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
        }
    }
}
