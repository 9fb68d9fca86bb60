//! What is known of a model beside its graph: `metadata.json` in the version's folder.
//!
//! ```json
//! {
//!   "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!   "files": {"weights.bin": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"},
//!   "trainingDataVersion": "2026-10-01",
//!   "codeVersion": "git:4e72eb9",
//!   "metrics": {"accuracy": 0.973},
//!   "evaluations": [{"dataset": "holdout", "metrics": {"accuracy": 0.968}}]
//! }
//! ```
//!
//! Every key may be left out, and others may stand beside them: whoever trains models writes this
//! file. Digests are checked; the rest is shown and decides nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files;

/// Name of the file.
pub(super) const FILE: &str = "metadata.json";
/// Longest file, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// What a version's makers say of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// SHA-256 of `model.onnx`, hexadecimal, with or without `sha256:` in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// SHA-256 of other files in the version's folder, by their path in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Which data it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_data_version: Option<String>,
    /// Which code trained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_version: Option<String>,
    /// Its metrics, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// How it did on data that it was not trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evaluations: Vec<Evaluation>,
}

/// One evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// The data.
    #[serde(default)]
    pub dataset: String,
    /// What came out, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
}

/// Reads the file in `folder`; `None` when there is none.
///
/// # Errors
/// What is wrong with it, in one line that names it.
pub(super) fn read(folder: &Path) -> Result<Option<Metadata>, String> {
    let path = folder.join(FILE);
    let Some(bytes) = files::read_small(&path, LONGEST)? else { return Ok(None) };
    Metadata::parse(&bytes).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

impl Metadata {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong and where, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// A digest as it is compared: lower case, without `sha256:`.
///
/// # Errors
/// When it is no SHA-256.
pub(super) fn digest(written: &str) -> Result<String, String> {
    let bare = written.strip_prefix("sha256:").unwrap_or(written).to_ascii_lowercase();
    match bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(bare),
        false => Err(format!("{written:?} is no SHA-256: expected 64 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_keys_are_read_and_others_may_stand_beside_them() {
        let text = r#"{"sha256": "sha256:AB", "trainingDataVersion": "d7", "codeVersion": "c", "team": ["x"],
            "metrics": {"accuracy": 0.9, "rows": 5}, "evaluations": [{"dataset": "h", "metrics": {"auc": 1}}]}"#;
        let found = Metadata::parse(text.as_bytes()).unwrap();
        assert_eq!(found.training_data_version.as_deref(), Some("d7"));
        assert_eq!(found.metrics["rows"], 5.0);
        assert_eq!(found.evaluations[0].metrics["auc"], 1.0);
        assert!(digest("sha256:AB").is_err());
        assert_eq!(digest(&format!("sha256:{}", "A".repeat(64))).unwrap(), "a".repeat(64));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let error = Metadata::parse(br#"{"metrics": {"accuracy": "high"}}"#).unwrap_err();
        assert!(error.contains("line 1"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Metadata::parse(&bytes);
        }
    }
}
