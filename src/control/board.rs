//! The switchboard: every change of the table goes through here, whole or not at all.
//!
//! What was changed while running lies over the configuration as an [`Overlay`] per model. Weights
//! that an operator set stay over a reload, unless the file's own weights of that model changed:
//! then the file is newer, and wins. What a rollout has made of a model stays in any case, even while
//! the configuration does not have the model.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::base::{ModelName, VersionName, Weight};
use crate::onnx::{Engine, EngineSpec};
use crate::routing::overlay::Overlay;
use crate::routing::spec::{BackendSpec, ModelSpec, VersionSpec};
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
    /// What was changed while running, by model.
    overlays: Overlays,
}

type Overlays = HashMap<ModelName, Overlay>;

/// A table that is built but not yet in place.
pub struct Prepared {
    table: RoutingTable,
    change: Change,
    /// In-process models that are new in it.
    fresh: Vec<Arc<Engine>>,
    /// Those among them that the live table has too, unavailable.
    retried: Vec<EngineSpec>,
}

/// What a prepared table changes.
enum Change {
    /// What the configuration declares.
    Declared(Vec<ModelSpec>),
    /// Versions that one model is to have beside those that it has.
    Admit(ModelName, Guests),
}

/// Versions that a rollout brings.
struct Guests {
    versions: Vec<VersionSpec>,
    /// Whether nobody wants them any more.
    is_over: Arc<AtomicBool>,
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
    /// Whoever asked for it does not want it any more.
    #[error("the rollout that it was for is over")]
    Over,
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
        let table = RoutingTable::build(&models, |_| None, None, &engines)?;
        let (changed, _) = watch::channel(table.generation);
        Ok(Self {
            table: Arc::new(ArcSwap::from_pointee(table)),
            state: Mutex::new(State { declared: models, overlays: HashMap::new() }),
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
        let mut overlay = self.overlay(model).unwrap_or_default();
        overlay.weights = weights;
        self.set_overlay(model, overlay)
    }

    /// What was changed of `model` while running, if anything was.
    pub fn overlay(&self, model: &str) -> Option<Overlay> {
        self.state().overlays.iter().find(|(name, _)| name.as_str() == model).map(|(_, o)| o.clone())
    }

    /// What the configuration declares of `model`.
    pub fn declared(&self, model: &str) -> Option<ModelSpec> {
        self.state().declared.iter().find(|m| m.name.as_str() == model).cloned()
    }

    /// Lays `overlay` over what the configuration says of `model`: one store, no I/O. Every version
    /// of it must be served already; see [`Switchboard::admit`]. In place on return.
    ///
    /// # Errors
    /// [`TableError`]; nothing is changed then.
    pub fn set_overlay(&self, model: &str, overlay: Overlay) -> Result<(), TableError> {
        let mut state = self.state();
        let declared = state.declared.iter().find(|m| m.name.as_str() == model);
        let declared = declared.ok_or_else(|| TableError::UnknownModel(model.to_owned()))?;
        let table = self.table.load().with_overlay(declared, &overlay)?;
        let name = declared.name.clone();
        state.overlays.insert(name, overlay);
        self.put(table);
        Ok(())
    }

    /// Keeps `overlay` for a model that the configuration does not have: should it come back, it comes
    /// with this on top. Where it is there, nothing happens.
    pub fn hold(&self, model: &ModelName, overlay: Overlay) {
        let mut state = self.state();
        if state.declared.iter().all(|m| m.name != *model) {
            state.overlays.insert(model.clone(), overlay);
        }
    }

    /// Builds the table in which `model` has `versions` beside those that it has, or in place of those of
    /// the same name: without traffic, if nothing else gives them any. In-process models start to load.
    /// Hand it to [`Switchboard::commit`]: whatever is decided about the model until then stands, and once
    /// `is_over` is set nothing is changed any more.
    ///
    /// # Errors
    /// [`ChangeError::Table`].
    pub fn admit(
        &self,
        model: &str,
        versions: Vec<VersionSpec>,
        is_over: &Arc<AtomicBool>,
    ) -> Result<Prepared, ChangeError> {
        let state = self.state();
        let declared = state.declared.iter().find(|m| m.name.as_str() == model);
        let name = declared.ok_or_else(|| TableError::UnknownModel(model.to_owned()))?.name.clone();
        let guests = Guests { versions, is_over: Arc::clone(is_over) };
        self.build(&state, Change::Admit(name, guests), &[])
    }

    /// Builds the table that `models` declare, beside the live one. In-process models that are new
    /// start to load.
    ///
    /// # Errors
    /// [`ChangeError::Table`].
    pub fn prepare(&self, models: Vec<ModelSpec>) -> Result<Prepared, ChangeError> {
        self.build(&self.state(), Change::Declared(models), &[])
    }

    /// Builds the table after `change` upon the live one, with the in-process models of `loaded`
    /// where they fit.
    fn build(&self, state: &State, change: Change, loaded: &[Arc<Engine>]) -> Result<Prepared, ChangeError> {
        let live = self.table.load();
        let next = state.after(&change);
        let mut fresh = Vec::new();
        let overlay = |name: &ModelName| next.overlays.get(name);
        let table = RoutingTable::build(&next.declared, overlay, Some(&live), |spec| {
            let same = loaded.iter().find(|engine| engine.spec() == spec);
            let engine = same.cloned().unwrap_or_else(|| (self.engines)(spec));
            fresh.push(engine.clone());
            engine
        })?;
        Ok(Prepared { table, change, fresh, retried: lost(&live) })
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
    /// change leaves no place for this one, [`ChangeError::Over`] when nobody wants it any more. The live
    /// table stays then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the live table in place.
    pub async fn commit(&self, mut prepared: Prepared) -> Result<(), ChangeError> {
        loop {
            for engine in &prepared.fresh {
                engine.wait_loaded().await;
                if let Err(error) = engine.signature()
                    && !engine.spec().unloaded
                    && !prepared.retried.contains(engine.spec())
                {
                    let model = engine.spec().path().display().to_string();
                    return Err(ChangeError::Load { model, reason: error.to_string() });
                }
            }
            let mut state = self.state();
            // Whoever ends a rollout says so before it takes the lock for the table of the end.
            if let Change::Admit(_, guests) = &prepared.change
                && guests.is_over.load(Ordering::Relaxed)
            {
                return Err(ChangeError::Over);
            }
            if self.table.load().generation + 1 == prepared.table.generation {
                *state = state.after(&prepared.change);
                self.put(prepared.table);
                return Ok(());
            }
            prepared = self.build(&state, prepared.change, &prepared.fresh)?;
        }
    }

    /// Puts a prepared table in place at once, with what is still being loaded: for the start of the
    /// process, when nothing is served yet, and for what needs no loading. Where another change came in
    /// between, it is built again on top of that one.
    ///
    /// # Errors
    /// [`ChangeError::Table`] when the other change leaves no place for this one.
    pub fn put_at_once(&self, mut prepared: Prepared) -> Result<(), ChangeError> {
        let mut state = self.state();
        if self.table.load().generation + 1 != prepared.table.generation {
            prepared = self.build(&state, prepared.change, &prepared.fresh)?;
        }
        *state = state.after(&prepared.change);
        self.put(prepared.table);
        Ok(())
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

impl State {
    /// How things are declared and overlaid after `change`.
    fn after(&self, change: &Change) -> Self {
        match change {
            Change::Declared(models) => {
                let kept = |(name, overlay): (&ModelName, &Overlay)| {
                    Some((name.clone(), self.kept(name, overlay, models)?))
                };
                let overlays = self.overlays.iter().filter_map(kept).collect();
                Self { declared: models.clone(), overlays }
            }
            Change::Admit(name, guests) => {
                let mut overlays = self.overlays.clone();
                if let Some(declared) = self.declared.iter().find(|model| model.name == *name) {
                    overlays.entry(name.clone()).or_default().admit(&guests.versions, declared);
                }
                Self { declared: self.declared.clone(), overlays }
            }
        }
    }

    /// What becomes of an overlay when the configuration becomes `models`. What a rollout made of a model
    /// waits for it where it is gone, and lies over it again if it comes back with its stable version.
    /// Where it comes back without, the configuration's has all traffic until the decider says who has
    /// it: the rest may have been rolled back.
    fn kept(&self, name: &ModelName, overlay: &Overlay, models: &[ModelSpec]) -> Option<Overlay> {
        let new = models.iter().find(|m| m.name == *name);
        let old = self.declared.iter().find(|m| m.name == *name);
        let stays = match (new, old) {
            (Some(new), None) if overlay.is_owned() && !overlay.has_stable(new) => {
                return Overlay::all_to_stable(new);
            }
            (None, _) | (Some(_), None) => overlay.is_owned(),
            (Some(new), Some(old)) => overlay.is_owned() || declared_weights(new) == declared_weights(old),
        };
        stays.then(|| overlay.clone())
    }
}

/// The weights that the configuration gives: a version that comes to stand by changes nobody's.
pub(super) fn declared_weights(model: &ModelSpec) -> Vec<(VersionName, Weight)> {
    let live = model.versions.iter().filter(|v| v.weight > Weight::ZERO);
    live.map(|v| (v.name.clone(), v.weight)).collect()
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
mod tests;
