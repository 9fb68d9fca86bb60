//! What was written of rollouts, read back when the process starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::candidate::{self, Digests, GIVEN};
use super::clock::Lead;
use super::model::{Found, Model};
use super::rows::{self, Kept, Weights};
use super::spec::RolloutSpec;
use super::stand_in::{choices, held, stand_in};
use super::tools::{self, Tools};
use crate::base::{ModelName, Role, VersionName, Weight};
use crate::control::board::declared_weights;
use crate::rollout::state::ModelState;
use crate::rollout::version::VersionRef;
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

/// The versions whose digests [`model`] needs.
pub(super) fn to_read(kept: &Kept, tools: &Tools) -> Vec<VersionSpec> {
    let state = &kept.state;
    let declared = tools.board.declared(state.model.as_str()).filter(|_| state.rollout.is_some());
    let Some(declared) = declared else { return Vec::new() };
    let is_read = |version: &VersionRef| !version.digest.starts_with(GIVEN);
    let wanted = wanted(state).into_iter().filter(is_read);
    let mut versions: Vec<_> =
        wanted.filter_map(|version| make(&version, &state.model, Some(&declared), tools).ok()).collect();
    versions.extend(choices(state, &declared));
    versions
}

/// The model as it was left, its versions in place on the table, if the configuration has it.
///
/// A version that is not what it was when the rollout began, or that is not to be had any more, gets
/// no traffic: its rollout is to be aborted. Where that is the stable one, the configuration's takes
/// its place, and all else stays as it was: latches, attempts, keys, numbers. Once the process
/// `is_serving`, one that would have to be loaded first is not to be had either.
pub(super) fn model(
    kept: &Kept,
    digests: &Digests,
    is_serving: bool,
    specs: &[RolloutSpec],
    tools: &Tools,
) -> Option<Model> {
    let Kept { state, weights, over, wall } = kept;
    let mut state = state.clone();
    let name = state.model.clone();
    let declared = tools.board.declared(name.as_str())?;
    let now = tools::now();
    let lead = match state.running() {
        Some(_) => Lead::of(state.clock, *wall, now),
        None => Lead::default(),
    };
    state.clock = state.clock.min(lead.time(now));
    let spec = specs.iter().find(|spec| spec.model == name).cloned();
    let mut weights = weights.as_ref().map(known);
    if state.rollout.is_none() {
        // Nothing but weights that were set by hand, over a configuration that may be newer.
        if over.as_ref().is_none_or(|over| *over != rows::weights(&declared_weights(&declared))) {
            weights = None;
        }
        state.stable.name = declared.versions.iter().find(|v| v.role == Role::Stable)?.name.clone();
        let found = Found { weights, lead, ..Found::default() };
        return Some(Model::with(state, spec, found));
    }
    let mut versions = BTreeMap::new();
    let mut lost = Vec::new();
    for version in wanted(&state) {
        let found = resolve(&version, &name, Some(&declared), digests, tools);
        match found.and_then(|spec| if is_serving { served(spec, &name, &declared, tools) } else { Ok(spec) })
        {
            Ok(spec) => _ = versions.insert(version.name.clone(), spec),
            Err(error) => {
                tracing::error!(model = %name, version = %version.name, %error, "a version of a rollout is not to be had any more");
                lost.push(version.name);
            }
        }
    }
    let is_replaced = lost.contains(&state.stable.name);
    if is_replaced {
        let stable = stand_in(&state, &declared, digests)?;
        tracing::warn!(model = %name, version = %stable.name, "it is stable now, as the configuration has it");
        versions.extend(declared.find(&stable.name).map(|spec| (stable.name.clone(), spec)));
        state.replace_stable(stable);
        // What was set by hand may speak of what is lost.
        let is_there = |version: &VersionName| declared.find(version).is_some();
        weights = weights.filter(|weights| weights.iter().all(|(version, _)| is_there(version)));
    }
    admit(&name, &declared, &versions, tools);
    let is_lost = !lost.is_empty();
    Some(Model::with(state, spec, Found { versions, weights, lead, is_lost, is_replaced }))
}

/// The versions that the state speaks of.
fn wanted(state: &ModelState) -> Vec<VersionRef> {
    let mut wanted = vec![state.stable.clone()];
    let running = state.running().map(|rollout| [rollout.stable.clone(), rollout.candidate.clone()]);
    wanted.extend(running.into_iter().flatten());
    wanted
}

/// The version, unless it is one that the configuration does not have and that is still to be loaded.
fn served(
    spec: VersionSpec,
    model: &ModelName,
    declared: &ModelSpec,
    tools: &Tools,
) -> Result<VersionSpec, String> {
    let table = tools.board.table();
    let there = table.model(model.as_str()).and_then(|model| model.version(spec.name.as_str()));
    let is_there = there.is_some_and(|(_, version)| version.spec.backend == spec.backend);
    if is_there || !candidate::is_file(&spec) || declared.versions.contains(&spec) {
        return Ok(spec);
    }
    Err("it would have to be loaded first, and the model is served already".to_owned())
}

/// Weights as they were kept, of what can be a version's.
fn known(weights: &Weights) -> Vec<(VersionName, Weight)> {
    let known = weights.iter().filter_map(|(version, points)| {
        Some((VersionName::new(version).ok()?, Weight::new(u32::from(*points)).ok()?))
    });
    known.collect()
}

/// Has a model that the configuration does not have come back with its stable version, if it does.
pub(super) fn hold(kept: &Kept, tools: &Tools) {
    let state = &kept.state;
    tracing::warn!(model = %state.model, "the store has a model that the configuration does not declare: it waits");
    let stable = resolve(&state.stable, &state.model, None, &Digests::default(), tools).ok();
    if let Some(overlay) = held(state, stable) {
        tools.board.hold(&state.model, overlay);
    }
}

/// The version as it is to be served, if it is what it was.
fn resolve(
    version: &VersionRef,
    model: &ModelName,
    declared: Option<&ModelSpec>,
    digests: &Digests,
    tools: &Tools,
) -> Result<VersionSpec, String> {
    let spec = make(version, model, declared, tools)?;
    let digest = digests.get(&spec, version.digest.strip_prefix(GIVEN))?;
    match digest == version.digest {
        true => Ok(spec),
        false => Err(format!("it was {} and is {digest}", version.digest)),
    }
}

/// The version of this name as it is to be served now.
fn make(
    version: &VersionRef,
    model: &ModelName,
    declared: Option<&ModelSpec>,
    tools: &Tools,
) -> Result<VersionSpec, String> {
    if !version.origin.is_null() {
        return (tools.remake)(model, &version.origin);
    }
    let found = declared.and_then(|declared| declared.find(&version.name));
    found.ok_or_else(|| "the configuration has no such version".to_owned())
}

/// Puts versions that the configuration does not have beside those that it has. They are loaded
/// while the process already serves, as those of the configuration are.
fn admit(
    model: &ModelName,
    declared: &ModelSpec,
    versions: &BTreeMap<VersionName, VersionSpec>,
    tools: &Tools,
) {
    let strangers: Vec<_> =
        versions.values().filter(|spec| !declared.versions.contains(spec)).cloned().collect();
    if strangers.is_empty() {
        return;
    }
    let put = tools.board.admit(model.as_str(), strangers, &Arc::default());
    let put = put.and_then(|prepared| tools.board.put_at_once(prepared));
    if let Err(error) = put {
        tracing::error!(%model, %error, "a version that came with a rollout cannot be served");
    }
}
