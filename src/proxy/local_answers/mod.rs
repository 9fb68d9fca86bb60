//! The questions that Switchback answers itself: about the server as a whole, where no model server
//! takes them.
//!
//! These are health, metadata, statistics of all models and the repository of the Open Inference
//! Protocol and Triton, over REST ([`rest`]) and gRPC ([`calls`]), and gRPC's own health and
//! reflection ([`health`]). A rule that gives such a request to a model server wins: then that server
//! is asked. A model in process has no server of its own.

mod calls;
mod health;
mod rest;

use std::rc::Rc;
use std::sync::Arc;

use http::{Response, request};

use super::route;
use super::worker::Worker;
use crate::inference::path::{self, Api, GrpcMethod, GrpcServer};
use crate::inference::v2_grpc::about::ServerMetadata;
use crate::inference::v2_grpc::triton::{ModelIndex, StatisticsAnswer};
use crate::onnx::grpc::unknown_method;
use crate::onnx::repository::Repository;
use crate::onnx::{Engine, State, version_statistics};
use crate::routing::in_process::refused;
use crate::routing::local::LocalTable;
use crate::routing::matcher::{Found, Named};
use crate::routing::origin::Origin;
use crate::routing::table::{Backend, Model};
use crate::wire::body::Inbound;
use crate::wire::grpc;

/// A question that is ours to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Over REST.
    Rest,
    /// Over gRPC.
    Call(GrpcServer),
    /// `ModelStatistics`, whose model may be none: all of them.
    Statistics,
    /// A gRPC method that nobody has.
    Nobodys,
}

/// What a request asks of the server as a whole, where that is ours to answer.
pub(super) fn asked(table: &LocalTable, head: &request::Parts) -> Option<Question> {
    let path = head.uri.path();
    let question = match path::parse(path) {
        Api::Server => Question::Rest,
        Api::GrpcServer(call) => Question::Call(call),
        Api::Grpc(GrpcMethod::ModelStatistics) if all_in_process(table) => return Some(Question::Statistics),
        Api::Grpc(GrpcMethod::Other) | Api::Other
            if grpc::is_grpc(&head.headers) && all_in_process(table) =>
        {
            Question::Nobodys
        }
        _ => return None,
    };
    let about_models = match question {
        Question::Rest => {
            !matches!(path.trim_end_matches('/'), "/v2" | "/v2/health/live" | "/v2/health/ready")
        }
        Question::Call(call) => matches!(
            call,
            GrpcServer::RepositoryIndex | GrpcServer::RepositoryModelLoad | GrpcServer::RepositoryModelUnload
        ),
        Question::Statistics => true,
        Question::Nobodys => false,
    };
    if about_models && engines(table).next().is_none() {
        return None;
    }
    let host = route::host(&table.table.matcher, head);
    match table.table.matcher.find(host, path, &head.headers, Named::Known(None)) {
        Found::Nothing => Some(question),
        Found::Model(index) if is_in_process(table, index) => Some(question),
        _ => None,
    }
}

/// Answers `question`.
///
/// # Cancel safety
/// Dropping the future gives the answer up; a model that is being loaded goes on to be.
pub(super) async fn answer(
    worker: Rc<Worker>,
    table: Rc<LocalTable>,
    question: Question,
    head: request::Parts,
    body: Inbound,
) -> Response<Origin> {
    match question {
        Question::Rest => rest::answer(&worker, &table, &head, body).await,
        Question::Call(call) => calls::answer(worker, &table, call, &head, body).await,
        Question::Statistics => calls::statistics(&table, &head, body).await,
        Question::Nobodys => refused(&unknown_method()),
    }
}

/// Whether the stable version of the model at `index` is served in this process.
fn is_in_process(table: &LocalTable, index: usize) -> bool {
    let model = table.models.get(index);
    let stable = model.and_then(|m| m.versions.get(m.model.stable));
    stable.is_some_and(|v| matches!(v.version.backend, Backend::Onnx(_)))
}

/// Whether no model server could want a question about models.
fn all_in_process(table: &LocalTable) -> bool {
    table.models.iter().all(|model| model.model.family.is_some())
}

/// Whether the server takes requests: no drain has begun, and every version that is awaited can serve.
fn is_ready(worker: &Worker, table: &LocalTable) -> bool {
    !worker.is_draining() && table.models.iter().all(|model| is_model_ready(&model.model))
}

fn is_model_ready(model: &Model) -> bool {
    model.awaited().all(|version| version.ready().is_ok())
}

/// Every version in process, with its model.
fn engines(table: &LocalTable) -> impl Iterator<Item = (&Arc<Model>, &Arc<Engine>)> {
    table.models.iter().flat_map(|model| {
        model.model.versions.iter().filter_map(|version| match &version.backend {
            Backend::Onnx(engine) => Some((&model.model, engine)),
            Backend::Upstream(_) => None,
        })
    })
}

fn metadata(table: &LocalTable) -> ServerMetadata {
    let known = ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"];
    let extensions = if engines(table).next().is_some() { &known[..] } else { &[] };
    ServerMetadata {
        name: "switchback".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// Statistics of every version of every model in process.
fn statistics(table: &LocalTable) -> StatisticsAnswer {
    let model_stats =
        engines(table).map(|(model, engine)| version_statistics(model.spec.name.as_str(), engine)).collect();
    StatisticsAnswer { model_stats }
}

/// The repository that the models in process come from.
fn repository(table: &LocalTable) -> Option<&Repository> {
    engines(table).next().map(|(_, engine)| engine.repository())
}

/// Every version that is known, ready ones only if `ready`.
fn index(table: &LocalTable, ready: bool) -> Vec<ModelIndex> {
    let kept = repository(table).map(Repository::index).unwrap_or_default();
    let mut all: Vec<ModelIndex> = kept
        .iter()
        .map(|entry| ModelIndex {
            name: entry.name.clone(),
            version: entry.version.clone(),
            state: entry.state.as_str().to_owned(),
            reason: entry.reason.clone(),
        })
        .collect();
    if all.is_empty() {
        all = engines(table).map(|(model, engine)| entry(model, engine)).collect();
    }
    all.retain(|entry| !ready || entry.state == "READY");
    all
}

/// A version as the table has it, where nobody keeps an index.
fn entry(model: &Model, engine: &Engine) -> ModelIndex {
    let (state, reason) = match engine.state() {
        State::Ready => ("READY", String::new()),
        State::Loading => ("LOADING", String::new()),
        State::Unavailable { reason } => ("UNAVAILABLE", reason.to_string()),
    };
    ModelIndex {
        name: model.spec.name.to_string(),
        version: engine.spec().version.to_string(),
        state: state.to_owned(),
        reason,
    }
}
