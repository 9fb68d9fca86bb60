//! Questions about the server over REST: `/v2`, `/v2/health/live`, `/v2/health/ready`, Triton's
//! `/v2/models/stats` and `/v2/repository/…`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Response, StatusCode, header, request};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use super::{index, is_ready, metadata, repository, statistics};
use crate::base::{Fault, FaultKind};
use crate::proxy::worker::Worker;
use crate::routing::local::LocalTable;
use crate::routing::origin::Origin;
use crate::wire::body::{IdleTimeout, Inbound, Side};

/// Longest body of such a question, in bytes.
const LONGEST: usize = 64 * 1024;
/// Longest standstill of it.
const IDLE: Duration = Duration::from_secs(60);

pub(super) async fn answer(
    worker: &Worker,
    table: &LocalTable,
    head: &request::Parts,
    body: Inbound,
) -> Response<Origin> {
    let path = head.uri.path().trim_end_matches('/');
    match path.strip_prefix("/v2/repository/") {
        Some(asked) => manage(table, asked, head, body).await.unwrap_or_else(|fault| refuse(&fault)),
        None if !matches!(head.method, Method::GET | Method::HEAD) => wrong_method(&head.method, "GET, HEAD"),
        None => tell(worker, table, path),
    }
}

fn tell(worker: &Worker, table: &LocalTable, path: &str) -> Response<Origin> {
    match path {
        "/v2" => json(StatusCode::OK, &metadata(table)),
        "/v2/health/live" => json(StatusCode::OK, &serde_json::json!({"live": true})),
        "/v2/health/ready" => {
            let ready = is_ready(worker, table);
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(status, &serde_json::json!({ "ready": ready }))
        }
        "/v2/models/stats" => json(StatusCode::OK, &statistics(table)),
        _ => refuse(&Fault::new(FaultKind::NoRoute, "there is no such document")),
    }
}

#[derive(Deserialize, Default)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize, Default)]
struct LoadRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

/// Triton's "Model Repository" extension.
async fn manage(
    table: &LocalTable,
    asked: &str,
    head: &request::Parts,
    body: Inbound,
) -> Result<Response<Origin>, Fault> {
    let command = asked.strip_prefix("models/").and_then(|rest| rest.rsplit_once('/'));
    if asked != "index" && !matches!(command, Some((_, "load" | "unload"))) {
        return Err(Fault::new(
            FaultKind::NoRoute,
            "the repository answers /v2/repository/index and /v2/repository/models/{model}/load, unload",
        ));
    }
    if head.method != Method::POST {
        return Ok(wrong_method(&head.method, "POST"));
    }
    let body = read(body).await?;
    let Some((model, command)) = command else {
        let request: IndexRequest = parse(&body)?;
        return Ok(json(StatusCode::OK, &index(table, request.ready)));
    };
    let request: LoadRequest = parse(&body)?;
    if let Some(name) = request.parameters.keys().find(|name| *name == "config" || name.starts_with("file:"))
    {
        let detail = format!("the parameter {name:?} is not supported here: models come from their folders");
        return Err(Fault::new(FaultKind::BadRequest, detail));
    }
    let unknown = || Fault::new(FaultKind::NoRoute, "there is no repository here");
    let repository = repository(table).ok_or_else(unknown)?.clone();
    match command {
        "load" => repository.load(model).await?,
        _ => repository.unload(model).await?,
    }
    Ok(Response::new(Origin::Full(None)))
}

async fn read(body: Inbound) -> Result<Bytes, Fault> {
    let mut body = IdleTimeout::new(body, Some(IDLE), Side::Request);
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.len() + data.len() > LONGEST {
            let detail = format!("the body is longer than {LONGEST} bytes");
            return Err(Fault::new(FaultKind::PayloadTooLarge, detail));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// An empty body asks for what is usual.
fn parse<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| Fault::new(FaultKind::BadRequest, format!("the request body: {error}")))
}

fn refuse(fault: &Fault) -> Response<Origin> {
    let status = StatusCode::from_u16(fault.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, &serde_json::json!({ "error": fault.detail }))
}

fn wrong_method(method: &Method, allowed: &'static str) -> Response<Origin> {
    let error = format!("{method} is not allowed here, use {allowed}");
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, &serde_json::json!({ "error": error }));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json(status: StatusCode, document: &impl Serialize) -> Response<Origin> {
    // Documents of strings and whole numbers: nothing can fail.
    let body = serde_json::to_vec(document).unwrap_or_default();
    let mut response = Response::new(Origin::Full(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
