//! The operator's side: health, metrics, status, and what can be looked at and changed while running:
//! rollouts, weights, and the configuration as a whole.
//!
//! It has a thread and a runtime of its own, so that a scrape never stands in the way of a
//! request, and it knows the running sidecar only through the [`Sidecar`] trait. `routes` is the list
//! of what can be asked and the file to open first; `openapi` describes all of it. `access` says who
//! may ask what, and `guard` from where.

mod access;
mod answers;
mod asking;
mod base64;
mod basics;
mod commands;
mod desk;
mod document;
mod engine_metrics;
mod finding;
mod guard;
mod index;
mod keys;
mod metrics;
mod openapi;
mod pairs;
mod places;
mod process;
mod rollout_metrics;
mod rollouts;
mod routes;
mod schema;
mod server;
mod sidecar;
mod start;
mod status;
mod verdict;
mod watch;
mod weights;

#[cfg(test)]
mod tests;

pub use self::server::{AdminServer, StartError};
pub use self::sidecar::{
    AdminError, ConcurrencyState, ConfigState, EndpointState, EngineState, ListenerState, Live, MirrorState,
    ModelState, ProcessState, Readiness, Reloaded, Sidecar, State, UpstreamState, VersionState, WeightsSet,
};
pub use self::status::Status;
