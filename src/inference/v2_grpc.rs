//! The Open Inference Protocol v2 over gRPC, with Triton's extensions: the messages of the service
//! `inference.GRPCInferenceService`.
//!
//! [`infer`] reads requests and writes answers of `ModelInfer` by hand, because tensors are large:
//! raw contents are copied once, between the message and the typed vector. Everything else is small
//! and derived: [`about`] has what is said of servers and models, [`triton`] Triton's model
//! configuration, statistics and repository. Fields and numbers are those of `grpc_services/proto`,
//! which the service's reflection shows and a test compares.

pub mod about;
pub mod infer;
pub mod triton;
