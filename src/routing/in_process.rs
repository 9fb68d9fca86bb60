//! Asking a model in this process: from a request to the protocol that it speaks, and back.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header, request};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::body::RequestBody;
use super::local::LocalVersion;
use super::origin::{Failed, Origin};
use crate::base::{Fault, FaultKind};
use crate::inference::path::{self, Api, GrpcMethod, Segment};
use crate::onnx::http::Asked;
use crate::onnx::{self, Engine};
use crate::wire::grpc;
use crate::wire::grpc_message::{ACCEPTED, GRPC_ACCEPT_ENCODING, Messages};
use crate::wire::grpc_stream::{Ended, only};

/// Room that a body is given before it comes, at most.
const AHEAD: usize = 1024 * 1024;

/// Asks the `engine` of `version`.
pub(super) async fn ask(
    version: &LocalVersion,
    engine: &Arc<Engine>,
    head: request::Parts,
    body: RequestBody,
) -> Result<Response<Origin>, Failed> {
    if grpc::is_grpc(&head.headers) {
        return call(version, engine, &head, body).await;
    }
    ready(engine, body, |body| infer(version, engine, head, body)).await
}

/// Hands the body on if the engine is ready; gives it back if it is not.
async fn ready<T, F: Future<Output = Result<T, Failed>>>(
    engine: &Engine,
    body: RequestBody,
    then: impl FnOnce(RequestBody) -> F,
) -> Result<T, Failed> {
    match engine.signature() {
        Ok(_) => then(body).await,
        Err(error) => {
            let fault = Fault::new(FaultKind::Unavailable, error.to_string());
            Err(Failed::before_sending(fault, body.into_inner()))
        }
    }
}

/// A REST call.
async fn infer(
    version: &LocalVersion,
    engine: &Engine,
    head: request::Parts,
    body: RequestBody,
) -> Result<Response<Origin>, Failed> {
    let whole = whole(body, engine.spec().max_body_bytes).await?;
    let path = head.uri.path();
    let api = path::parse(path);
    let named = api.model().and_then(Segment::decode).unwrap_or_default();
    let asked = Asked {
        model: &named,
        one_version: api.version().is_some(),
        family: version.family.as_deref(),
        action: onnx::http::action(path),
    };
    let mut response = onnx::http::answer(engine, &asked, &head.method, &head.headers, whole).await;
    match response.extensions_mut().remove::<Fault>() {
        Some(fault) if is_ours(&fault) => Err(Failed { fault, unsent: None }),
        _ => Ok(response.map(|body| Origin::Full(Some(body)))),
    }
}

/// What kept the model from running is a fault like an upstream's; what the model or the client did
/// wrong is an answer.
fn is_ours(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Overloaded | FaultKind::Unavailable | FaultKind::DeadlineExceeded)
}

/// What the client did wrong, and whose gRPC status says that a server failed: it is a fault, so that it
/// is counted by its kind.
fn is_refusal(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::PayloadTooLarge | FaultKind::NotImplemented)
}

/// The whole body, in one piece: as it came where it is one already.
async fn whole(mut body: RequestBody, limit: usize) -> Result<Bytes, Failed> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| Failed { fault, unsent: None })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(all.len()).saturating_add(data.len()) > limit {
            let detail =
                format!("the body is longer than the {limit} bytes that the model takes (maxBodyBytes)");
            return Err(Failed { fault: Fault::new(FaultKind::PayloadTooLarge, detail), unsent: None });
        }
        if all.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            let coming = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(AHEAD);
            all.reserve(first.len() + data.len() + coming);
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A gRPC call.
async fn call(
    version: &LocalVersion,
    engine: &Arc<Engine>,
    head: &request::Parts,
    body: RequestBody,
) -> Result<Response<Origin>, Failed> {
    let family = &version.family;
    let method = match path::parse(head.uri.path()) {
        Api::Grpc(method) if method != GrpcMethod::Other => method,
        _ => return Err(Failed { fault: onnx::grpc::unknown_method(), unsent: None }),
    };
    if method == GrpcMethod::ModelStreamInfer {
        return ready(engine, body, async |body| {
            let deadline = grpc::timeout(&head.headers).and_then(|own| Instant::now().checked_add(own));
            let frames = onnx::grpc::stream(engine.clone(), family.clone(), &head.headers, body, deadline);
            Ok(answered(Origin::stream(frames)))
        })
        .await;
    }
    let answer = async |body| {
        let limit =
            if method == GrpcMethod::ModelInfer { engine.spec().max_body_bytes } else { onnx::grpc::SMALL };
        let message = match only(Messages::new(&head.headers, limit), body).await {
            Ok(message) => message,
            Err(Ended::Status(fault)) if !is_refusal(&fault) => return Ok(refused(&fault)),
            Err(Ended::Status(fault) | Ended::Broken(fault)) => return Err(Failed { fault, unsent: None }),
        };
        match onnx::grpc::answer(engine, family.as_deref(), method, message).await {
            Ok(message) => Ok(answered(Origin::message(message))),
            Err(fault) if is_ours(&fault) || is_refusal(&fault) => Err(Failed { fault, unsent: None }),
            Err(fault) => Ok(refused(&fault)),
        }
    };
    match onnx::grpc::asks_how_it_is(method) {
        true => answer(body).await,
        false => ready(engine, body, answer).await,
    }
}

/// The head of a gRPC answer.
pub fn answered(body: Origin) -> Response<Origin> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    response
}

/// A gRPC answer of trailers alone.
pub fn refused(fault: &Fault) -> Response<Origin> {
    let mut response = answered(Origin::Full(None));
    grpc::put_status(response.headers_mut(), fault.kind.grpc_status(), &fault.detail);
    response
}
