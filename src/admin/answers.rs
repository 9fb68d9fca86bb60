//! How requests are read and errors are written. Errors are `{"error": "..."}`.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

use super::sidecar::AdminError;

/// Longest request body.
const BODY_BYTES: usize = 1024 * 1024;

/// For a whole request body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a handler gives.
pub(super) type Answer = Result<Response, AdminError>;

/// An error and why.
pub(super) fn error(status: StatusCode, line: &str) -> Response {
    (status, Json(json!({"error": line}))).into_response()
}

/// A document that is JSON text already.
pub(super) fn document(text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// JSON text that was kept, to stand in a document. `null` where it is damaged.
pub(super) fn kept(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The whole body, if it is short enough and arrives in time.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, "the body did not arrive whole or is longer than 1 MiB"))
        }
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s")),
    }
}

/// The JSON in `body`; nothing at all is `{}`. `expected` says in an error what would have been right.
///
/// # Errors
/// [`AdminError::Invalid`].
pub(super) fn parse<T: DeserializeOwned>(body: &[u8], expected: &str) -> Result<T, AdminError> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { &b"{}"[..] } else { body };
    serde_json::from_slice(body)
        .map_err(|e| AdminError::Invalid(format!("the body is not what is expected ({e}): send {expected}")))
}

/// What a query asks for.
///
/// # Errors
/// [`AdminError::Invalid`] where it does not read as one.
pub(super) fn wanted<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, AdminError> {
    query.map(|Query(wanted)| wanted).map_err(|e| AdminError::Invalid(e.body_text()))
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::KeyReused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut response = error(status, &self.to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
