//! What was written of rollouts, read back when the process starts.

use std::collections::BTreeMap;
use std::path::Path;

use super::candidate;
use super::model::Model;
use super::rows::Kept;
use super::spec::RolloutSpec;
use super::tools::{self, Tools};
use crate::base::{ModelName, VersionName, Weight};
use crate::rollout::machine::{Command, Input, What};
use crate::rollout::version::{Actor, VersionRef};
use crate::routing::overlay::Overlay;
use crate::routing::spec::{ModelSpec, VersionSpec};
use crate::store::{Limits, Roles, Store, StoreError};

/// Longest text of a record or of a model's state: a rollout of a week with many segments.
const JSON_BYTES: usize = 32 * 1024 * 1024;

/// A store that is open, and what was in it.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) recovered: Vec<Kept>,
    /// Why the configured file is not used, where it is not.
    pub(super) refused: Option<String>,
}

/// Opens the store at `path`, or one in memory. A file that can't be opened is left as it is: what is
/// decided is kept in memory then, and said to be.
///
/// # Errors
/// Where not even a store in memory can be had.
pub(super) fn open(path: Option<&Path>) -> Result<Opened, StoreError> {
    let Some(path) = path else {
        return Ok(Opened { store: Store::in_memory(), recovered: Vec::new(), refused: None });
    };
    let limits = Limits { json_bytes: JSON_BYTES, ..Limits::default() };
    match Store::open_with(path, limits) {
        Ok((store, recovered)) => {
            let recovered = recovered.roles.into_iter().filter_map(|roles| read(&roles)).collect();
            Ok(Opened { store, recovered, refused: None })
        }
        Err(error) => {
            let refused = format!("{}: {error}", path.display());
            tracing::error!(store = %path.display(), %error, "the store cannot be opened: rollouts are kept in memory only, and none is started");
            Ok(Opened { store: Store::in_memory(), recovered: Vec::new(), refused: Some(refused) })
        }
    }
}

fn read(roles: &Roles) -> Option<Kept> {
    match serde_json::from_str(&roles.roles) {
        Ok(kept) => Some(kept),
        Err(error) => {
            tracing::error!(model = %roles.model, %error, "what the store holds of a model cannot be read: the configuration counts");
            None
        }
    }
}

/// The model as it was left, its versions in place on the table, if the configuration still has it.
///
/// A candidate that is not what it was when the rollout began, or that is not to be had any more,
/// gets no traffic: its rollout is aborted.
pub(super) fn model(kept: Kept, specs: &[RolloutSpec], tools: &Tools) -> Option<Model> {
    let Kept { mut state, weights } = kept;
    let name = state.model.clone();
    let Some(declared) = tools.board.declared(name.as_str()) else {
        tracing::warn!(model = %name, "the store has a model that the configuration does not declare");
        return None;
    };
    let mut versions = BTreeMap::new();
    let mut lost = None;
    let mut wanted = vec![state.stable.clone()];
    let running = state.running().map(|rollout| [rollout.stable.clone(), rollout.candidate.clone()]);
    wanted.extend(running.into_iter().flatten());
    for version in wanted {
        match resolve(&version, &name, &declared, tools) {
            Ok(spec) => _ = versions.insert(version.name.clone(), spec),
            Err(error) => lost = lost.or(Some((version, error))),
        }
    }
    if let Some((version, error)) = lost {
        tracing::error!(model = %name, version = %version.name, %error, "a version of a rollout is not to be had any more");
        if version.name == state.stable.name {
            // Nothing to go back to but what the configuration says.
            return None;
        }
        let by = Actor { name: "switchback".to_owned(), key: None };
        let abort = Input::Command(Command { what: What::Abort, by });
        if let Err(refusal) = state.handle(abort, tools::now()) {
            tracing::error!(model = %name, %refusal, "the rollout cannot be aborted");
        }
    }
    admit(&name, &declared, &versions, tools);
    let weights = weights.map(|weights| {
        let known = weights.iter().filter_map(|(version, points)| {
            Some((VersionName::new(version).ok()?, Weight::new(u32::from(*points)).ok()?))
        });
        known.collect()
    });
    let spec = specs.iter().find(|spec| spec.model == name).cloned();
    Some(Model::with(state, spec, versions, weights))
}

/// The version as it is to be served.
fn resolve(
    version: &VersionRef,
    model: &ModelName,
    declared: &ModelSpec,
    tools: &Tools,
) -> Result<VersionSpec, String> {
    let spec = match version.origin.is_null() {
        false => (tools.remake)(model, &version.origin)?,
        true => {
            let found = declared.find(&version.name);
            found.ok_or_else(|| "the configuration has no such version".to_owned())?
        }
    };
    let given = version.digest.strip_prefix("given:");
    let digest = candidate::digest(&spec, given)?;
    match digest == version.digest {
        true => Ok(spec),
        false => Err(format!("it was {} and is {digest}", version.digest)),
    }
}

/// Puts versions that the configuration does not have beside those that it has. They are loaded
/// while the process already serves, as those of the configuration are.
fn admit(
    model: &ModelName,
    declared: &ModelSpec,
    versions: &BTreeMap<VersionName, VersionSpec>,
    tools: &Tools,
) {
    let strangers = versions.values().filter(|spec| !declared.versions.contains(spec)).cloned();
    let mut overlay = Overlay { versions: strangers.collect(), ..Overlay::default() };
    if overlay.versions.is_empty() {
        return;
    }
    overlay.weights = declared.versions.iter().map(|v| (v.name.clone(), v.weight)).collect();
    let put = tools.board.admit(model.as_str(), overlay).map(|prepared| tools.board.put_at_once(prepared));
    if let Err(error) = put {
        tracing::error!(%model, %error, "a version that came with a rollout cannot be served");
    }
}
