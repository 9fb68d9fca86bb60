//! Why an engine did not answer.

use crate::base::{Fault, FaultKind};

use super::signature::InvalidInput;

/// Why an inference has no outputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The inputs do not fit the model.
    #[error(transparent)]
    Input(#[from] InvalidInput),
    /// ONNX Runtime says that the inputs are wrong.
    #[error("the model refuses these inputs: {0}")]
    Refused(String),
    /// As many requests wait as may.
    #[error("the model's queue is full ({waiting} requests wait)")]
    Overloaded {
        /// How many wait.
        waiting: usize,
    },
    /// The model is being loaded.
    #[error("the model is being loaded")]
    Loading,
    /// The model could not be loaded.
    #[error("the model is unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed before the model ran.
    #[error("the deadline passed before the model answered")]
    DeadlineExceeded,
    /// The model failed.
    #[error("the model failed: {0}")]
    Failed(String),
}

impl EngineError {
    /// The kind of fault, which says the HTTP and gRPC status.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Input(_) | Self::Refused(_) => FaultKind::BadRequest,
            Self::Overloaded { .. } => FaultKind::Overloaded,
            Self::Loading | Self::Unavailable(_) => FaultKind::Unavailable,
            Self::DeadlineExceeded => FaultKind::DeadlineExceeded,
            Self::Failed(_) => FaultKind::Internal,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
