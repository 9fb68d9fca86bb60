//! From a version's answer to the client's: the same for the live leg, a fallback and an upgrade.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response};

use super::reply::{self, Measure, Reply};
use crate::routing::call::Called;
use crate::wire::body::{IdleTimeout, Meter, Side};
use crate::wire::hygiene;
use crate::wire::rewrite::Edited;

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times<'a> {
    /// Longest standstill of its body, while nothing of the request comes either.
    pub(super) idle: Duration,
    /// When it must be over.
    pub(super) until: Option<tokio::time::Instant>,
    /// What is known of the request, which may not be over yet.
    pub(super) sent: &'a Rc<Meter>,
    /// When its head came.
    pub(super) answered: Instant,
}

/// Makes a version's answer fit for the client: hygiene, names put back, the version named, the
/// body watched. `name` is the version to be named.
pub(super) fn finish(
    mut measure: Measure,
    called: Called,
    name: Option<HeaderValue>,
    client_version: http::Version,
    times: Times<'_>,
    is_grpc: bool,
) -> Response<Reply> {
    if let Some(recorder) = measure.recorder() {
        recorder.head(&called.response);
    }
    let (mut head, body) = called.response.into_parts();
    if let Err(fault) = hygiene::response(&mut head, client_version) {
        return reply::broken(measure, &fault, is_grpc);
    }
    let editor = called.restore.and_then(|restore| restore.response(&mut head));
    if let Some(name) = name {
        head.headers.insert(reply::SERVED_BY, name);
    }
    measure.answered(times.sent);
    if let Some(recorder) = measure.recorder() {
        recorder.answers(&head);
        recorder.spent(times.answered.elapsed());
    }
    let body = IdleTimeout::new(body, Some(times.idle), Side::Response).until(times.until);
    let body = body.beside(Some(times.sent.clone()));
    let body = Edited::new(body, editor);
    Response::from_parts(head, reply::measured(body, measure))
}
