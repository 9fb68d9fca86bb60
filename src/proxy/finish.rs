//! From a version's answer to the client's: the same for the live leg, a fallback and an upgrade.

use std::time::{Duration, Instant};

use http::{HeaderValue, Response};

use super::record::Recorder;
use super::reply::{self, Reply};
use crate::routing::call::Called;
use crate::wire::body::{IdleTimeout, Side};
use crate::wire::rewrite::Edited;
use crate::wire::{hygiene, respond};

/// Makes a version's answer fit for the client: hygiene, names put back, the version named, the
/// body watched. `name` is the version to be named.
pub(super) fn finish(
    mut recorder: Option<Recorder>,
    called: Called,
    name: Option<HeaderValue>,
    client_version: http::Version,
    idle_timeout: Duration,
    answered: Instant,
    is_grpc: bool,
) -> Response<Reply> {
    if let Some(recorder) = &mut recorder {
        recorder.head(&called.response);
    }
    let (mut head, body) = called.response.into_parts();
    if let Err(fault) = hygiene::response(&mut head, client_version) {
        return match recorder {
            Some(recorder) => reply::fail(recorder, &fault, is_grpc),
            None => reply::own(respond::fault(&fault, is_grpc), None),
        };
    }
    let editor = called.restore.and_then(|restore| restore.response(&mut head));
    if let Some(name) = name {
        head.headers.insert(reply::SERVED_BY, name);
    }
    if let Some(recorder) = &mut recorder {
        recorder.answers(&head);
        recorder.spent(answered.elapsed());
    }
    let body = IdleTimeout::new(body, Some(idle_timeout), Side::Response);
    let body = Edited::new(body, editor);
    Response::from_parts(head, reply::measured(body, recorder))
}
