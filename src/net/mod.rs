//! Listening: sockets, TLS, telling HTTP/1.1 from HTTP/2, draining.

mod spec;

pub use spec::{DownstreamSpec, ListenerSpec, TlsSpec};
