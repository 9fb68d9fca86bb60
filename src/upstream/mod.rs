//! Connections to model servers.
//!
//! A [`Target`] is an upstream with everything resolved that can be resolved once; it is shared by
//! every worker. A [`Pool`] holds one worker's connections to it and never leaves that worker's
//! thread. Callers see `http` types and [`Answer`] bodies. HTTP/1.1 is our own
//! (`http1`), HTTP/2 too but for its frames (`http2`); hyper's client speaks upgrades, and stays in
//! this room.

mod answer;
mod connect;
mod failure;
mod form;
mod http1;
mod http2;
mod io;
mod pool;
mod slot;
mod spec;
mod target;

pub use answer::Answer;
pub use connect::probe;
pub use http1::read_head;
pub use pool::{Pool, PoolStats, SendError};
pub use spec::{Address, Protocol, UpstreamSpec, UpstreamTls};
pub use target::{Target, TargetError};
