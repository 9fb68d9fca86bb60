//! ONNX models in process.
//!
//! `engine` is the door: an [`Engine`] loads one version of a model on threads of its own and
//! answers tensors with tensors; `http` answers the inference protocols' REST calls with it.
//! `runtime` finds the shared library, `session` talks to it, `signature` says what a model takes,
//! `queue` stands between callers and sessions.

mod abort;
mod describe;
mod engine;
mod error;
pub mod http;
mod queue;
pub mod repository;
mod runtime;
mod session;
mod signature;
mod spec;
pub mod statistics;
#[cfg(test)]
mod testing;

pub use engine::{Engine, State};
pub use error::EngineError;
pub use runtime::{Origin, Runtime, RuntimeError, RuntimeSource, load as load_runtime};
pub use signature::{Dim, InvalidInput, Signature, SignatureError, Slot};
pub use spec::{EngineSpec, Optimization, Provider};
