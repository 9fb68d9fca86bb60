//! Whether the upstreams are there: a connection is opened and closed, on the control thread, for
//! readiness and status. The data path neither waits for it nor heeds it; what it heeds are the
//! health checks of [`super::health`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::board::Switchboard;
use crate::routing::table::{Backend, RoutingTable, Version};
use crate::upstream::{Cluster, Health};

/// Between rounds while something that is needed is missing.
const SOON: Duration = Duration::from_millis(500);
/// Between rounds once everything is there.
const LATER: Duration = Duration::from_secs(10);

/// What is known of the upstreams of the live table.
#[derive(Debug, Default)]
pub struct Reach {
    /// By the address of the cluster; an absent one has not been asked yet.
    found: Mutex<HashMap<usize, Result<(), String>>>,
}

impl Reach {
    /// Whether `version` can serve, as far as is known.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self, version: &Version) -> Result<(), String> {
        let Backend::Upstream(cluster) = &version.backend else { return version.ready() };
        if cluster.members().iter().all(|member| member.health() == Health::Unwell) {
            return Err("no endpoint passes its health check".to_owned());
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&key(cluster)).cloned().unwrap_or_else(|| Err("not yet connected to".to_owned()))
    }

    /// Why the sidecar as a whole is not ready: one line for each version that is
    /// [awaited](crate::routing::table::Model::awaited) and can't serve. Empty when it is.
    pub fn missing(&self, table: &RoutingTable) -> Vec<String> {
        let awaited = table.models.iter().flat_map(|m| m.awaited().map(move |version| (m, version)));
        let missing = awaited.filter_map(|(model, version)| {
            let reason = self.ready(version).err()?;
            Some(format!("model {}, version {}: {reason}", model.spec.name, version.spec.name))
        });
        missing.collect()
    }

    /// Asks all upstreams, again and again, as long as it is polled.
    ///
    /// # Cancel safety
    /// Safe: the latest findings stay.
    pub async fn watch(&self, board: &Switchboard) {
        let mut changes = board.changes();
        loop {
            let table = board.table();
            self.round(&table).await;
            let pause = if self.missing(&table).is_empty() { LATER } else { SOON };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn round(&self, table: &RoutingTable) {
        let clusters = table.clusters();
        let asked = clusters.iter().map(|cluster| async move {
            let found = cluster.probe().await.map_err(|fault| fault.detail.into_owned());
            (key(cluster), found)
        });
        let new: HashMap<_, _> = join_all(asked).await.into_iter().collect();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

fn key(cluster: &Arc<Cluster>) -> usize {
    Arc::as_ptr(cluster).addr()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::onnx::Engine;

    #[tokio::test]
    async fn a_canary_that_is_being_loaded_is_waited_for_if_it_has_traffic_and_until_it_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let models = |weight: &str| {
            let text = format!(
                "models: [{{name: m, versions: [{{name: v1, upstream: {{url: 'http://127.0.0.1:{port}'}}}},
                {{name: v2, weight: {weight}, onnx: {{repository: models, model: m, version: 1}}}}]}}]"
            );
            config::parse(&text, Path::new("/nowhere")).unwrap().models
        };
        for (weight, is_awaited) in [("30%", true), ("0%", false)] {
            let mut holds = Vec::new();
            let table = RoutingTable::build(
                &models(weight),
                |_| None,
                None,
                |spec| {
                    let (engine, hold) = Engine::loading(spec.clone());
                    holds.push(hold);
                    Arc::new(engine)
                },
            )
            .unwrap();
            let reach = Reach::default();
            reach.round(&table).await;
            let missing = reach.missing(&table);
            let said = ["model m, version v2: the model is being loaded".to_owned()];
            assert_eq!(missing, if is_awaited { &said[..] } else { &[] }, "{weight}");

            holds.clear();
            let Backend::Onnx(engine) = &table.models[0].versions[1].backend else { panic!("no engine") };
            engine.wait_loaded().await;
            assert_eq!(reach.missing(&table), [""; 0], "{weight}");
        }
    }
}
