//! Whether a request is let in: limits of its model and of its version, and memory.
//!
//! What is turned away is counted as shed and as nothing else: it is no failure of the version that it was
//! drawn for. Near a limit, where requests for canaries are turned away and those for stable are
//! not, the two arms can no longer be compared: then neither counts in a trial.

use http::Response;

use super::admission::Admission;
use super::reply::{self, Reply};
use super::worker::Worker;
use crate::base::{Fault, FaultKind, Level};
use crate::routing::limit::{Importance, Limiter};
use crate::routing::local::{LocalModel, LocalVersion};
use crate::wire::respond;

/// Lets a request for `version` in, or says why not.
///
/// # Errors
/// `Overloaded`, which has been counted.
pub(super) fn admit(worker: &Worker, model: &LocalModel, version: &LocalVersion) -> Result<Admission, Fault> {
    let level = worker.pressure();
    let (whole, own) = (&model.model.limiter, &version.version.limiter);
    if level == Level::Calm && whole.is_none() && own.is_none() {
        return Ok(Admission::default());
    }
    let importance = Importance::of(version.version.spec.role);
    let shed = |what: String| {
        version.shard.shed.add(1);
        Err(Fault::new(FaultKind::Overloaded, what))
    };
    if level == Level::All || (level == Level::Canaries && importance < Importance::Stable) {
        return shed("the process is short of memory".to_owned());
    }
    let full = |whose: &str, limiter: &Limiter| {
        format!("{whose} has the {} requests under way that it may have", limiter.limit())
    };
    let (mut of_model, mut of_version) = (None, None);
    if let Some(limiter) = whole {
        of_model = limiter.enter(importance);
        if of_model.is_none() {
            return shed(full(&format!("model {}", model.model.spec.name), limiter));
        }
    }
    if let Some(limiter) = own {
        // Its own limit is the same for all of its requests, whatever its role.
        of_version = limiter.enter(Importance::Stable);
        if of_version.is_none() {
            return shed(full(&format!("version {}", version.version.spec.name), limiter));
        }
    }
    let permits = [of_model, of_version];
    let room = |importance| whole.as_ref().is_none_or(|limiter| limiter.has_room(importance));
    let own_room = own.as_ref().is_none_or(|limiter| limiter.has_room(Importance::Canary));
    Ok(Admission {
        permits: permits.iter().any(Option::is_some).then(|| Box::new(permits)),
        is_tight: level >= Level::Canaries || !room(Importance::Canary) || !own_room,
        no_copies: level >= Level::Shadows || !room(Importance::Shadow),
    })
}

/// The answer to a request that was not let in.
pub(super) fn turn_away(fault: &Fault, is_grpc: bool) -> Response<Reply> {
    tracing::debug!(%fault, "request turned away");
    reply::own(respond::fault(fault, is_grpc))
}
