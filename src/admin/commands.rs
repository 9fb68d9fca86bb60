//! Moving a rollout by hand: promote, pause, resume, abort, retry, and clearing a latch.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::{Extension, Json};
use http::HeaderMap;
use serde::Deserialize;

use super::access::Caller;
use super::answers::{Answer, parse, read};
use super::asking::ask;
use super::desk::Desk;
use super::{keys, schema};
use crate::control::rollouts::Call;
use crate::rollout::machine::What;
use crate::rollout::version::Actor;

/// Who asks, and under which key.
struct Asker {
    desk: Arc<Desk>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
}

/// No further wishes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promote {
    #[serde(default)]
    full: bool,
}

/// Go to the next step
///
/// Or, in the bake, end it well; also past a gate that is waited for. With `full` past all steps
/// that are left.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/promote", operation_id = "promoteRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    request_body = schema::Promote,
    responses(
        (status = 200, description = "The rollout as it stands now", body = schema::Done),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 409, description = "Not possible now", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn promote(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asker = Asker { desk, caller, headers, body };
    let expected = "{} or {\"full\": true}";
    command(asker, id, "promote", expected, |_, promote: Promote| What::Promote { full: promote.full }).await
}

/// Let nothing move
///
/// Checks go on, and may still roll back.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/pause", operation_id = "pauseRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    responses(
        (status = 200, description = "The rollout as it stands now", body = schema::Done),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 409, description = "Not possible now", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn pause(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asker = Asker { desk, caller, headers, body };
    command(asker, id, "pause", "{}", |_, _: Nothing| What::Pause).await
}

/// Go on
///
/// After a pause, or once more after a step that ended without evidence.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/resume", operation_id = "resumeRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    responses(
        (status = 200, description = "The rollout as it stands now", body = schema::Done),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 409, description = "Not possible now", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn resume(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asker = Asker { desk, caller, headers, body };
    command(asker, id, "resume", "{}", |_, _: Nothing| What::Resume).await
}

/// Back to the stable version
///
/// The candidate is not latched: it may be tried again.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/abort", operation_id = "abortRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    responses(
        (status = 200, description = "The rollout as it stands now", body = schema::Done),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 409, description = "Not possible now", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn abort(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asker = Asker { desk, caller, headers, body };
    command(asker, id, "abort", "{}", |_, _: Nothing| What::Abort).await
}

/// Begin a rollout again that did not succeed
///
/// With the same candidate and policy, as a new rollout; the answer names it.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{id}/retry", operation_id = "retryRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier: the latest of its model"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    responses(
        (status = 200, description = "The new rollout", body = schema::Done),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 409, description = "Not possible now, or the candidate was rolled back before", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn retry(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let asker = Asker { desk, caller, headers, body };
    command(asker, id, "retry", "{}", |model, _: Nothing| What::Retry { id: new_id(model) }).await
}

/// Let a candidate be tried again that was rolled back
#[utoipa::path(
    post, path = "/api/v1/models/{model}/latches/{digest}/clear", operation_id = "clearLatch", tag = "models",
    params(("model" = String, Path, description = "Name of the model"),
           ("digest" = String, Path, description = "Digest of the candidate"),
           ("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    responses(
        (status = 200, description = "It may be tried again; with the model's latest rollout", body = schema::Done),
        (status = 404, description = "There is no such model, or it has no such latch", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
    )
)]
pub(super) async fn clear(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path((model, digest)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let by = Actor { name: caller.name, key: keys::key(&headers)? };
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return Ok(refused),
    };
    parse::<Nothing>(&body, "{}")?;
    let path = format!("/api/v1/models/{model}/latches/{digest}/clear");
    let done = desk.change(move |desk| {
        ask(desk, &path, &body, by, |by| {
            Ok(Call::Command { model, id: None, what: What::Clear { digest }, by })
        })
    });
    Ok(Json(done.await?).into_response())
}

/// Asks for something about the rollout `id`. `what` is given the model and the body.
async fn command<B, W>(asker: Asker, id: String, word: &str, expected: &str, what: W) -> Answer
where
    B: for<'de> Deserialize<'de> + Send + 'static,
    W: FnOnce(&str, B) -> What + Send + 'static,
{
    let Asker { desk, caller, headers, body } = asker;
    let by = Actor { name: caller.name, key: keys::key(&headers)? };
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return Ok(refused),
    };
    let wishes: B = parse(&body, expected)?;
    let path = format!("/api/v1/rollouts/{id}/{word}");
    let done = desk.change(move |desk| {
        ask(desk, &path, &body, by, |by| {
            let model = desk.model_of(&id)?;
            let what = what(&model, wishes);
            Ok(Call::Command { model, id: Some(id), what, by })
        })
    });
    Ok(Json(done.await?).into_response())
}

/// An id for a rollout that begins now.
fn new_id(model: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{model}-r{:x}", now.as_millis())
}
