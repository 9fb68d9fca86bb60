//! Connections to model servers.
//!
//! A [`Cluster`] is an upstream with all its endpoints, shared by every worker; a [`Target`] is one
//! endpoint with everything resolved that can be resolved once. A [`Fleet`] is one worker's way to a
//! cluster: it chooses an endpoint, and has a [`Pool`] of connections to each that never leaves the
//! worker's thread. `health` asks endpoints whether they are well. Callers see `http` types and [`Answer`] bodies. HTTP/1.1 is our own
//! (`http1`), HTTP/2 too but for its frames (`http2`); hyper's client speaks upgrades, and stays in
//! this room.

mod answer;
mod cluster;
mod connect;
mod failure;
mod fleet;
mod form;
pub mod health;
mod http1;
mod http2;
mod io;
mod pool;
mod slot;
mod spec;
mod target;
mod tls;

pub use answer::Answer;
pub use cluster::{Cluster, ClusterStats, Endpoint, Health, MOST_ENDPOINTS, Standing};
pub use fleet::{Fleet, Tried};
pub use http1::read_head;
pub use pool::{Pool, PoolStats, SendError, Yields};
pub use spec::{
    Address, BalanceSpec, EndpointSpec, HealthSpec, OutlierSpec, Protocol, Question, UpstreamSpec,
    UpstreamTls,
};
pub use target::{Target, TargetError};
