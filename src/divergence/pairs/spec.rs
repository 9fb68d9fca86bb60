//! What is kept of diverged pairs, as the operator says.

use serde::{Deserialize, Serialize};

/// What is kept of diverged pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PairSpec {
    /// Whether anything is kept.
    pub enabled: bool,
    /// How many of the latest pairs.
    pub latest: usize,
    /// How many of the worst pairs.
    pub worst: usize,
    /// Bytes that all kept pairs may take together; half for the latest, half for the worst.
    pub max_bytes: usize,
    /// Bytes of text that are kept of one body.
    pub max_body_bytes: usize,
    /// JSON pointers (`*`: any one key or index) of values that are replaced by `"[redacted]"` in
    /// requests and answers, in JSON bodies as they were sent. Tensors of other forms are shown, and
    /// pointed at, in the form that REST has; a pointer into a tensor's `data` takes out all of it.
    /// As soon as there is one pointer, bodies that pointers cannot reach are not kept at all.
    pub redact: Vec<String>,
}

impl Default for PairSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            latest: 20,
            worst: 20,
            max_bytes: 4 << 20,
            max_body_bytes: 16 << 10,
            redact: Vec::new(),
        }
    }
}
