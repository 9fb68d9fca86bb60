//! Reading from tables and specs what folders are held against.

use std::sync::Arc;

use crate::base::{ModelName, Role};
use crate::onnx::{Engine, State};
use crate::routing::repository::Found;
use crate::routing::spec::{BackendSpec, ModelSpec, RepositorySpec};
use crate::routing::table::{Backend, RoutingTable};

/// The stamps of the versions that a model serves.
pub(super) fn served(applied: &[ModelSpec], name: &ModelName) -> Found {
    let versions = applied.iter().filter(|model| model.name == *name).flat_map(|model| &model.versions);
    let stamps = versions.filter_map(|version| match &version.backend {
        BackendSpec::Onnx(engine) => Some((engine.version, engine.stamp?)),
        BackendSpec::Upstream(_) => None,
    });
    stamps.collect()
}

/// The number of the version that was stable when the folders were last taken up.
pub(super) fn stable_before(applied: &[ModelSpec], name: &ModelName) -> Option<u64> {
    let model = applied.iter().find(|model| model.name == *name)?;
    let stable = model.versions.iter().find(|version| version.role == Role::Stable)?;
    match &stable.backend {
        BackendSpec::Onnx(engine) => engine.stamp.map(|_| engine.version),
        BackendSpec::Upstream(_) => None,
    }
}

/// The number of the stable version on the table, where it is one of this folder.
pub(super) fn stable_now(table: &RoutingTable, name: &ModelName, repository: &RepositorySpec) -> Option<u64> {
    let model = table.model(name.as_str())?;
    match &model.versions.get(model.stable)?.backend {
        Backend::Onnx(engine) => {
            let spec = engine.spec();
            let same =
                spec.repository == repository.engine.repository && spec.model == repository.engine.model;
            (same && spec.stamp.is_some()).then_some(spec.version)
        }
        Backend::Upstream(_) => None,
    }
}

/// Every engine on the table.
pub(super) fn engines(table: &RoutingTable) -> Vec<Arc<Engine>> {
    let versions = table.models.iter().flat_map(|model| &model.versions);
    let engines = versions.filter_map(|version| match &version.backend {
        Backend::Onnx(engine) => Some(engine.clone()),
        Backend::Upstream(_) => None,
    });
    engines.collect()
}

/// Blocks until an engine is loaded, one way or the other.
pub(super) fn wait(engine: &Engine) {
    if engine.state() == State::Loading {
        // A runtime of one thread, for one future: cheap beside loading a model.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() {
            runtime.block_on(engine.wait_loaded());
        }
    }
}
