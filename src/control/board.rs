//! The switchboard: every change of the table goes through here, whole or not at all.
//!
//! Weights that an operator set while running stay over a reload of the configuration, unless the
//! file's own weights of that model changed: then the file is newer, and wins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::base::{ModelName, VersionName, Weight};
use crate::onnx::{Engine, EngineSpec};
use crate::routing::spec::{BackendSpec, ModelSpec};
use crate::routing::table::{RoutingTable, SharedTable, TableError};

/// Starts an in-process model.
type StartEngine = dyn Fn(&EngineSpec) -> Arc<Engine> + Send + Sync;

/// Holds the live table and makes the next ones.
pub struct Switchboard {
    table: SharedTable,
    state: Mutex<State>,
    engines: Box<StartEngine>,
    changed: watch::Sender<u64>,
}

struct State {
    /// What the configuration says.
    declared: Vec<ModelSpec>,
    /// Weights set while running, by model.
    set: HashMap<ModelName, Vec<(VersionName, Weight)>>,
}

/// A table that is built but not yet in place.
pub struct Prepared {
    table: RoutingTable,
    declared: Vec<ModelSpec>,
    set: HashMap<ModelName, Vec<(VersionName, Weight)>>,
    /// In-process models that are new in it.
    fresh: Vec<Arc<Engine>>,
    /// Those among them that the live table has too, unavailable.
    retried: Vec<EngineSpec>,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The table can't be built.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A model that is new could not be loaded.
    #[error("{model}: {reason}")]
    Load {
        /// The file.
        model: String,
        /// Why.
        reason: String,
    },
}

impl Switchboard {
    /// A switchboard that serves `models` from the start. `engines` starts in-process models.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn new(
        models: Vec<ModelSpec>,
        engines: impl Fn(&EngineSpec) -> Arc<Engine> + Send + Sync + 'static,
    ) -> Result<Self, TableError> {
        let table = RoutingTable::build(&models, None, &engines)?;
        let (changed, _) = watch::channel(table.generation);
        Ok(Self {
            table: Arc::new(ArcSwap::from_pointee(table)),
            state: Mutex::new(State { declared: models, set: HashMap::new() }),
            engines: Box::new(engines),
            changed,
        })
    }

    /// The live table, for workers to read.
    pub fn shared(&self) -> SharedTable {
        self.table.clone()
    }

    /// The table of now.
    pub fn table(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }

    /// Fires with the generation of each new table.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets the weights of `model`; versions that are not named get none. In place on return.
    ///
    /// # Errors
    /// [`TableError`]; nothing is changed then.
    pub fn set_weights(&self, model: &str, weights: Vec<(VersionName, Weight)>) -> Result<(), TableError> {
        let mut state = self.state();
        let table = self.table.load().with_weights(model, &weights)?;
        if let Some(model) = table.model(model) {
            state.set.insert(model.spec.name.clone(), weights);
        }
        self.put(table);
        Ok(())
    }

    /// Builds the table that `models` declare, beside the live one. In-process models that are new
    /// start to load.
    ///
    /// # Errors
    /// [`ChangeError::Table`].
    pub fn prepare(&self, models: Vec<ModelSpec>) -> Result<Prepared, ChangeError> {
        self.build(&self.state(), models, &[])
    }

    /// Builds what `models` declare upon the live table, with the in-process models of `loaded`
    /// where they fit.
    fn build(
        &self,
        state: &State,
        models: Vec<ModelSpec>,
        loaded: &[Arc<Engine>],
    ) -> Result<Prepared, ChangeError> {
        let live = self.table.load();
        let mut fresh = Vec::new();
        let mut table = RoutingTable::build(&models, Some(&live), |spec| {
            let same = loaded.iter().find(|engine| engine.spec() == spec);
            let engine = same.cloned().unwrap_or_else(|| (self.engines)(spec));
            fresh.push(engine.clone());
            engine
        })?;
        let retried = lost(&live);
        let mut set = HashMap::new();
        for (name, weights) in &state.set {
            let same = |specs: &[ModelSpec]| specs.iter().find(|m| m.name == *name).map(declared_weights);
            if same(&models).is_some() && same(&models) == same(&state.declared) {
                let generation = table.generation;
                table = table.with_weights(name.as_str(), weights)?;
                table.generation = generation;
                set.insert(name.clone(), weights.clone());
            }
        }
        Ok(Prepared { table, declared: models, set, fresh, retried })
    }

    /// Whether an in-process model could not be loaded, so that building the table anew is worth
    /// a try.
    pub fn has_lost(&self) -> bool {
        !lost(&self.table.load()).is_empty()
    }

    /// Puts a prepared table in place, once its new in-process models are loaded. Where another
    /// change came in between, it is built again on top of that one, with what is loaded by now:
    /// neither of the two is lost. A model that could not be loaded before either does not stand in
    /// the way of the rest.
    ///
    /// # Errors
    /// [`ChangeError::Load`] when a model can't be loaded, [`ChangeError::Table`] when the other
    /// change leaves no place for this one. The live table stays then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the live table in place.
    pub async fn commit(&self, mut prepared: Prepared) -> Result<(), ChangeError> {
        loop {
            for engine in &prepared.fresh {
                engine.wait_loaded().await;
                if let Err(error) = engine.signature()
                    && !prepared.retried.contains(engine.spec())
                {
                    let model = engine.spec().path().display().to_string();
                    return Err(ChangeError::Load { model, reason: error.to_string() });
                }
            }
            let mut state = self.state();
            if self.table.load().generation + 1 == prepared.table.generation {
                *state = State { declared: prepared.declared, set: prepared.set };
                self.put(prepared.table);
                return Ok(());
            }
            prepared = self.build(&state, prepared.declared, &prepared.fresh)?;
        }
    }

    fn put(&self, table: RoutingTable) {
        let generation = table.generation;
        self.table.store(Arc::new(table));
        self.changed.send_replace(generation);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced whole, so a panic elsewhere can't have left it half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn declared_weights(model: &ModelSpec) -> Vec<(VersionName, Weight)> {
    model.versions.iter().map(|v| (v.name.clone(), v.weight)).collect()
}

/// What could not be loaded.
fn lost(table: &RoutingTable) -> Vec<EngineSpec> {
    let versions = table.models.iter().flat_map(|m| &m.versions);
    let lost = versions.filter(|v| v.backend.is_lost()).filter_map(|v| match &v.spec.backend {
        BackendSpec::Onnx(spec) => Some(spec.clone()),
        BackendSpec::Upstream(_) => None,
    });
    lost.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn models(v2: &str, more: &str) -> Vec<ModelSpec> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchback.yaml");
        let text = format!(
            "models: [{{name: m, {more} versions: [{{name: v1, upstream: {{url: http://127.0.0.1:1}}}},
            {{name: v2, weight: {v2}, upstream: {{url: http://127.0.0.1:2}}}}]}}]"
        );
        std::fs::write(&path, text).unwrap();
        config::load(&path).unwrap().models
    }

    fn board() -> Switchboard {
        Switchboard::new(models("10%", ""), |_| panic!("no model is in process")).unwrap()
    }

    fn set(board: &Switchboard, v1: u32, v2: u32) {
        let weights =
            [("v1", v1), ("v2", v2)].map(|(n, w)| (VersionName::new(n).unwrap(), Weight::new(w).unwrap()));
        board.set_weights("m", weights.to_vec()).unwrap();
    }

    fn now(board: &Switchboard) -> (u64, u32, bool) {
        let table = board.table();
        let model = table.model("m").unwrap();
        (table.generation, u32::from(model.versions[1].spec.weight.basis_points()), model.spec.expose_version)
    }

    #[tokio::test]
    async fn weights_that_are_set_while_a_reload_is_prepared_are_kept_and_so_is_the_reload() {
        let board = board();
        let prepared = board.prepare(models("10%", "exposeVersion: false,")).unwrap();
        set(&board, 0, 10_000);
        set(&board, 5_000, 5_000);
        board.commit(prepared).await.unwrap();
        assert_eq!(now(&board), (4, 5_000, false));
        // The file's new weights win, even over those set while it was read.
        let prepared = board.prepare(models("20%", "")).unwrap();
        set(&board, 0, 10_000);
        board.commit(prepared).await.unwrap();
        assert_eq!(now(&board), (6, 2_000, true));
    }

    #[tokio::test]
    async fn a_prepared_table_that_is_dropped_changes_nothing() {
        let board = board();
        drop(board.prepare(models("20%", "")).unwrap());
        assert_eq!(now(&board), (1, 1_000, true));
    }
}
