//! What an in-process engine is told. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// One version of a model served in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// Root of the model repository.
    pub repository: PathBuf,
    /// Folder of the model below the root.
    pub model: String,
    /// Integer version: the folder below the model's that holds `model.onnx`.
    pub version: u64,
    /// Sessions, each with a thread of its own.
    pub instances: usize,
    /// Threads one inference may use.
    pub intra_op_threads: usize,
    /// Requests that may wait; one more is answered 503.
    pub max_queue: usize,
    /// Largest request body in bytes; longer ones are answered 413.
    pub max_body_bytes: usize,
    /// How long loading and warming up may take.
    pub load_timeout: Duration,
}

impl EngineSpec {
    /// `version` of `model` in `repository`, with the defaults that the configuration documents.
    pub fn new(repository: PathBuf, model: String, version: u64) -> Self {
        Self {
            repository,
            model,
            version,
            instances: 1,
            intra_op_threads: 1,
            max_queue: 256,
            max_body_bytes: 64 * 1024 * 1024,
            load_timeout: Duration::from_secs(120),
        }
    }

    /// The model file: `<repository>/<model>/<version>/model.onnx`.
    pub fn path(&self) -> PathBuf {
        self.repository.join(&self.model).join(self.version.to_string()).join("model.onnx")
    }
}
