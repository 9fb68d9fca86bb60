//! The gRPC services that tell about a server: health checking and reflection, as data.
//!
//! [`health`] has the messages of `grpc.health.v1.Health`; [`reflection`] answers what
//! `grpc.reflection.v1` and `v1alpha` ask, from the descriptors of every service here. They were
//! compiled from the files in `proto/`, and a test compiles those again and compares.

pub mod health;
pub mod reflection;
