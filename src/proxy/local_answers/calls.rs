//! Questions about the server over gRPC: the methods of `inference.GRPCInferenceService` that name no
//! model, and those that manage the repository; health and reflection are streamed by [`super::health`].

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Response, request};

use super::{health, index, is_ready, metadata, repository, statistics as all_statistics};
use crate::base::{Fault, FaultKind};
use crate::inference::grpc_services::reflection;
use crate::inference::path::GrpcServer;
use crate::inference::v2_grpc::about::{ModelAndVersion, Nothing, YesOrNo};
use crate::inference::v2_grpc::triton::{
    RepositoryIndexAnswer, RepositoryIndexRequest, RepositoryModelRequest, StatisticsAnswer,
};
use crate::onnx::grpc::{SMALL, read, reply};
use crate::onnx::version_statistics;
use crate::proxy::worker::Worker;
use crate::routing::in_process::{answered, refused};
use crate::routing::local::LocalTable;
use crate::routing::origin::Origin;
use crate::wire::body::{IdleTimeout, Inbound, Side};
use crate::wire::grpc;
use crate::wire::grpc_message::Messages;
use crate::wire::grpc_stream::{Ended, ending, only, received};

/// Longest standstill of a unary request.
const IDLE: Duration = Duration::from_secs(60);

pub(super) async fn answer(
    worker: Rc<Worker>,
    table: &LocalTable,
    call: GrpcServer,
    head: &request::Parts,
    body: Inbound,
) -> Response<Origin> {
    if !grpc::is_grpc(&head.headers) {
        let detail = "a gRPC call has the content type application/grpc";
        return refused(&Fault::new(FaultKind::BadRequest, detail));
    }
    let messages = Messages::new(&head.headers, SMALL);
    if call == GrpcServer::Reflection {
        let replies = received(body, messages).map(|message| {
            let question = read(message?).map_err(Ended::Status)?;
            reply(&reflection::answer(question)).map_err(Ended::Status)
        });
        return answered(Origin::stream(ending(replies)));
    }
    let outcome = async {
        let message = unary(messages, body).await?;
        match call {
            GrpcServer::HealthWatch => Ok(answered(Origin::stream(health::watch(worker, read(message)?)))),
            _ => Ok(answered(Origin::message(told(&worker, table, call, message).await?))),
        }
    };
    outcome.await.unwrap_or_else(|fault: Fault| refused(&fault))
}

/// The only message of a call.
async fn unary(messages: Messages, body: Inbound) -> Result<Bytes, Fault> {
    let body = IdleTimeout::new(body, Some(IDLE), Side::Request);
    only(messages, body).await.map_err(|(Ended::Status(fault) | Ended::Broken(fault))| fault)
}

async fn told(worker: &Worker, table: &LocalTable, call: GrpcServer, message: Bytes) -> Result<Bytes, Fault> {
    match call {
        GrpcServer::Live => reply(&YesOrNo { yes: true }),
        GrpcServer::Ready => reply(&YesOrNo { yes: is_ready(worker, table) }),
        GrpcServer::Metadata => reply(&metadata(table)),
        GrpcServer::RepositoryIndex => {
            let request: RepositoryIndexRequest = read(message)?;
            reply(&RepositoryIndexAnswer { models: index(table, request.ready) })
        }
        GrpcServer::RepositoryModelLoad | GrpcServer::RepositoryModelUnload => {
            let request: RepositoryModelRequest = read(message)?;
            let unknown = || Fault::new(FaultKind::NoRoute, "there is no repository here");
            let repository = repository(table).ok_or_else(unknown)?.clone();
            match call {
                GrpcServer::RepositoryModelLoad => repository.load(&request.model_name).await?,
                _ => repository.unload(&request.model_name).await?,
            }
            reply(&Nothing {})
        }
        GrpcServer::HealthCheck => health::check(worker, table, read(message)?),
        GrpcServer::HealthWatch | GrpcServer::Reflection => {
            Err(Fault::new(FaultKind::Internal, "a stream was asked for one message"))
        }
    }
}

/// `ModelStatistics` where every model is in process: of one model, or of all where none is named.
pub(super) async fn statistics(table: &LocalTable, head: &request::Parts, body: Inbound) -> Response<Origin> {
    let outcome = async {
        let message = unary(Messages::new(&head.headers, SMALL), body).await?;
        let asked: ModelAndVersion = read(message)?;
        let mut found = match asked.name.as_str() {
            "" => all_statistics(table),
            name => {
                let families = table.models.iter().filter_map(|model| model.model.family.as_ref());
                let family = families.into_iter().find(|family| family.is_called(name)).ok_or_else(|| {
                    let name: String = name.chars().take(120).collect();
                    Fault::new(FaultKind::NoRoute, format!("there is no model {name:?} here"))
                })?;
                let versions = family.engines().iter();
                StatisticsAnswer {
                    model_stats: versions.map(|engine| version_statistics(name, engine)).collect(),
                }
            }
        };
        found.model_stats.retain(|version| asked.version.is_empty() || version.version == asked.version);
        if found.model_stats.is_empty() && !asked.version.is_empty() {
            let version: String = asked.version.chars().take(120).collect();
            return Err(Fault::new(FaultKind::NoRoute, format!("there is no version {version:?} here")));
        }
        Ok(answered(Origin::message(reply(&found)?)))
    };
    outcome.await.unwrap_or_else(|fault: Fault| refused(&fault))
}
