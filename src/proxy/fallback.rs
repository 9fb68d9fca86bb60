//! Stable answers in the place of a canary that failed before its answer began.
//!
//! The failure stays the canary's: its recorder has it by then, and what stable answers here is
//! measured as nobody's, so that neither side's figures are bent. Only requests that can be sent
//! again are: those that never left, and those whose whole body was kept.

use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Response, StatusCode, Version, request};

use super::admission::Place;
use super::finish::{Times, finish};
use super::progress::{self, Deadline, Pace};
use super::record::{JUST_NOW, Recorder};
use super::reply::{self, Reply};
use crate::base::{Fault, FaultKind};
use crate::mirror::keep::Replay;
use crate::routing::body::{self, ClientBody};
use crate::routing::call::{self, Called};
use crate::routing::limit::Importance;
use crate::routing::local::LocalModel;
use crate::routing::origin::Failed;
use crate::wire::body::{Meter, Source};
use crate::wire::kept::KeptHead;
use crate::wire::{grpc, respond};

/// What is needed to ask stable instead.
pub(super) struct Spare {
    model: Rc<LocalModel>,
    head: KeptHead,
    replay: Replay,
}

/// What was agreed with the client.
pub(super) struct Terms<'a> {
    /// When an answer must have begun.
    pub(super) deadline: &'a Deadline,
    /// Of the request's body, where not all of it has come.
    pub(super) meter: &'a Rc<Meter>,
    /// Bytes per second that it must come at.
    pub(super) rate: u64,
    /// When the whole exchange must be over.
    pub(super) until: Option<tokio::time::Instant>,
    pub(super) client_version: Version,
}

/// Whether a canary failed in a way that stable may not: not where the client or its request is the
/// cause. Of answers, 5xx and the gRPC statuses that say as much count, as far as the head tells.
fn is_failure(called: &Result<Called, Failed>) -> bool {
    match called {
        Err(failed) => match failed.fault.kind {
            FaultKind::DeadlineExceeded => false,
            // Stable may have connections that are open.
            FaultKind::Exhausted => true,
            kind => kind.is_upstream(),
        },
        Ok(Called { response, .. }) => {
            let status = response.status();
            (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
                || matches!(grpc::status(response.headers()), Some(2 | 13 | 14 | 15))
        }
    }
}

impl Spare {
    /// Keeps what is needed to send the request of `head` again.
    pub(super) fn new(model: Rc<LocalModel>, head: &request::Parts, replay: Replay) -> Self {
        Self { model, head: KeptHead::of(head), replay }
    }

    /// Whether stable is to answer in the place of what came of the call: the canary failed, and the
    /// request can be sent again.
    pub(super) fn is_called_for(&self, called: &Result<Called, Failed>) -> bool {
        let unsent = called.as_ref().is_err_and(|failed| failed.unsent.is_some());
        is_failure(called) && (unsent || self.replay.is_whole())
    }

    /// The place of the request at stable, after what came of its call: it keeps that among the model's,
    /// and gives that at the canary for one at stable. `None`, and all as before, where stable has none
    /// left.
    pub(super) fn place(
        &self,
        recorder: &mut Recorder,
        called: &Result<Called, Failed>,
    ) -> Option<Box<Place>> {
        let stable = self.model.versions.get(self.model.model.stable)?.clone();
        let own = match &stable.version.limiter {
            Some(limiter) => Some(limiter.enter(Importance::Stable)?),
            None => None,
        };
        // First: how long the canary took is the canary's, and its limit learns from it.
        recorder.fell_back(called);
        let mut admission = std::mem::take(recorder.admission());
        let of_model = admission.permits.take().and_then(|permits| {
            let [of_model, _] = *permits;
            of_model
        });
        let permits = [of_model, own];
        admission.permits = permits.iter().any(Option::is_some).then(|| Box::new(permits));
        Some(Box::new(Place { admission, stable }))
    }

    /// Has stable answer. `unsent` is the body where nothing of it had left.
    pub(super) async fn answer(
        self,
        unsent: Option<ClientBody>,
        mut place: Box<Place>,
        terms: Terms<'_>,
    ) -> Response<Reply> {
        let is_grpc = grpc::is_grpc(self.head.headers());
        match self.ask(unsent, &place, &terms, is_grpc).await {
            Ok((called, name)) => {
                let idle = self.model.model.spec.idle_timeout;
                let times = Times { idle, until: terms.until, sent: terms.meter, answered: Instant::now() };
                finish(place.into(), called, name, terms.client_version, times, is_grpc)
            }
            Err(fault) => {
                if fault.kind == FaultKind::ResponseTimeout {
                    place.admission.answered(terms.meter.came());
                }
                let mut response = reply::own(respond::fault(&fault, is_grpc));
                if let Some(name) = self.stable_name() {
                    response.headers_mut().insert(reply::SERVED_BY, name);
                }
                response
            }
        }
    }

    /// Stable's name, where answers bear one.
    fn stable_name(&self) -> Option<HeaderValue> {
        let stable = self.model.versions.get(self.model.model.stable)?;
        self.model.model.spec.expose_version.then(|| stable.version.header.clone())
    }

    async fn ask(
        &self,
        unsent: Option<ClientBody>,
        place: &Place,
        terms: &Terms<'_>,
        is_grpc: bool,
    ) -> Result<(Called, Option<HeaderValue>), Fault> {
        let body = match unsent {
            Some(body) => body,
            None => self.replay.take().map(|kept| body::bare(Source::replay(kept))).ok_or_else(gone)?,
        };
        let limit = self.model.model.spec.response_timeout;
        let pace = Pace::new(terms.rate, is_grpc, || place.is_wanted(JUST_NOW));
        let call = pin!(call::call(&place.stable, self.head.clone().into_parts(), body));
        match progress::within(limit, terms.deadline.at, terms.meter, pace, call).await {
            Ok(Ok(called)) => Ok((called, self.stable_name())),
            Ok(Err(failed)) => Err(terms.meter.fault().cloned().unwrap_or(failed.fault)),
            Err(progress::Elapsed::Limit) => Err(Fault::new(
                FaultKind::ResponseTimeout,
                format!("neither the canary nor stable answered within {limit:?}"),
            )),
            Err(elapsed) => Err(elapsed.fault(limit, terms.deadline)),
        }
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::Internal, "the request cannot be sent to stable again")
}
