//! `POST /api/v1/rollouts`: a rollout begins.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::access::Caller;
use super::answers::{Answer, parse, read};
use super::asking::ask;
use super::desk::Desk;
use super::sidecar::AdminError;
use super::{keys, schema};
use crate::base::{ModelName, VersionName};
use crate::control::rollouts::{Call, CandidateCall, StartCall};
use crate::rollout::version::Actor;

/// What a start looks like, in errors.
const EXPECTED: &str =
    "{\"model\": \"fraud\", \"candidate\": \"v2\"}; candidate may also be a version as in the configuration";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    model: String,
    candidate: Value,
    policy: Option<Value>,
    #[serde(default)]
    supersede: bool,
}

/// Start a rollout
///
/// To a version that the configuration declares, or to one that comes with the request and is then
/// kept in the store. The answer comes once the start would survive a crash. The same request under
/// the same `Idempotency-Key` starts one rollout, however often it is sent.
#[utoipa::path(
    post, path = "/api/v1/rollouts", operation_id = "startRollout", tag = "rollouts",
    params(("Idempotency-Key" = Option<String>, Header, description = "Carried out once, however often it is sent")),
    request_body = schema::Start,
    responses(
        (status = 201, description = "It has begun", body = schema::Done),
        (status = 400, description = "What was asked for makes no sense", body = schema::Error),
        (status = 404, description = "There is no such model or version", body = schema::Error),
        (status = 409, description = "Another rollout runs, or the candidate was rolled back before", body = schema::Error),
        (status = 422, description = "The key came with another request before", body = schema::Error),
        (status = 503, description = "What must last cannot be written", body = schema::Error),
    )
)]
pub(super) async fn start(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let key = keys::key(&headers)?;
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return Ok(refused),
    };
    let asked: Asked = parse(&body, EXPECTED)?;
    let by = Actor { name: caller.name, key };
    let done = desk.change(move |desk| ask(desk, "/api/v1/rollouts", &body, by, |by| call(desk, asked, by)));
    let done = done.await?;
    let place = done.rollout.as_ref().map(|rollout| format!("/api/v1/rollouts/{}", rollout.id));
    let mut response: Response = (StatusCode::CREATED, Json(done)).into_response();
    if let Some(place) = place.and_then(|place| HeaderValue::try_from(place).ok()) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

fn call(desk: &Desk, asked: Asked, by: Actor) -> Result<Call, AdminError> {
    let invalid = |e: &dyn std::fmt::Display| AdminError::Invalid(e.to_string());
    let model = ModelName::new(&asked.model).map_err(|e| invalid(&e))?;
    desk.model(&asked.model)?;
    let candidate = match asked.candidate {
        Value::String(name) => CandidateCall::Declared(VersionName::new(&name).map_err(|e| invalid(&e))?),
        written @ Value::Object(_) => desk.sidecar.candidate(&model, written)?,
        _ => return Err(AdminError::Invalid(format!("`candidate` is no version: send {EXPECTED}"))),
    };
    let policy = match asked.policy {
        None | Some(Value::Null) => None,
        Some(written) => Some(desk.sidecar.policy(&model, &written)?),
    };
    Ok(Call::Start(Box::new(StartCall {
        model: asked.model,
        candidate,
        policy,
        supersede: asked.supersede,
        by,
    })))
}
