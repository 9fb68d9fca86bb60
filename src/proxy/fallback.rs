//! Stable answers in the place of a canary that failed before its answer began.
//!
//! The failure stays the canary's: its recorder has it by then, and what stable answers here is
//! measured as nobody's, so that neither side's figures are bent. Only requests that can be sent
//! again are: those that never left, and those whose whole body was kept.

use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Response, StatusCode, Version, request};

use super::finish::{Times, finish};
use super::reply::{self, Reply};
use crate::base::{Fault, FaultKind};
use crate::mirror::keep::Replay;
use crate::routing::body::{self, ClientBody};
use crate::routing::call::{self, Called};
use crate::routing::local::LocalModel;
use crate::routing::origin::Failed;
use crate::wire::body::Source;
use crate::wire::kept::KeptHead;
use crate::wire::{grpc, respond};

/// What is needed to ask stable instead.
pub(super) struct Spare {
    model: Rc<LocalModel>,
    head: KeptHead,
    replay: Replay,
    /// When the whole exchange must be over.
    until: Option<tokio::time::Instant>,
}

/// Whether a canary failed in a way that stable may not: not where the client or its request is the
/// cause. Of answers, 5xx and the gRPC statuses that say as much count, as far as the head tells.
fn is_failure(called: &Result<Called, Failed>) -> bool {
    match called {
        Err(failed) => failed.fault.kind.is_upstream() && failed.fault.kind != FaultKind::DeadlineExceeded,
        Ok(Called { response, .. }) => {
            let status = response.status();
            (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
                || matches!(grpc::status(response.headers()), Some(2 | 13 | 14 | 15))
        }
    }
}

impl Spare {
    /// Keeps what is needed to send the request of `head` again.
    pub(super) fn new(
        model: Rc<LocalModel>,
        head: &request::Parts,
        replay: Replay,
        until: Option<tokio::time::Instant>,
    ) -> Self {
        Self { model, head: KeptHead::of(head), replay, until }
    }

    /// Whether stable is to answer in the place of what came of the call: the canary failed, and the
    /// request can be sent again.
    pub(super) fn is_called_for(&self, called: &Result<Called, Failed>) -> bool {
        let unsent = called.as_ref().is_err_and(|failed| failed.unsent.is_some());
        is_failure(called) && (unsent || self.replay.is_whole())
    }

    /// Has stable answer. `unsent` is the body where nothing of it had left.
    pub(super) async fn answer(self, unsent: Option<ClientBody>, client_version: Version) -> Response<Reply> {
        let is_grpc = grpc::is_grpc(self.head.headers());
        match self.ask(unsent).await {
            Ok((called, name)) => {
                let idle = self.model.model.spec.idle_timeout;
                let times = Times { idle, until: self.until, answered: Instant::now() };
                finish(None, called, name, client_version, times, is_grpc)
            }
            Err(fault) => {
                let mut response = reply::own(respond::fault(&fault, is_grpc), None);
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

    async fn ask(&self, unsent: Option<ClientBody>) -> Result<(Called, Option<HeaderValue>), Fault> {
        let body = match unsent {
            Some(body) => body,
            None => self.replay.take().map(|kept| body::bare(Source::replay(kept))).ok_or_else(gone)?,
        };
        let model = &self.model.model;
        let stable = self.model.versions.get(model.stable).ok_or_else(gone)?;
        let head = self.head.clone().into_parts();
        let limit = model.spec.response_timeout;
        match tokio::time::timeout(limit, call::call(stable, head, body)).await {
            Ok(Ok(called)) => Ok((called, self.stable_name())),
            Ok(Err(failed)) => Err(failed.fault),
            Err(_) => Err(Fault::new(
                FaultKind::ResponseTimeout,
                format!("neither the canary nor stable answered within {limit:?}"),
            )),
        }
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::Internal, "the request cannot be sent to stable again")
}
