//! The operator's side: health, metrics, status, and the two things that can be changed while
//! running (weights, and the configuration as a whole).
//!
//! It has a thread and a runtime of its own, so that a scrape never stands in the way of a
//! request, and it knows the rest of the house only through the [`Sidecar`] trait. `routes` is the
//! list of what can be asked and the file to open first. There is no login yet: changes are taken
//! only on a loopback address or a Unix socket (see `guard`).

mod document;
mod guard;
mod index;
mod metrics;
mod process;
mod routes;
mod server;
mod sidecar;
mod status;

#[cfg(test)]
mod tests;

pub use self::metrics::page as metrics_page;
pub use self::server::{AdminServer, StartError};
pub use self::sidecar::{
    AdminError, ConfigState, ListenerState, Live, MirrorState, ModelState, Readiness, Reloaded, Sidecar,
    State, VersionState,
};
pub use self::status::Status;
