//! The operator's side.

use super::super::choice::Choice;
use super::super::read::{List, section};
use super::super::spec::AdminRole;
use super::super::text::{AddressText, EnvironmentText, NameText, PathText};

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
        }
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
