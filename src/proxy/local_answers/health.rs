//! gRPC health checking (`grpc.health.v1`): of the server, of its services, and of each model by its
//! name.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body::Frame;
use tokio::time::sleep;

use super::{is_model_ready, is_ready};
use crate::base::{Fault, FaultKind};
use crate::inference::grpc_services::health::{HealthAnswer, HealthRequest, Serving};
use crate::inference::grpc_services::reflection;
use crate::onnx::grpc::reply;
use crate::proxy::worker::Worker;
use crate::routing::local::LocalTable;
use crate::wire::grpc_stream::{Ended, ending};

/// How often a watcher's service is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How a service is; none where there is no such service.
fn serving(worker: &Worker, table: &LocalTable, service: &str) -> Option<Serving> {
    let is = |yes: bool| Some(if yes { Serving::Yes } else { Serving::No });
    if service.is_empty() || reflection::services().any(|known| known == service) {
        return is(is_ready(worker, table));
    }
    let model = table.models.iter().map(|model| &model.model).find(|model| match &model.family {
        Some(family) => family.is_called(service),
        None => model.spec.name.as_str() == service,
    })?;
    is(!worker.is_draining() && is_model_ready(model))
}

fn status(serving: Serving) -> Result<Bytes, Fault> {
    reply(&HealthAnswer { status: serving as i32 })
}

/// `Check`.
pub(super) fn check(worker: &Worker, table: &LocalTable, request: HealthRequest) -> Result<Bytes, Fault> {
    match serving(worker, table, &request.service) {
        Some(serving) => status(serving),
        None => {
            let service: String = request.service.chars().take(120).collect();
            Err(Fault::new(FaultKind::NoRoute, format!("there is no service or model {service:?} here")))
        }
    }
}

/// `Watch`: how the service is now, and again whenever that changes, until the drain begins.
pub(super) fn watch(
    worker: Rc<Worker>,
    request: HealthRequest,
) -> impl Stream<Item = Result<Frame<Bytes>, Fault>> {
    struct Watcher {
        worker: Rc<Worker>,
        service: String,
        told: Option<Serving>,
    }

    impl Watcher {
        /// The next change; none once the drain has been told.
        async fn next(&mut self) -> Option<Serving> {
            loop {
                if self.told.is_some() && self.worker.is_draining() {
                    return None;
                }
                let now = serving(&self.worker, &self.worker.table(), &self.service);
                let now = now.unwrap_or(Serving::NoSuchService);
                if self.told.replace(now) != Some(now) {
                    return Some(now);
                }
                let mut drain = self.worker.drain();
                tokio::select! {
                    () = sleep(LOOK) => {}
                    _ = drain.started() => {
                        // Its connection ends when it does.
                        return (self.told.replace(Serving::No) != Some(Serving::No)).then_some(Serving::No);
                    }
                }
            }
        }
    }

    let watcher = Watcher { worker, service: request.service, told: None };
    ending(stream::unfold(watcher, |mut watcher| async move {
        let now = watcher.next().await?;
        Some((status(now).map_err(Ended::Status), watcher))
    }))
}
