//! Health, metrics, status, and reading the configuration again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::json;

use super::answers::Answer;
use super::desk::Desk;
use super::status::Status;
use super::{document, index, metrics, schema};

type Shared = State<Arc<Desk>>;

/// A page for people
///
/// What can be asked here, in a few lines.
#[utoipa::path(
    get, path = "/", operation_id = "index", tag = "sidecar",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn index() -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, index::POLICY)];
    (headers, index::PAGE).into_response()
}

/// Whether the process is alive
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "sidecar", security(()),
    responses((status = 200, description = "It is", body = schema::Health))
)]
pub(super) async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// Whether traffic should be sent here
#[utoipa::path(
    get, path = "/readyz", operation_id = "readiness", tag = "sidecar", security(()),
    responses(
        (status = 200, description = "It should", body = schema::Readiness),
        (status = 503, description = "It should not, and why", body = schema::Readiness),
    )
)]
pub(super) async fn readyz(State(desk): Shared) -> Response {
    let readiness = desk.sidecar.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Everything that is measured, for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "sidecar", security(()),
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(desk): Shared) -> Response {
    let page = metrics::page(desk.sidecar.as_ref(), &desk.access);
    ([(CONTENT_TYPE, document::CONTENT_TYPE)], page).into_response()
}

/// How things stand
///
/// Models, versions, weights, counts, latencies and mirrors.
#[utoipa::path(
    get, path = "/api/v1/status", operation_id = "status", tag = "sidecar",
    responses((status = 200, description = "The status", body = schema::Status))
)]
pub(super) async fn status(State(desk): Shared) -> Response {
    let sidecar = &desk.sidecar;
    let (live, readiness, merged) = (sidecar.live(), sidecar.readiness(), sidecar.registry().merged());
    Json(Status::new(live, &readiness, &merged)).into_response()
}

/// Read the configuration again
///
/// It is applied as a whole, or refused as a whole, and then the old one stays.
#[utoipa::path(
    post, path = "/api/v1/config/reload", operation_id = "reloadConfig", tag = "sidecar",
    responses(
        (status = 200, description = "What is in force now", body = schema::Reloaded),
        (status = 400, description = "The configuration is wrong", body = schema::Error),
        (status = 409, description = "The process is ending", body = schema::Error),
    )
)]
pub(super) async fn reload(State(desk): Shared) -> Answer {
    Ok(Json(desk.change(|desk| desk.sidecar.reload()).await?).into_response())
}
