//! The few questions that Switchback answers itself: about the server as a whole, where no model
//! server takes them. `/v2/health/live`, `/v2/health/ready` and `/v2` (Open Inference Protocol).

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request};

use super::route;
use crate::base::Role;
use crate::inference::path::{self, Api};
use crate::routing::local::LocalTable;
use crate::routing::matcher::{Found, Named};
use crate::routing::table::Backend;

/// The answer, where the question is one of these and no model's.
pub(super) fn answer(table: &LocalTable, head: &request::Parts) -> Option<Response<Bytes>> {
    let path = head.uri.path();
    if !matches!(path::parse(path), Api::Server) || !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let host = route::host(&table.table.matcher, head);
    match table.table.matcher.find(host, path, &head.headers, Named::Known(None)) {
        Found::Nothing => {}
        // A model in process has no server of its own to ask.
        Found::Model(index) if is_in_process(table, index) => {}
        _ => return None,
    }
    match path.trim_end_matches('/') {
        "/v2" => Some(json(
            StatusCode::OK,
            &serde_json::json!({
                "name": "switchback",
                "version": env!("CARGO_PKG_VERSION"),
                "extensions": [],
            }),
        )),
        "/v2/health/live" => Some(json(StatusCode::OK, &serde_json::json!({"live": true}))),
        "/v2/health/ready" => {
            let ready = is_ready(table);
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Some(json(status, &serde_json::json!({ "ready": ready })))
        }
        _ => None,
    }
}

/// Whether the stable version of the model at `index` is served in this process.
fn is_in_process(table: &LocalTable, index: usize) -> bool {
    let model = table.models.get(index);
    let stable = model.and_then(|m| m.versions.get(m.model.stable));
    stable.is_some_and(|v| matches!(v.version.backend, Backend::Onnx(_)))
}

/// Whether every model's stable version can serve.
fn is_ready(table: &LocalTable) -> bool {
    let versions = table.models.iter().flat_map(|m| &m.versions);
    versions.filter(|v| v.version.spec.role == Role::Stable).all(|v| v.version.ready().is_ok())
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
