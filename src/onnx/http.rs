//! REST calls on a model in process: Open Inference Protocol v2 and V1, JSON in and out.
//!
//! The model and version that a path names were judged by whoever chose the engine; the answer bears
//! the name that the client used and the version that really answered. No `Content-Type` is asked for. Every error is `{"error": "..."}`, and its
//! [`FaultKind`] stands in the response's extensions, beside its [`Fault`] where the call was refused. Not here yet, and refused with a line that
//! says so: the binary tensor extension and compressed request bodies.
//!
//! A model that is not ready is 503, as KServe answers; Triton answers 400, which a load balancer
//! would read as the client's mistake.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::time::Instant;

use crate::base::{Fault, FaultKind};
use crate::inference::tensor::Tensor;
use crate::inference::v1;
use crate::inference::v2_json::{self, EncodeError, InferAnswer, InvalidRequest, RequestedOutput};

use super::describe;
use super::engine::{Engine, State};
use super::error::EngineError;
use super::signature::Signature;

/// Bodies and outputs larger than this, in bytes, are decoded and encoded on a blocking thread,
/// because the caller's thread serves other connections.
const LARGE: usize = 256 * 1024;

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
    /// The version that the path names. It is not judged here: which version answers is the
    /// split's decision, and the answer names the one that did.
    pub version: Option<&'a str>,
    /// What is asked.
    pub action: Action,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
}

/// What `path` (without query) asks of a model.
pub fn action(path: &str) -> Action {
    let mut segments = path.split('/').skip(1);
    let protocol = segments.next();
    if segments.next() != Some("models") {
        return Action::Other;
    }
    let (Some(model), mut rest) = (segments.next(), segments.next()) else { return Action::Other };
    let mut last = model;
    if rest == Some("versions") {
        let Some(version) = segments.next() else { return Action::Other };
        last = version;
        rest = segments.next();
    }
    if last.is_empty() || segments.next().is_some() {
        return Action::Other;
    }
    // A colon is part of a name unless a verb that we know follows it.
    let predict = last.strip_suffix(":predict");
    match (protocol, rest) {
        (Some("v2"), Some("infer")) => Action::Infer,
        (Some("v2"), Some("ready")) => Action::Ready,
        (Some("v2"), None) => Action::Metadata,
        (Some("v1"), None) if predict == Some("") => Action::Other,
        (Some("v1"), None) if predict.is_some() => Action::V1Predict,
        (Some("v1"), None) => Action::V1Status,
        (Some("v1"), Some("metadata")) => Action::V1Metadata,
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
                "this model answers /v2/models/{model}, .../ready, .../infer and \
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
    match asked.action {
        Action::Infer => respond(infer(engine, asked, headers, body).await),
        Action::V1Predict => respond(predict(engine, asked, headers, body).await),
        _ => about(engine, asked),
    }
}

/// Calls that ask about the model.
fn about(engine: &Engine, asked: &Asked<'_>) -> Response<Bytes> {
    let version = version(engine);
    let state = engine.state();
    let (document, must_be_ready) = match (asked.action, engine.signature()) {
        (Action::Metadata, Ok(signature)) => (describe::v2_metadata(asked.model, &version, signature), false),
        (Action::V1Metadata, Ok(signature)) => {
            (describe::v1_metadata(asked.model, &version, signature), false)
        }
        (Action::Metadata | Action::V1Metadata, Err(error)) => {
            return Refusal::from(error).into_response();
        }
        (Action::V1Status, _) => (describe::v1_status(asked.model, &version, &state), true),
        _ => (describe::v2_ready(asked.model, &state), true),
    };
    let mut response = json(Bytes::from(document.to_string()));
    if must_be_ready && state != State::Ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.extensions_mut().insert(FaultKind::Unavailable);
    }
    response
}

async fn infer(
    engine: &Engine,
    asked: &Asked<'_>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, Refusal> {
    let signature = engine.signature()?;
    refuse_unsupported(engine, headers, &body)?;
    let request = offload(body.len(), move || v2_json::decode(&body)).await??;
    let chosen = choose(signature, &request.outputs)?;
    let outputs = engine.infer(request.inputs, asked.deadline).await?;
    let (model, version) = (asked.model.to_owned(), version(engine));
    offload(outputs.iter().map(Tensor::size).sum(), move || {
        let answer = InferAnswer { model_name: &model, model_version: &version, id: request.id.as_deref() };
        match chosen {
            None => v2_json::encode(answer, &outputs),
            Some(chosen) => v2_json::encode(answer, chosen.into_iter().filter_map(|at| outputs.get(at))),
        }
    })
    .await?
    .map_err(Refusal::from)
}

async fn predict(
    engine: &Engine,
    asked: &Asked<'_>,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, Refusal> {
    let signature = engine.signature()?;
    refuse_unsupported(engine, headers, &body)?;
    let slots: Vec<_> = signature.inputs.iter().map(|slot| (slot.name.clone(), slot.dtype)).collect();
    let request = offload(body.len(), move || {
        let types: Vec<_> = slots.iter().map(|(name, dtype)| v1::InputType { name, dtype: *dtype }).collect();
        v1::decode(&body, &types)
    })
    .await??;
    let outputs = engine.infer(request.inputs, asked.deadline).await?;
    offload(outputs.iter().map(Tensor::size).sum(), move || v1::encode(request.form, &outputs))
        .await?
        .map_err(Refusal::from)
}

/// What is read from a request before its body.
fn refuse_unsupported(engine: &Engine, headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
    let limit = engine.spec().max_body_bytes;
    if body.len() > limit {
        let detail = format!("the request body has {} bytes, the limit is {limit}", body.len());
        return Err(Fault::new(FaultKind::PayloadTooLarge, detail).into());
    }
    if headers.contains_key(&BINARY_HEADER) {
        let detail = "the binary tensor extension is not supported here yet, send the tensors as JSON";
        return Err(Fault::new(FaultKind::BadRequest, detail).into());
    }
    let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if let Some(coding) = headers.get_all(CONTENT_ENCODING).iter().find(|coding| !identity(coding)) {
        // RFC 9110 section 15.5.16: Accept-Encoding says that the coding was the reason.
        return Err(Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            header: Some((ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            fault: Fault::new(
                FaultKind::BadRequest,
                format!(
                    "request bodies in content-encoding {coding:?} are not supported here yet, send it plain"
                ),
            ),
        });
    }
    Ok(())
}

/// Positions of the outputs asked for, in that order; none for all of them.
fn choose(signature: &Signature, asked: &[RequestedOutput]) -> Result<Option<Vec<usize>>, Fault> {
    if asked.is_empty() {
        return Ok(None);
    }
    let position = |output: &RequestedOutput| {
        signature.outputs.iter().position(|slot| slot.name == output.name).ok_or_else(|| {
            let names: Vec<_> = signature.outputs.iter().map(|slot| format!("{:?}", slot.name)).collect();
            let detail = format!("unknown output {:?}, expected {}", output.name, names.join(", "));
            Fault::new(FaultKind::BadRequest, detail)
        })
    };
    asked.iter().map(position).collect::<Result<_, _>>().map(Some)
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

fn respond(outcome: Result<Vec<u8>, Refusal>) -> Response<Bytes> {
    match outcome {
        Ok(body) => json(body.into()),
        Err(refusal) => refusal.into_response(),
    }
}

fn json(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that is an error.
struct Refusal {
    status: StatusCode,
    header: Option<(HeaderName, HeaderValue)>,
    fault: Fault,
}

impl Refusal {
    fn into_response(self) -> Response<Bytes> {
        let body = serde_json::json!({"error": self.fault.detail}).to_string();
        let mut response = json(body.into());
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.header);
        response.extensions_mut().insert(self.fault.kind);
        response.extensions_mut().insert(self.fault);
        response
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(fault.kind.http_status());
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), header: None, fault }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Fault::from(error).into()
    }
}

impl From<InvalidRequest> for Refusal {
    fn from(error: InvalidRequest) -> Self {
        Fault::new(FaultKind::BadRequest, error.to_string()).into()
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        let kind = match error {
            // The model's doing: it counts against the version that answered.
            EncodeError::NotFinite { .. } => FaultKind::Internal,
            EncodeError::NotRows { .. } => FaultKind::BadRequest,
        };
        Fault::new(kind, error.to_string()).into()
    }
}

#[cfg(test)]
mod tests;
