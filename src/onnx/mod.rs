//! ONNX models in process.

mod spec;

pub use spec::EngineSpec;
