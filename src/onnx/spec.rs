//! What an in-process engine is told. Plain data.

use std::path::PathBuf;
use std::time::Duration;

/// Requests that a model answers faster than this are run on the caller's thread: handing them to
/// another one would take longer.
pub const INLINE_BELOW: Duration = Duration::from_micros(100);

/// One version of a model served in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSpec {
    /// Root of the model repository.
    pub repository: PathBuf,
    /// Folder of the model below the root.
    pub model: String,
    /// Integer version: the folder below the model's that holds `model.onnx`.
    pub version: u64,
    /// Sessions; as many inferences run at the same time.
    pub instances: usize,
    /// Threads one inference may use.
    pub intra_op_threads: usize,
    /// Requests that may wait; one more is answered 503.
    pub max_queue: usize,
    /// Largest request body in bytes; longer ones are answered 413.
    pub max_body_bytes: usize,
    /// How long loading and warming up may take.
    pub load_timeout: Duration,
    /// Most rows that are brought together into one run; 1 leaves every request alone.
    pub max_batch_size: usize,
    /// How long a request may wait for others to share its run. Zero takes what waits already.
    pub max_queue_delay: Duration,
    /// Requests that are expected to take less run on the caller's thread; zero: none do.
    pub inline_below: Duration,
    /// Whether ONNX Runtime keeps freed memory for the next run.
    pub arena: bool,
    /// Whether ONNX Runtime's own threads wait for work by turning round. It costs CPU.
    pub spinning: bool,
    /// How far the graph is optimised while it is loaded.
    pub optimization: Optimization,
    /// What runs the graph.
    pub provider: Provider,
    /// SHA-256 that the model file must have, in lower case hexadecimal.
    pub sha256: Option<String>,
    /// What the files looked like when they were chosen; a changed file makes another engine.
    pub stamp: Option<u64>,
    /// Not to be loaded, because somebody has unloaded the model.
    pub unloaded: bool,
}

/// How far a graph is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimization {
    /// Not at all.
    None,
    /// What never changes a result.
    Basic,
    /// Fused operators as well.
    Extended,
    /// Everything, memory layout included.
    All,
}

/// What runs a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The processor.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT, then CUDA for what it lacks.
    TensorRt,
    /// Intel's OpenVINO.
    OpenVino,
}

impl Provider {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
        }
    }

    /// Whether this program was built with it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::TensorRt => cfg!(feature = "tensorrt"),
            Self::OpenVino => cfg!(feature = "openvino"),
        }
    }
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
            max_batch_size: 1,
            max_queue_delay: Duration::ZERO,
            inline_below: INLINE_BELOW,
            arena: true,
            spinning: false,
            optimization: Optimization::All,
            provider: Provider::Cpu,
            sha256: None,
            stamp: None,
            unloaded: false,
        }
    }

    /// The version's folder: `<repository>/<model>/<version>`.
    pub fn folder(&self) -> PathBuf {
        self.repository.join(&self.model).join(self.version.to_string())
    }

    /// The model file: `<repository>/<model>/<version>/model.onnx`.
    pub fn path(&self) -> PathBuf {
        self.folder().join("model.onnx")
    }
}
