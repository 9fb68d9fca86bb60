//! Connections to model servers.

mod spec;

pub use spec::{Address, Protocol, UpstreamSpec, UpstreamTls};
