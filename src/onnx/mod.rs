//! ONNX models in process.
//!
//! `engine` is the door: an [`Engine`] loads one version of a model on threads of its own and
//! answers tensors with tensors; `http` and `grpc` answer the inference protocols' calls with it.
//! `runtime` finds the shared library, `session` talks to it, `signature` says what a model takes,
//! `queue` stands between callers and sessions.

mod abort;
mod batch;
mod choice;
mod describe;
mod engine;
mod error;
mod family;
mod files;
mod fleet;
mod golden;
mod graph_file;
pub mod grpc;
pub mod http;
mod inspect;
mod lane;
mod load;
mod memory;
mod metadata;
mod owner;
mod pace;
mod queue;
mod rehearse;
pub mod repository;
mod runtime;
mod session;
mod signature;
mod spec;
pub mod statistics;
#[cfg(test)]
mod testing;
mod works;

pub use describe::version_statistics;
pub use engine::{Engine, State};
pub use error::EngineError;
pub use family::Family;
pub use fleet::{Fleet, Loads};
pub use golden::Golden;
pub use graph_file::external_places;
pub use inspect::Facts;
pub use metadata::{Evaluation, Metadata};
pub use runtime::{Origin, Runtime, RuntimeError, RuntimeSource, load as load_runtime};
pub use signature::{Dim, InvalidInput, Signature, SignatureError, Slot};
pub use spec::{EngineSpec, Optimization, Provider};
