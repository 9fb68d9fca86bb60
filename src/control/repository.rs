//! Versions that come and go in model folders, and the commands that load and unload models.
//!
//! What lies in a folder is part of what is declared: the keeper reads folders, works out which
//! versions each model has, and puts that on the table as a new configuration would be. A version
//! that cannot be loaded is left out and remembered by what its files looked like, so everything
//! else goes on and it is tried again when they change. A model that serves keeps serving: where no
//! version in its folder is any good, the ones that are loaded stay.
//!
//! Everything here blocks, for as long as loading takes.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::reading::{engines, served, stable_before, stable_now, wait};
use super::board::{ChangeError, Switchboard};
use super::rollouts::Rollouts;
use super::rollouts::spec::RolloutSpec;
use crate::base::{Fault, FaultKind, ModelName, VersionName};
use crate::notify::Receivers;
use crate::onnx::repository::scan::Stamp;
use crate::onnx::repository::{Command, Entry, EntryState, Index, What};
use crate::onnx::{Engine, EngineSpec, Fleet, State};
use crate::routing::repository::Found;
use crate::routing::spec::{BackendSpec, ModelSpec, RepositorySpec};
use crate::routing::table::Backend;

/// Versions that are refused in one go at most.
const MOST_REFUSED: usize = 1_000;

/// What is declared, as the configuration says it: before folders were looked at.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The models.
    pub models: Vec<ModelSpec>,
    /// How they move.
    pub rollouts: Vec<RolloutSpec>,
    /// Hash of the configuration.
    pub hash: String,
}

/// Keeps the table in step with model folders.
pub struct Keeper {
    board: Arc<Switchboard>,
    fleet: Arc<Fleet>,
    rollouts: Arc<Rollouts>,
    state: Mutex<Kept>,
    /// One change at a time.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Kept {
    declared: Declared,
    /// What was last put on the table.
    applied: Vec<ModelSpec>,
    /// Versions that could not be loaded, and how they looked.
    refused: BTreeMap<(ModelName, u64), Refused>,
    /// Models that somebody has unloaded.
    unloaded: BTreeSet<ModelName>,
    /// Previous stable versions, and until when they stay.
    previous: BTreeMap<(ModelName, u64), Instant>,
    /// The table after which rollouts were last told of candidates.
    told_at: u64,
    /// What the folders looked like at the last look: a version is taken once it looks the same twice.
    seen: Folders,
}

struct Refused {
    stamp: Stamp,
    reason: String,
}

/// What is to be on the table.
struct Plan {
    models: Vec<ModelSpec>,
    rollouts: Vec<RolloutSpec>,
    /// Stable versions that another one follows, and how long they stay.
    replaced: Vec<((ModelName, u64), std::time::Duration)>,
}

/// What a look at the folders found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Nothing that is not on the table already.
    Same,
    /// Files that are still being written: look again soon.
    Unsettled,
    /// The table was changed.
    Changed,
}

/// Versions to choose from, by model.
type Folders = BTreeMap<ModelName, Found>;

fn scan(model: &ModelSpec, repository: &RepositorySpec) -> Found {
    repository.scan().unwrap_or_else(|error| {
        let folder = repository.engine.repository.join(&repository.engine.model);
        tracing::warn!(model = %model.name, folder = %folder.display(), %error, "the model's folder cannot be read");
        Found::new()
    })
}

impl Keeper {
    /// Keeps `board` in step with what `declared` names, which it serves already.
    pub fn new(
        board: Arc<Switchboard>,
        fleet: Arc<Fleet>,
        rollouts: Arc<Rollouts>,
        declared: Declared,
    ) -> Arc<Self> {
        let applied = declared.models.clone();
        let state = Mutex::new(Kept { declared, applied, ..Kept::default() });
        let keeper = Arc::new(Self { board, fleet, rollouts, state, changing: Mutex::new(()) });
        let look = Arc::downgrade(&keeper);
        keeper
            .fleet
            .repository()
            .show(move || look.upgrade().map(|keeper| keeper.index()).unwrap_or_default());
        keeper
    }

    /// Whether any model's versions come from its folder.
    pub fn has_repositories(&self) -> bool {
        self.state().declared.models.iter().any(|model| model.repository.is_some())
    }

    /// The folders of models whose versions come from there.
    pub fn folders(&self) -> Vec<std::path::PathBuf> {
        let state = self.state();
        let repositories = state.declared.models.iter().filter_map(|model| model.repository.as_ref());
        repositories.map(|repository| repository.engine.repository.join(&repository.engine.model)).collect()
    }

    /// The engines of the process.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Takes up another configuration and who is told from now on, whole or not at all.
    ///
    /// # Errors
    /// Why not, for people; nothing is changed then.
    pub fn take_up(&self, declared: Declared, receivers: Receivers) -> Result<(), String> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = self.state().declared.hash == declared.hash;
        let always = !is_same || self.board.has_lost();
        let folders = self.scan(&declared.models);
        let rollouts = self
            .serve(&declared, &folders, always)?
            .unwrap_or_else(|| self.plan(&declared, &folders).rollouts);
        self.rollouts.declare(rollouts, &declared.hash, Some(receivers));
        self.state().declared = declared;
        Ok(())
    }

    /// What lies in the folders now. What was refused and has gone is forgotten.
    fn scan(&self, models: &[ModelSpec]) -> Folders {
        let of = |model: &ModelSpec| Some((model.name.clone(), scan(model, model.repository.as_ref()?)));
        let found: Folders = models.iter().filter_map(of).collect();
        self.state().refused.retain(|(model, number), _| {
            found.get(model).is_some_and(|versions| versions.contains_key(number))
        });
        found
    }

    /// Waits for what is being loaded since the start, and leaves out what cannot be.
    pub fn settle(&self) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = self.state().declared.clone();
        for engine in engines(&self.board.table()) {
            wait(&engine);
        }
        self.bring_or_log(&declared, &self.scan(&declared.models));
    }

    /// Looks at the folders and serves what has come. Files that are still being written are passed over,
    /// and hold up nobody else's.
    pub fn look(&self) -> Looked {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = self.state().declared.clone();
        let mut folders = self.scan(&declared.models);
        let unsettled = self.pass_over_unsettled(&mut folders);
        match self.bring_or_log(&declared, &folders) {
            _ if unsettled => Looked::Unsettled,
            Some(true) => Looked::Changed,
            Some(false) => {
                self.remind(&declared, &folders);
                Looked::Same
            }
            None => Looked::Same,
        }
    }

    /// Takes out what does not look as it did before, leaves what is served as it is, and says whether
    /// there was any such.
    fn pass_over_unsettled(&self, folders: &mut Folders) -> bool {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.seen, folders.clone());
        let mut any = false;
        for (model, found) in folders {
            let (before, served) = (before.get(model), served(&state.applied, model));
            found.retain(|number, stamp| {
                let served = served.get(number);
                if served == Some(stamp) || before.and_then(|before| before.get(number)) == Some(stamp) {
                    return true;
                }
                any = true;
                served.inspect(|served| *stamp = **served).is_some()
            });
        }
        any
    }

    /// Takes previous versions off the table whose time is over, and looks at no folder for it.
    pub fn expire(&self) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let (now, before) = (Instant::now(), state.previous.len());
        state.previous.retain(|_, until| *until > now);
        if state.previous.len() == before {
            return;
        }
        let declared = state.declared.clone();
        let models = declared.models.iter().filter(|model| model.repository.is_some());
        let folders = models.map(|model| (model.name.clone(), served(&state.applied, &model.name))).collect();
        drop(state);
        self.bring_or_log(&declared, &folders);
    }

    /// Tells rollouts of their candidates again: one that came while another was tried waits for the end
    /// of that.
    fn remind(&self, declared: &Declared, folders: &Folders) {
        let generation = self.board.table().generation;
        let is_busy = |model: &ModelName| {
            self.board.overlay(model.as_str()).is_some_and(|overlay| !overlay.versions.is_empty())
        };
        let told_at = self.state().told_at;
        if told_at == generation || declared.rollouts.iter().any(|rollout| is_busy(&rollout.model)) {
            return;
        }
        self.state().told_at = generation;
        self.rollouts.declare(self.plan(declared, folders).rollouts, &declared.hash, None);
    }

    /// Carries a client's command out and answers it.
    pub fn carry_out(&self, command: Command) {
        let outcome = self.command(&command.model, command.what);
        if let Err(fault) = &outcome {
            tracing::warn!(model = command.model, what = ?command.what, error = %fault.detail, "refused");
        }
        let _ = command.done.send(outcome);
    }

    fn command(&self, model: &str, what: What) -> Result<(), Fault> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = self.state().declared.clone();
        let is_local =
            |spec: &&ModelSpec| spec.versions.iter().any(|v| matches!(v.backend, BackendSpec::Onnx(_)));
        let local = declared.models.iter().filter(is_local);
        let Some(name) = local.map(|spec| &spec.name).find(|name| name.as_str() == model).cloned() else {
            let detail = format!("no model {model:?} is served in this process");
            return Err(Fault::new(FaultKind::NoRoute, detail));
        };
        let refuse = |detail: String| Err(Fault::new(FaultKind::BadRequest, detail));
        let before = self.state().unloaded.clone();
        match what {
            What::Load => {
                let mut state = self.state();
                state.unloaded.remove(&name);
                state.refused.retain(|(of, _), _| *of != name);
            }
            What::Unload if self.board.overlay(model).is_some_and(|overlay| !overlay.versions.is_empty()) => {
                return refuse(format!("{model}: a rollout needs its versions, end it first"));
            }
            What::Unload => _ = self.state().unloaded.insert(name.clone()),
        }
        if let Err(error) = self.bring(&declared, &self.scan(&declared.models), true) {
            self.state().unloaded = before;
            return refuse(format!("{model}: {error}"));
        }
        let entries = self.index();
        let failed = entries.iter().find(|entry| {
            what == What::Load && entry.name == model && entry.state == EntryState::Unavailable
        });
        match failed {
            Some(entry) => refuse(format!("{model}, version {}: {}", entry.version, entry.reason)),
            None => Ok(()),
        }
    }

    /// Puts what `declared` and the folders say on the table and before the deciding thread; says whether
    /// anything changed. `always` builds the table anew even where nothing did.
    fn bring(&self, declared: &Declared, folders: &Folders, always: bool) -> Result<bool, String> {
        let rollouts = self.serve(declared, folders, always)?;
        let changed = rollouts.is_some();
        if let Some(rollouts) = rollouts {
            self.rollouts.declare(rollouts, &declared.hash, None);
        }
        Ok(changed)
    }

    /// The same where nobody waits for the outcome; none where it failed.
    fn bring_or_log(&self, declared: &Declared, folders: &Folders) -> Option<bool> {
        let failed =
            |error: &String| tracing::error!(%error, "the versions in the model folders cannot be served");
        self.bring(declared, folders, false).inspect_err(failed).ok()
    }

    /// Puts what `declared` and the folders say on the table, without the versions that can't be loaded;
    /// gives the rollouts as they are to be declared if anything changed.
    fn serve(
        &self,
        declared: &Declared,
        folders: &Folders,
        always: bool,
    ) -> Result<Option<Vec<RolloutSpec>>, String> {
        let mut held: Vec<Arc<Engine>> = Vec::new();
        for _ in 0..MOST_REFUSED {
            let plan = self.plan(declared, folders);
            if !always && plan.models == self.state().applied {
                return Ok(None);
            }
            // They stay loaded from one turn to the next, and until the table holds them.
            let loading = self.load(&plan, &mut held);
            if self.note_refused(&plan, &loading) {
                continue;
            }
            let prepared = self.board.prepare(plan.models.clone()).map_err(|error| error.to_string())?;
            let runtime =
                tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
            runtime.block_on(self.board.commit(prepared)).map_err(|error: ChangeError| error.to_string())?;
            let now = Instant::now();
            let mut state = self.state();
            state.previous.retain(|_, until| *until > now);
            for (version, keep) in plan.replaced {
                state.previous.insert(version, now + keep);
            }
            state.applied = plan.models;
            drop(state);
            return Ok(Some(plan.rollouts));
        }
        Err(format!("more than {MOST_REFUSED} versions cannot be loaded"))
    }

    /// What is to be on the table, without the versions that are refused.
    fn plan(&self, declared: &Declared, folders: &Folders) -> Plan {
        let state = self.state();
        let (table, now) = (self.board.table(), Instant::now());
        let mut plan = Plan {
            models: declared.models.clone(),
            rollouts: declared.rollouts.clone(),
            replaced: Vec::new(),
        };
        for model in &mut plan.models {
            let Some(repository) = model.repository.clone() else { continue };
            let mut found = folders.get(&model.name).cloned().unwrap_or_default();
            found.retain(|number, stamp| {
                state
                    .refused
                    .get(&(model.name.clone(), *number))
                    .is_none_or(|refused| refused.stamp != *stamp)
            });
            let applied =
                state.applied.iter().find(|old| old.name == model.name && old.repository == model.repository);
            if let (true, Some(applied)) = (found.is_empty(), applied) {
                model.versions.clone_from(&applied.versions);
                continue;
            }
            let held = stable_now(&table, &model.name, &repository);
            let mut kept: Vec<u64> = state
                .previous
                .iter()
                .filter(|((of, _), until)| *of == model.name && **until > now)
                .map(|((_, number), _)| *number)
                .collect();
            let next = repository.stable_of(&found, held);
            let before = stable_before(&state.applied, &model.name);
            if let Some(old) = before.filter(|old| next != Some(*old) && found.contains_key(old))
                && !repository.keep_previous.is_zero()
            {
                kept.push(old);
                plan.replaced.push(((model.name.clone(), old), repository.keep_previous));
            }
            model.versions = repository.versions(&found, held, &kept);
            let candidate = repository.candidate_of(&found, held).map(|number| number.to_string());
            if let Some(rollout) = plan.rollouts.iter_mut().find(|rollout| rollout.model == model.name) {
                rollout.candidate = candidate.and_then(|name| VersionName::new(&name).ok());
            }
        }
        for model in plan.models.iter_mut().filter(|model| state.unloaded.contains(&model.name)) {
            for version in &mut model.versions {
                if let BackendSpec::Onnx(engine) = &mut version.backend {
                    engine.unloaded = true;
                }
            }
        }
        plan
    }

    /// Starts what the plan needs of folders and waits for it.
    fn load(&self, plan: &Plan, held: &mut Vec<Arc<Engine>>) -> Vec<(ModelName, Arc<Engine>)> {
        let refused = |name: &ModelName, engine: &EngineSpec| {
            let state = self.state();
            let known = state.refused.get(&(name.clone(), engine.version));
            known.is_some_and(|refused| Some(refused.stamp) == engine.stamp)
        };
        let mut loading = Vec::new();
        for model in plan.models.iter().filter(|model| model.repository.is_some()) {
            for version in &model.versions {
                let BackendSpec::Onnx(spec) = &version.backend else { continue };
                if spec.stamp.is_some() && !spec.unloaded && !refused(&model.name, spec) {
                    let known = held.iter().find(|engine| engine.spec() == spec).cloned();
                    loading.push((model.name.clone(), known.unwrap_or_else(|| self.fleet.start(spec))));
                }
            }
        }
        for (_, engine) in &loading {
            wait(engine);
        }
        held.extend(loading.iter().map(|(_, engine)| engine.clone()));
        loading
    }

    /// Remembers what could not be loaded; says whether there was anything new.
    fn note_refused(&self, plan: &Plan, loading: &[(ModelName, Arc<Engine>)]) -> bool {
        let mut any = false;
        for (name, engine) in loading {
            let (State::Unavailable { reason }, Some(stamp)) = (engine.state(), engine.spec().stamp) else {
                continue;
            };
            let version = engine.spec().version;
            tracing::error!(model = %name, version, %reason, "the version is refused, what serves goes on");
            let refused = Refused { stamp, reason: reason.to_string() };
            self.state().refused.insert((name.clone(), version), refused);
            any = true;
        }
        // Models that are not declared any more leave nothing behind.
        let is_there = |name: &ModelName| plan.models.iter().any(|model| model.name == *name);
        self.state().refused.retain(|(name, _), _| is_there(name));
        any
    }

    /// Every version in process, with its state: those on the table, those refused, those ending.
    pub fn index(&self) -> Index {
        let table = self.board.table();
        let mut index = Index::new();
        let mut put = |entry: Entry| {
            if !index.iter().any(|old: &Entry| old.name == entry.name && old.version == entry.version) {
                index.push(entry);
            }
        };
        for (model, engine) in table.models.iter().flat_map(|model| {
            model.versions.iter().filter_map(move |version| match &version.backend {
                Backend::Onnx(engine) => Some((model, engine)),
                Backend::Upstream(_) => None,
            })
        }) {
            let (state, reason) = match engine.state() {
                State::Loading => (EntryState::Loading, String::new()),
                State::Ready => (EntryState::Ready, String::new()),
                State::Unavailable { reason } => (EntryState::Unavailable, reason.to_string()),
            };
            let version = engine.spec().version.to_string();
            put(Entry { name: model.spec.name.to_string(), version, state, reason });
        }
        for ((model, number), refused) in &self.state().refused {
            let (name, version) = (model.to_string(), number.to_string());
            put(Entry { name, version, state: EntryState::Unavailable, reason: refused.reason.clone() });
        }
        for spec in self.fleet.ending() {
            let of = |engine: &EngineSpec| engine.repository == spec.repository && engine.model == spec.model;
            let model = table.models.iter().find(|model| {
                model.spec.versions.iter().any(|v| matches!(&v.backend, BackendSpec::Onnx(e) if of(e)))
            });
            if let Some(model) = model {
                let (name, version) = (model.spec.name.to_string(), spec.version.to_string());
                put(Entry { name, version, state: EntryState::Unloading, reason: String::new() });
            }
        }
        let number = |entry: &Entry| entry.version.parse::<u64>().unwrap_or(u64::MAX);
        index.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| number(a).cmp(&number(b))));
        index
    }

    fn state(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
