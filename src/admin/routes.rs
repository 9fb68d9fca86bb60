//! What can be asked of the operator's side, and the answers. Errors are `{"error": "..."}`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::json;

use super::document;
use super::guard::{self, Reach};
use super::index;
use super::metrics;
use super::sidecar::{AdminError, Sidecar};
use super::status::Status;

/// Longest request body.
const BODY_BYTES: usize = 1024 * 1024;

/// For a whole request body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

type Shared = State<Arc<dyn Sidecar>>;

/// Every route, behind the guard.
pub(super) fn router(sidecar: Arc<dyn Sidecar>, reach: Reach) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/models/{model}/weights", put(weights))
        .route("/api/v1/config/reload", post(reload))
        .fallback(async || error(StatusCode::NOT_FOUND, "no such path: GET / lists what there is"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(middleware::from_fn(move |request, next| guarded(reach, request, next)))
        .with_state(sidecar)
}

async fn guarded(reach: Reach, request: Request, next: Next) -> Response {
    let refused = guard::refusal(reach, request.method(), request.uri().path(), request.headers());
    let mut response = match refused {
        Some(reason) => error(StatusCode::FORBIDDEN, reason),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn index() -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, index::POLICY)];
    (headers, index::PAGE).into_response()
}

async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

async fn readyz(State(sidecar): Shared) -> Response {
    let readiness = sidecar.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(sidecar): Shared) -> Response {
    let page = metrics::page(&sidecar.live(), &sidecar.readiness(), &sidecar.registry().merged());
    ([(CONTENT_TYPE, document::CONTENT_TYPE)], page).into_response()
}

async fn status(State(sidecar): Shared) -> Response {
    let (live, readiness, merged) = (sidecar.live(), sidecar.readiness(), sidecar.registry().merged());
    Json(Status::new(live, &readiness, &merged)).into_response()
}

async fn weights(State(sidecar): Shared, Path(model): Path<String>, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let weights = match serde_json::from_slice::<WeightsBody>(&body) {
        Ok(body) => body.weights.0,
        Err(e) => {
            let line = format!(
                "the body is not what is expected ({e}): send {{\"weights\": {{\"v1\": \"90%\", \"v2\": \"10%\"}}}}"
            );
            return error(StatusCode::BAD_REQUEST, &line);
        }
    };
    blocking(move || {
        let weights = sidecar.set_weights(&model, &weights)?;
        let weights: serde_json::Map<_, _> =
            weights.iter().map(|(name, weight)| (name.to_string(), weight.to_string().into())).collect();
        Ok(json!({"model": model, "weights": weights}))
    })
    .await
}

async fn reload(State(sidecar): Shared) -> Response {
    blocking(move || sidecar.reload()).await
}

/// Runs a change on a thread where it may block. It is finished even if the client leaves.
async fn blocking<T, F>(change: F) -> Response
where
    T: serde::Serialize + Send + 'static,
    F: FnOnce() -> Result<T, AdminError> + Send + 'static,
{
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(refused)) => refused.into_response(),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "the change failed; the log has more"),
    }
}

/// The whole body, if it is short enough and arrives in time.
async fn read(body: Body) -> Result<bytes::Bytes, Response> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, "the body did not arrive whole or is longer than 1 MiB"))
        }
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s")),
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        error(status, &self.to_string())
    }
}

fn error(status: StatusCode, line: &str) -> Response {
    (status, Json(json!({"error": line}))).into_response()
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsBody {
    weights: Pairs,
}

/// The pairs of a JSON object in their order. A name that stands twice is refused: which of the
/// two was meant, nobody can know.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of version names and weights such as \"10%\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        while let Some((name, weight)) = map.next_entry::<String, String>()? {
            // Names are few (the body is bounded), and sorting them would lose their order.
            if pairs.len() >= 1024 {
                return Err(serde::de::Error::custom("more than 1024 versions"));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom(format_args!("the version {name:?} stands twice")));
            }
            pairs.push((name, weight));
        }
        Ok(Pairs(pairs))
    }
}
