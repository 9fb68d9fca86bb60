//! The operator's side.

use super::super::choice::Choice;
use super::super::read::{List, section};
use super::super::spec::AdminRole;
use super::super::text::{AddressText, CertificateNameText, EnvironmentText, NameText, PathText};
use crate::certs::MinVersion;

section! {
    /// Admin API, metrics and health.
    Admin {
        required {}
        optional {
            /// `IP:PORT` (port 0: the system chooses) or `unix:/path`. Without `tokens`, who reaches it
            /// on this machine can change everything, and others get health and metrics only.
            #[schemars(extend("default" = "127.0.0.1:9901"))]
            address: AddressText,
            /// Who may ask, and what. With one, nothing but health and metrics answers without.
            /// Default: none. Names are unique.
            tokens: List<Token, 1, 64>,
            /// TLS. Default: plaintext, tokens included.
            tls: AdminTls,
            /// Who may ask by a certificate that `tls.clientCa` has signed, and what. With one, nothing but
            /// health and metrics answers without a certificate or a token. Default: none. Names are unique,
            /// those of tokens included.
            clients: List<AdminClient, 1, 64>,
        }
    }
}

section! {
    /// Certificate and key of the admin API.
    AdminTls {
        required {
            /// PEM file: the certificate chain, the server's own certificate first. Relative to the
            /// folder of this file.
            certificate: PathText,
            /// PEM file: the private key. Relative to the folder of this file.
            key: PathText,
        }
        optional {
            /// PEM file of the authorities of `clients`. Relative to the folder of this file. Who shows no
            /// certificate is let in for health and metrics, and with a token.
            client_ca: PathText,
            /// Oldest version of TLS.
            #[schemars(extend("default" = "tls1.2"))]
            min_version: Choice<MinVersion>,
        }
    }
}

section! {
    /// Somebody who is known by a certificate.
    AdminClient {
        required {
            /// Who it is: stands in logs and in the history of rollouts.
            name: NameText,
            /// `read`: look at everything. `operate`: change it, too.
            role: Choice<AdminRole>,
            /// Names in the certificate, any one of them: DNS names, `*.` for one label, or URIs such as
            /// `spiffe://cluster/pipeline`, `*` at their end for any rest.
            names: List<CertificateNameText, 1, 64>,
        }
        optional {}
    }
}

section! {
    /// A bearer token, from a file or from the environment.
    #[schemars(extend("oneOf" = [{ "required": ["file"] }, { "required": ["env"] }]))]
    Token {
        required {
            /// Whose it is: stands in logs and in the history of rollouts.
            name: NameText,
            /// `read`: look at everything. `operate`: change it, too.
            role: Choice<AdminRole>,
        }
        optional {
            /// File that holds the token. Relative to the folder of this file.
            file: PathText,
            /// Environment variable that holds the token.
            env: EnvironmentText,
        }
    }
}
