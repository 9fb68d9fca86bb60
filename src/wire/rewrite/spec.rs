//! What a version is sent under other names. Plain data.

use http::{HeaderName, HeaderValue};

/// How a request is changed for one version; the answer is put back to the client's names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RewriteSpec {
    /// Name of the model at the server: in OIP v2 and V1 paths, in the OIP gRPC `model_name` and
    /// in the OpenAI `model` field.
    pub model: Option<String>,
    /// Version at the server: `/versions/{v}` in OIP v2 and V1 paths, `model_version` in OIP gRPC.
    pub model_version: Option<String>,
    /// Path prefix replaced by another.
    pub path_prefix: Option<PathPrefix>,
    /// `Host`/`:authority` sent; without it the client's own is kept.
    pub host: Option<String>,
    /// Headers set, replacing what the client sent.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers removed.
    pub remove_headers: Vec<HeaderName>,
}

/// A path prefix and its replacement, both starting with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix {
    /// What the client's path starts with (whole segments).
    pub from: String,
    /// What the upstream's path starts with instead.
    pub to: String,
}

impl RewriteSpec {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
