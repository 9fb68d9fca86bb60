//! gRPC calls on a model in process: the methods of `inference.GRPCInferenceService` that name a model.
//!
//! Whoever chose the engine has read the names as far as it could; here they are judged, because only
//! here the message is open for certain. Calls about the server as a whole are answered where all
//! models are known. `ModelStreamInfer` is Triton's, not decoupled: one answer for each request, in
//! order, and an error in one of them is an answer as well.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use prost::Message;
use tokio::time::{Instant, sleep_until};

use crate::base::{Fault, FaultKind};
use crate::inference::path::GrpcMethod;
use crate::inference::tensor::Tensor;
use crate::inference::v2_grpc::about::{ModelAndVersion, YesOrNo};
use crate::inference::v2_grpc::infer::{self, InferRequest};
use crate::inference::v2_grpc::triton::ModelConfigAnswer;
use crate::inference::v2_json::InferAnswer;
use crate::wire::body::ByteBody;
use crate::wire::grpc_message::{Messages, frame};
use crate::wire::grpc_stream::{Ended, ending, received};

use super::choice::{self, Choice};
use super::describe;
use super::engine::{Engine, State};
use super::family::Family;

/// Messages larger than this, in bytes, are read and written on a blocking thread, because the
/// caller's thread serves other connections. They are mostly copied, so this is much.
const LARGE: usize = 4 * 1024 * 1024;

/// Requests of one stream that are under way at the same time.
const AT_ONCE: usize = 8;

/// Longest message of a call that does not infer, in bytes.
pub const SMALL: usize = 64 * 1024;

/// Whether a version answers a method even while it is not ready: what asks how it is.
pub fn asks_how_it_is(method: GrpcMethod) -> bool {
    matches!(method, GrpcMethod::ModelReady | GrpcMethod::ModelStatistics)
}

/// Answers a call with one message each way; the answer is in its frame.
///
/// # Errors
/// The [`Fault`] that says the status.
///
/// # Cancel safety
/// A request whose future is dropped while it waits for a session is never run.
pub async fn answer(
    engine: &Engine,
    family: Option<&Family>,
    method: GrpcMethod,
    message: Bytes,
) -> Result<Bytes, Fault> {
    if method == GrpcMethod::ModelInfer {
        let Inferred { request, engine, choice, outputs } = run(engine, family, message).await?;
        return write(&engine, request, choice, outputs, false).await;
    }
    if matches!(method, GrpcMethod::ModelStreamInfer | GrpcMethod::Other) {
        return Err(unknown_method());
    }
    let asked = read::<ModelAndVersion>(message)?;
    // Statistics of no model are those of all.
    let of_all = method == GrpcMethod::ModelStatistics && asked.name.is_empty();
    let other = if of_all { None } else { named(engine, family, &asked.name, &asked.version)? };
    let engine = other.as_deref().unwrap_or(engine);
    let model = match (asked.name.as_str(), family) {
        ("", Some(family)) => family.name(),
        (name, _) => name,
    };
    match method {
        GrpcMethod::ModelReady => reply(&YesOrNo { yes: engine.state() == State::Ready }),
        GrpcMethod::ModelMetadata => reply(&describe::metadata(model, family, engine)?),
        GrpcMethod::ModelConfig => {
            reply(&ModelConfigAnswer { config: Some(describe::config(model, engine)?) })
        }
        _ => {
            let family = family.filter(|_| asked.version.is_empty());
            reply(&describe::statistics(model, family, engine))
        }
    }
}

/// A call that nobody answers.
pub fn unknown_method() -> Fault {
    Fault::new(FaultKind::NotImplemented, "no such method: ask reflection for those there are")
}

/// A message of a call that does not infer.
///
/// # Errors
/// `BadRequest` for what is no such message.
pub fn read<M: Message + Default>(message: Bytes) -> Result<M, Fault> {
    M::decode(message).map_err(|error| Fault::new(FaultKind::BadRequest, format!("the request: {error}")))
}

/// A small message in its frame.
///
/// # Errors
/// As [`frame`].
pub fn reply(message: &impl Message) -> Result<Bytes, Fault> {
    frame(message.encoded_len(), |out| out.extend_from_slice(&message.encode_to_vec()))
}

/// The engine that a message means, where it is not the one that was chosen: a version is named that
/// could not be read ahead.
fn named(
    engine: &Engine,
    family: Option<&Family>,
    model: &str,
    version: &str,
) -> Result<Option<Arc<Engine>>, Fault> {
    // Beside model servers, names are theirs.
    let Some(family) = family else { return Ok(None) };
    if !family.is_called(model) {
        let detail = format!("there is no model {:?} here, expected {:?}", shorten(model), family.name());
        return Err(Fault::new(FaultKind::NoRoute, detail));
    }
    let is = |engine: &Engine| version.is_empty() || engine.spec().version.to_string() == version;
    if is(engine) {
        return Ok(None);
    }
    family.engines().iter().find(|engine| is(engine)).cloned().map(Some).ok_or_else(|| {
        let known: Vec<_> = family.versions().iter().map(u64::to_string).collect();
        let detail = format!(
            "model {:?} has no version {:?}, expected {}",
            family.name(),
            shorten(version),
            known.join(", ")
        );
        Fault::new(FaultKind::NoRoute, detail)
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

/// A request and what the model made of it.
struct Inferred<'a> {
    request: InferRequest,
    engine: Chosen<'a>,
    choice: Choice,
    outputs: Vec<Tensor>,
}

/// The engine that answers: the one that was chosen, or another version that the message names.
enum Chosen<'a> {
    Given(&'a Engine),
    Other(Arc<Engine>),
}

impl std::ops::Deref for Chosen<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Given(engine) => engine,
            Self::Other(engine) => engine,
        }
    }
}

async fn run<'a>(engine: &'a Engine, family: Option<&Family>, message: Bytes) -> Result<Inferred<'a>, Fault> {
    let decoded = offload(message.len(), move || infer::decode(&message)).await?;
    let mut request = decoded.map_err(|error| Fault::new(FaultKind::BadRequest, error.to_string()))?;
    let other = named(engine, family, &request.model, &request.version)?;
    let engine = other.map_or(Chosen::Given(engine), Chosen::Other);
    let choice = choice::choose(engine.signature()?, request.outputs.iter().map(String::as_str))?;
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = engine.infer(inputs, choice::deadline(request.timeout)).await?;
    Ok(Inferred { request, engine, choice, outputs })
}

/// The answer in its frame, as an item of a stream if `in_stream`.
async fn write(
    engine: &Engine,
    request: InferRequest,
    choice: Choice,
    outputs: Vec<Tensor>,
    in_stream: bool,
) -> Result<Bytes, Fault> {
    let version = engine.spec().version.to_string();
    let started = std::time::Instant::now();
    let written = offload(outputs.iter().map(Tensor::size).sum(), move || {
        let id = Some(request.id.as_str());
        let about = InferAnswer { model_name: &request.model, model_version: &version, id };
        let answer = infer::Answer::new(about, choice.of(&outputs).collect(), request.raw);
        if in_stream {
            frame(answer.size_in_stream(), |out| answer.write_in_stream(out))
        } else {
            frame(answer.size(), |out| answer.write(out))
        }
    });
    let written = written.await?;
    engine.encoded(started.elapsed());
    written
}

/// Runs `work` here when it is small, on a blocking thread when `bytes` says that it is not.
async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    if bytes <= LARGE {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Fault::new(FaultKind::Internal, "reading or writing the tensors failed"))
}

/// Answers `ModelStreamInfer`: the frames of the answer's body, trailers last. A fault of the body ends
/// the answer without any.
///
/// At most `AT_ONCE` requests are under way, and the body is not read beyond them.
pub fn stream<B: ByteBody>(
    engine: Arc<Engine>,
    family: Option<Arc<Family>>,
    headers: &HeaderMap,
    body: B,
    deadline: Option<Instant>,
) -> impl Stream<Item = Result<Frame<Bytes>, Fault>> + use<B> {
    let messages = Messages::new(headers, engine.spec().max_body_bytes);
    let answers = received(body, messages).map(move |message| {
        let (engine, family) = (Arc::clone(&engine), family.clone());
        async move { streamed(&engine, family.as_deref(), message?).await }
    });
    let expired = stream::once(async move {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => std::future::pending().await,
        }
        let detail = "the deadline passed before the stream ended";
        Some(Err(Ended::Status(Fault::new(FaultKind::DeadlineExceeded, detail))))
    });
    // Whichever speaks first; the end of the answers is the end, whatever time is left.
    let answers = answers.buffered(AT_ONCE).map(Some).chain(stream::once(std::future::ready(None)));
    ending(
        stream::select(answers, expired)
            .take_while(|item| std::future::ready(item.is_some()))
            .filter_map(std::future::ready),
    )
}

/// The answer to one request of a stream, whether it went well or not.
async fn streamed(engine: &Engine, family: Option<&Family>, message: Bytes) -> Result<Bytes, Ended> {
    let id = infer::id(&message);
    let answered = match run(engine, family, message).await {
        Ok(Inferred { request, engine, choice, outputs }) => {
            write(&engine, request, choice, outputs, true).await
        }
        Err(fault) => Err(fault),
    };
    let answered = answered.or_else(|fault| {
        let error = infer::stream_error(&fault.detail, &id);
        frame(error.len(), |out| out.extend_from_slice(&error))
    });
    answered.map_err(Ended::Status)
}

#[cfg(test)]
mod tests;
