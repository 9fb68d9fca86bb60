//! Sending a failed request again, to the version that it was drawn for.
//!
//! Only before the first byte of an answer has gone to the client, and only what may be repeated:
//! what never left; methods that say so (RFC 9110 section 9.2.2); inference, which has no effect.
//! A budget, in share of the requests, keeps repetitions from making an overload worse.

use std::rc::Rc;
use std::time::Duration;

use http::{StatusCode, request};
use tokio::time::sleep;

use super::progress::Deadline;
use crate::base::FaultKind;
use crate::inference::path::{self, Action, Api, GrpcMethod, OpenAiCall};
use crate::mirror::keep::Replay;
use crate::routing::body;
use crate::routing::call::Called;
use crate::routing::local::LocalModel;
use crate::routing::origin::Failed;
use crate::routing::spec::{RetryOn, RetrySpec};
use crate::upstream::Tried;
use crate::wire::body::Source;
use crate::wire::grpc;
use crate::wire::kept::KeptHead;

/// The wait before an attempt is at most so many times the first one's, as with Envoy.
const LONGEST_BACKOFF: u32 = 10;

/// What is needed to send a request again.
pub(super) struct Retry {
    model: Rc<LocalModel>,
    head: KeptHead,
    /// What is kept of the body; `None` where the request may not be repeated once it has left.
    replay: Option<Replay>,
    tried: Tried,
    attempt: u32,
}

/// The next attempt.
pub(super) struct Again {
    pub(super) head: request::Parts,
    pub(super) body: body::ClientBody,
    /// How long its answer may take to begin.
    pub(super) limit: Duration,
}

/// How the policy of `model` stands to a request: the longest body that is to be kept for it, 0 where
/// it must not be repeated once it has left. `None` where nothing is sent again.
pub(super) fn policy(model: &LocalModel, head: &request::Parts) -> Option<usize> {
    let spec = model.model.spec.retry.as_ref()?;
    model.retries.deposit(spec);
    Some(if spec.non_idempotent || may_repeat(head) { spec.max_body_bytes } else { 0 })
}

/// Whether doing it twice is the same as doing it once.
fn may_repeat(head: &request::Parts) -> bool {
    if head.method.is_idempotent() {
        return true;
    }
    match path::parse(head.uri.path()) {
        Api::V2(call) | Api::V1(call) => {
            matches!(call.action, Action::Infer | Action::Generate | Action::GenerateStream | Action::Predict)
        }
        Api::Grpc(method) => matches!(
            method,
            GrpcMethod::ModelInfer
                | GrpcMethod::ModelReady
                | GrpcMethod::ModelMetadata
                | GrpcMethod::ModelConfig
        ),
        Api::OpenAi(call) => !matches!(call, OpenAiCall::Responses),
        Api::GrpcServer(_) | Api::Server | Api::Other => false,
    }
}

impl Retry {
    /// Keeps what is needed to send the request of `head` again.
    pub(super) fn new(model: Rc<LocalModel>, head: &request::Parts, replay: Option<Replay>) -> Self {
        Self { model, head: KeptHead::of(head), replay, tried: Tried::default(), attempt: 0 }
    }

    /// Where the request has been sent, to go along with it.
    pub(super) fn tried(&self) -> Tried {
        self.tried.clone()
    }

    /// How long an attempt's answer may take to begin.
    pub(super) fn limit(&self) -> Duration {
        let spec = &self.model.model.spec;
        spec.retry.as_ref().and_then(|retry| retry.per_try).unwrap_or(spec.response_timeout)
    }

    /// Whether what came of an attempt asks for another.
    pub(super) fn is_called_for(&self, called: &Result<Called, Failed>) -> bool {
        let Some(spec) = &self.model.model.spec.retry else { return false };
        let unsent = called.as_ref().is_err_and(|failed| failed.unsent.is_some());
        self.attempt < spec.attempts
            && asks(spec, called, unsent)
            && (unsent || self.replay.as_ref().is_some_and(Replay::is_whole))
    }

    /// The next attempt, after a wait.
    ///
    /// # Errors
    /// What came of the last attempt, where the budget is used up, or the wait would last beyond the
    /// deadline.
    pub(super) async fn next(
        &mut self,
        mut called: Result<Called, Failed>,
        deadline: &Deadline,
    ) -> Result<Again, Result<Called, Failed>> {
        let model = self.model.clone();
        let Some(spec) = &model.model.spec.retry else { return Err(called) };
        let longest = spec.backoff.saturating_mul(LONGEST_BACKOFF.min(1 << self.attempt.min(8)));
        let wait = longest.mul_f64(fastrand::f64());
        if deadline.is_over(wait) || !model.retries.take(spec) {
            return Err(called);
        }
        let unsent = match &mut called {
            Err(failed) => failed.unsent.take(),
            Ok(_) => None,
        };
        let kept = || Some(body::bare(Source::replay(self.replay.as_ref()?.copy()?)));
        let Some(body) = unsent.or_else(kept) else { return Err(called) };
        // The failed answer's connection is closed, or its stream reset, before another is asked.
        drop(called);
        sleep(wait).await;
        self.attempt += 1;
        let mut head = self.head.clone().into_parts();
        head.extensions.insert(self.tried.clone());
        Ok(Again { head, body, limit: self.limit() })
    }
}

fn asks(spec: &RetrySpec, called: &Result<Called, Failed>, unsent: bool) -> bool {
    let when = |reason| spec.when.contains(&reason);
    match called {
        Err(failed) => match failed.fault.kind {
            FaultKind::ConnectFailed | FaultKind::ConnectTimeout => unsent || when(RetryOn::Reset),
            FaultKind::UpstreamReset | FaultKind::UpstreamProtocol => unsent || when(RetryOn::Reset),
            FaultKind::ResponseTimeout => when(RetryOn::Timeout),
            _ => false,
        },
        Ok(Called { response, .. }) => {
            let status = response.status();
            let code = status.as_u16();
            (when(RetryOn::Unavailable) && (code == 503 || grpc::status(response.headers()) == Some(14)))
                || (when(RetryOn::Gateway) && matches!(code, 502..=504))
                || (when(RetryOn::ServerError)
                    && status.is_server_error()
                    && status != StatusCode::NOT_IMPLEMENTED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::local::RetryBudget;

    fn repeats(method: &str, path: &str) -> bool {
        let (head, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        may_repeat(&head)
    }

    #[test]
    fn what_has_no_effect_may_be_repeated_and_what_may_have_one_may_not() {
        for (method, path) in [
            ("GET", "/anything"),
            ("PUT", "/anything"),
            ("POST", "/v2/models/m/infer"),
            ("POST", "/v2/models/m/versions/2/infer"),
            ("POST", "/v1/models/m:predict"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/inference.GRPCInferenceService/ModelInfer"),
        ] {
            assert!(repeats(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/anything"),
            ("PATCH", "/v2/models/m"),
            ("POST", "/v1/responses"),
            ("POST", "/v2/repository/models/m/load"),
            ("POST", "/inference.GRPCInferenceService/ModelStreamInfer"),
            ("POST", "/a.B/C"),
        ] {
            assert!(!repeats(method, path), "{method} {path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_of_the_requests_and_some_in_any_case() {
        let spec = RetrySpec { min_per_second: 2, ..RetrySpec::default() };
        let budget = RetryBudget::default();
        let take = || (0..1_000).take_while(|_| budget.take(&spec)).count();
        assert_eq!(take(), 2);
        (0..100).for_each(|_| budget.deposit(&spec));
        assert_eq!(take(), 20);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(take(), 2);
        // A quiet hour saves up no storm.
        (0..1_000_000).for_each(|_| budget.deposit(&spec));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(take() <= 220, "{}", take());
    }
}
