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

    /// Why the sidecar as a whole is not ready: one line for each model whose stable version can't
    /// serve. Empty when it is.
    pub fn missing(&self, table: &RoutingTable) -> Vec<String> {
        let stables = table.models.iter().filter_map(|m| Some((m, m.versions.get(m.stable)?)));
        let missing = stables.filter_map(|(model, version)| {
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
