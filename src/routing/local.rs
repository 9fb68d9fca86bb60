//! One worker's own view of the table: its connection pools and its shards of the statistics.
//!
//! Nothing here is shared between threads but the counters, which only this worker writes. A view
//! is made anew when the table changes; pools, shards and budgets of what stays are carried over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::body::RequestBody;
use super::spec::MirrorSpec;
use super::table::{Backend, Model, RoutingTable, Version};
use crate::stats::{MirrorShard, Registry, VersionShard};
use crate::upstream::Pool;

/// A worker's view of one table.
pub struct LocalTable {
    /// The table it is a view of.
    pub table: Arc<RoutingTable>,
    /// Views of its models, by the same index.
    pub models: Box<[Rc<LocalModel>]>,
}

/// A worker's view of a model.
pub struct LocalModel {
    /// The model.
    pub model: Arc<Model>,
    /// Views of its versions, by the same index.
    pub versions: Box<[Rc<LocalVersion>]>,
    /// Views of its mirrors, by the index of `model.spec.mirrors`.
    pub mirrors: Box<[Rc<LocalMirror>]>,
}

/// A worker's view of a version.
pub struct LocalVersion {
    /// The version.
    pub version: Arc<Version>,
    /// Connections of this worker, where the version is a model server's.
    pub pool: Option<Rc<Pool<RequestBody>>>,
    /// What this worker has measured of it, in its role of now.
    pub shard: Arc<VersionShard>,
    /// Retries of the pool that the shard knows of.
    retries: Cell<u64>,
}

/// A worker's view of a mirror: what its copies use up now.
pub struct LocalMirror {
    /// Limits and deadline.
    pub spec: MirrorSpec,
    /// The version that gets the copies.
    pub target: Rc<LocalVersion>,
    /// What this worker has counted.
    pub shard: Arc<MirrorShard>,
    /// Copies under way and bytes retained for them.
    pub load: Rc<MirrorLoad>,
}

/// What the copies of one mirror use up on one worker. It outlives a change of the table.
#[derive(Debug, Default)]
pub struct MirrorLoad {
    /// Copies under way.
    pub in_flight: Cell<usize>,
    /// Bytes retained for them.
    pub retained: Cell<usize>,
    /// When what has been read of answers would have come at the pace that is allowed.
    pub read_until: Cell<Option<Instant>>,
}

impl LocalTable {
    /// A view of `table`, which carries over from `previous` what stays.
    pub fn new(table: Arc<RoutingTable>, previous: Option<&Self>, registry: &Registry) -> Self {
        let old = |model: &Model| previous?.models.iter().find(|m| m.model.spec.name == model.spec.name);
        let models = table.models.iter().map(|m| Rc::new(LocalModel::new(m, old(m), registry))).collect();
        Self { table, models }
    }
}

impl LocalModel {
    fn new(model: &Arc<Model>, previous: Option<&Rc<Self>>, registry: &Registry) -> Self {
        let versions: Box<[Rc<LocalVersion>]> = model
            .versions
            .iter()
            .map(|version| {
                let versions = previous.map(|p| &*p.versions).unwrap_or_default();
                Rc::new(LocalVersion::new(model, version, versions, registry))
            })
            .collect();
        let mirrors = model
            .spec
            .mirrors
            .iter()
            .zip(&model.mirror_targets)
            .filter_map(|(spec, target)| {
                let target = versions.get(*target)?.clone();
                let old = previous.and_then(|p| p.mirrors.iter().find(|m| m.spec.to == spec.to));
                Some(Rc::new(LocalMirror::new(model, spec, target, old, registry)))
            })
            .collect();
        Self { model: model.clone(), versions, mirrors }
    }
}

impl LocalVersion {
    fn new(model: &Model, version: &Arc<Version>, previous: &[Rc<Self>], registry: &Registry) -> Self {
        let pool = match &version.backend {
            Backend::Onnx(_) => None,
            Backend::Upstream(target) => {
                let kept =
                    previous.iter().filter_map(|p| p.pool.as_ref()).find(|p| Arc::ptr_eq(p.target(), target));
                Some(kept.cloned().unwrap_or_else(|| Pool::new(target.clone())))
            }
        };
        let same = previous
            .iter()
            .find(|p| p.version.spec.name == version.spec.name && p.version.spec.role == version.spec.role);
        let shard = same.map_or_else(
            || registry.version(&model.spec.name, &version.spec.name, version.spec.role),
            |p| p.shard.clone(),
        );
        let retries = Cell::new(pool.as_ref().map_or(0, |pool| pool.stats().retried));
        Self { version: version.clone(), pool, shard, retries }
    }

    /// Counts what the pool has sent again since the last call.
    pub(super) fn count_retries(&self) {
        let retried = self.pool.as_ref().map_or(0, |pool| pool.stats().retried);
        let new = retried.saturating_sub(self.retries.replace(retried));
        if new > 0 {
            self.shard.retries.add(new);
        }
    }
}

impl LocalMirror {
    fn new(
        model: &Model,
        spec: &MirrorSpec,
        target: Rc<LocalVersion>,
        previous: Option<&Rc<Self>>,
        registry: &Registry,
    ) -> Self {
        let (shard, load) = match previous {
            Some(old) => (old.shard.clone(), old.load.clone()),
            None => (registry.mirror(&model.spec.name, &spec.to), Rc::default()),
        };
        Self { spec: spec.clone(), target, shard, load }
    }
}
