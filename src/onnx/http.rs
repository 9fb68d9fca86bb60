//! REST calls on a model in process: the Open Inference Protocol v2 with the binary tensor extension,
//! Triton's configuration and statistics, and V1.
//!
//! The model and version that a path names were judged by whoever chose the engine; the answer bears
//! the name that the client used and the version that really answered. No `Content-Type` is asked
//! for. Every error is `{"error": "..."}`, and its [`FaultKind`] stands in the response's extensions,
//! beside its [`Fault`] where the call was refused. `coding` undoes and does compression.
//!
//! A model that is not ready is 503, as KServe answers; Triton answers 400, which a load balancer
//! would read as the client's mistake.

mod coding;
mod refusal;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::base::{Fault, FaultKind};
use crate::inference::path::{self, Api};
use crate::inference::tensor::Tensor;
use crate::inference::v1;
use crate::inference::v2_json::{self, InferAnswer, InferRequest};

use self::refusal::Refusal;
use super::choice;
use super::describe;
use super::engine::{Engine, State};
use super::family::Family;

/// Bodies and outputs of text larger than this, in bytes, are decoded and encoded on a blocking
/// thread, because the caller's thread serves other connections.
const LARGE: usize = 256 * 1024;
/// The same for binary data, which is only copied.
const LARGE_BINARY: usize = 4 * 1024 * 1024;

static BINARY_HEADER: HeaderName = HeaderName::from_static("inference-header-content-length");

/// What a path asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `POST /v2/models/{model}[/versions/{version}]/infer`
    Infer,
    /// `GET /v2/models/{model}[/versions/{version}]`
    Metadata,
    /// `GET /v2/models/{model}[/versions/{version}]/ready`
    Ready,
    /// `GET /v2/models/{model}[/versions/{version}]/config`
    Config,
    /// `GET /v2/models/{model}[/versions/{version}]/stats`
    Stats,
    /// `POST /v1/models/{model}[/versions/{version}]:predict`
    V1Predict,
    /// `GET /v1/models/{model}[/versions/{version}]`
    V1Status,
    /// `GET /v1/models/{model}[/versions/{version}]/metadata`
    V1Metadata,
    /// Anything else.
    Other,
}

/// A call on a model.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name by which the client calls the model; the answer bears it.
    pub model: &'a str,
    /// Whether the client named a version, so that the engine's alone is meant.
    pub one_version: bool,
    /// The model's versions, where all of them are in this process.
    pub family: Option<&'a Family>,
    /// What is asked.
    pub action: Action,
}

/// What `path` (without query) asks of a model.
pub fn action(path: &str) -> Action {
    match path::parse(path) {
        Api::V2(call) => match call.action {
            path::Action::Infer => Action::Infer,
            path::Action::Ready => Action::Ready,
            path::Action::Metadata => Action::Metadata,
            path::Action::Config => Action::Config,
            path::Action::Stats => Action::Stats,
            _ => Action::Other,
        },
        Api::V1(call) => match call.tail {
            ":predict" => Action::V1Predict,
            "/metadata" => Action::V1Metadata,
            "" | "/" => Action::V1Status,
            _ => Action::Other,
        },
        _ => Action::Other,
    }
}

/// Answers a call. `body` is the whole request body.
///
/// # Cancel safety
/// A request whose future is dropped while it waits for a session is never run.
pub async fn answer(
    engine: &Engine,
    asked: &Asked<'_>,
    method: &Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Bytes> {
    let (allowed, is_allowed) = match asked.action {
        Action::Other => {
            return Refusal::from(Fault::new(
                FaultKind::NoRoute,
                "this model answers /v2/models/{model}, .../ready, .../infer, .../config, .../stats and \
                 /v1/models/{model}, .../metadata, :predict",
            ))
            .into_response();
        }
        Action::Infer | Action::V1Predict => ("POST", method == Method::POST),
        _ => ("GET, HEAD", method == Method::GET || method == Method::HEAD),
    };
    if !is_allowed {
        return Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            header: Some((ALLOW, HeaderValue::from_static(allowed))),
            fault: Fault::new(FaultKind::BadRequest, format!("{method} is not allowed here, use {allowed}")),
        }
        .into_response();
    }
    let answered = match asked.action {
        Action::Infer => infer(engine, asked, headers, body).await,
        Action::V1Predict => predict(engine, headers, body).await,
        _ => about(engine, asked),
    };
    answered.unwrap_or_else(Refusal::into_response)
}

/// Calls that ask about the model.
fn about(engine: &Engine, asked: &Asked<'_>) -> Result<Response<Bytes>, Refusal> {
    let version = version(engine);
    let state = engine.state();
    let family = asked.family.filter(|_| !asked.one_version);
    let document = match asked.action {
        Action::Metadata => text(&describe::metadata(asked.model, asked.family, engine)?),
        Action::Config => text(&describe::config(asked.model, engine)?),
        Action::Stats => text(&describe::statistics(asked.model, family, engine)),
        Action::V1Metadata => text(&describe::v1_metadata(asked.model, &version, engine.signature()?)),
        Action::V1Status => text(&describe::v1_status(asked.model, &version, &state)),
        _ => text(&describe::v2_ready(asked.model, &state)),
    };
    let mut response = json(document);
    if matches!(asked.action, Action::Ready | Action::V1Status) && state != State::Ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.extensions_mut().insert(FaultKind::Unavailable);
    }
    Ok(response)
}

async fn infer(
    engine: &Engine,
    asked: &Asked<'_>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response<Bytes>, Refusal> {
    let signature = engine.signature()?;
    let coding = coding::of_request(headers, &body, engine.spec().max_body_bytes)?;
    let length = binary_header(headers)?;
    // Of a body with binary data only the JSON is work.
    let (work, large) = (length.unwrap_or(body.len()), body.len() > LARGE_BINARY || coding.is_some());
    let limit = engine.spec().max_body_bytes;
    let request: InferRequest = offload(if large { body.len() } else { work }, move || {
        let body = coding::undo(coding.as_deref(), &body, limit)?;
        v2_json::decode_mixed(&body, length).map_err(Refusal::from)
    })
    .await??;
    let names = request.outputs.iter().map(|output| output.name.as_str());
    let chosen = choice::choose(signature, names)?;
    let outputs = engine.infer(request.inputs, choice::deadline(request.timeout)).await?;

    let (model, version) = (asked.model.to_owned(), version(engine));
    let (binary, wanted) = (request.binary_outputs, request.outputs);
    let is_binary = move |at: usize| wanted.get(at).map_or(binary, |output| output.binary);
    let work: usize =
        chosen.of(&outputs).enumerate().filter(|(at, _)| !is_binary(*at)).map(|(_, t)| t.size()).sum();
    let packed = coding::for_answer(headers);
    let encode = move || {
        let answer = InferAnswer { model_name: &model, model_version: &version, id: request.id.as_deref() };
        let outputs = chosen.of(&outputs).enumerate().map(|(at, tensor)| (tensor, is_binary(at)));
        v2_json::encode_mixed(answer, outputs).map(|encoded| coding::pack(packed, encoded))
    };
    let started = std::time::Instant::now();
    let packed = offload(work, encode).await?.map_err(Refusal::from)?;
    engine.encoded(started.elapsed());
    Ok(packed.into_response())
}

async fn predict(engine: &Engine, headers: &HeaderMap, body: Bytes) -> Result<Response<Bytes>, Refusal> {
    let signature = engine.signature()?;
    let limit = engine.spec().max_body_bytes;
    let coding = coding::of_request(headers, &body, limit)?;
    if binary_header(headers)?.is_some() {
        let detail = "V1 has no binary data: leave Inference-Header-Content-Length out";
        return Err(Fault::new(FaultKind::BadRequest, detail).into());
    }
    let slots: Vec<_> = signature.inputs.iter().map(|slot| (slot.name.clone(), slot.dtype)).collect();
    let request = offload(body.len(), move || {
        let body = coding::undo(coding.as_deref(), &body, limit)?;
        let types: Vec<_> = slots.iter().map(|(name, dtype)| v1::InputType { name, dtype: *dtype }).collect();
        v1::decode(&body, &types).map_err(Refusal::from)
    })
    .await??;
    let outputs = engine.infer(request.inputs, None).await?;
    let packed = coding::for_answer(headers);
    let work = outputs.iter().map(Tensor::size).sum();
    let started = std::time::Instant::now();
    let encode = move || {
        v1::encode(request.form, &outputs)
            .map(|body| coding::pack(packed, v2_json::Encoded { body, json: None }))
    };
    let packed = offload(work, encode).await?.map_err(Refusal::from)?;
    engine.encoded(started.elapsed());
    Ok(packed.into_response())
}

/// Bytes of JSON before binary data, if the client says so.
fn binary_header(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(&BINARY_HEADER) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        let detail = format!("Inference-Header-Content-Length is {value:?}, expected a number of bytes");
        Fault::new(FaultKind::BadRequest, detail)
    })
}

/// The version as the protocols name it: the folder that the model came from.
fn version(engine: &Engine) -> String {
    engine.spec().version.to_string()
}

/// Runs `work` here when it is small, on a blocking thread when `bytes` says that it is not.
async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes <= LARGE {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Fault::new(FaultKind::Internal, "reading or writing the tensors failed").into())
}

/// A document as text. These have string keys and no floats, so nothing can fail.
fn text(document: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(document).unwrap_or_default().into()
}

fn json(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
