//! Which version serves where the stable one is not to be had any more, and what lies over a model
//! that the configuration does not have.

use serde_json::Value;

use super::candidate::Digests;
use crate::base::{Role, Weight};
use crate::rollout::state::ModelState;
use crate::rollout::version::VersionRef;
use crate::routing::overlay::Overlay;
use crate::routing::spec::{ModelSpec, VersionSpec};

/// The digest of a version whose file cannot be read.
pub(super) const UNREADABLE: &str = "unreadable";

/// The version of the configuration that takes the place of the lost stable one: that of its name,
/// else the one that is stable there, else one with a weight; none that is latched. Where all are, it
/// is the first of them, for nobody else is left to answer.
pub(super) fn stand_in(state: &ModelState, declared: &ModelSpec, digests: &Digests) -> Option<VersionRef> {
    let mut first = None;
    for version in choices(state, declared) {
        let digest = digests.get(&version, None).unwrap_or_else(|_| UNREADABLE.to_owned());
        let found = VersionRef { name: version.name, digest, origin: Value::Null };
        if !state.latches.contains_key(&found.digest) {
            return Some(found);
        }
        first.get_or_insert(found);
    }
    if let Some(version) = &first {
        tracing::error!(model = %state.model, version = %version.name, "every version that the configuration gives traffic was rolled back: the first of them serves");
    }
    first
}

/// The versions that may take that place, the best first.
pub(super) fn choices(state: &ModelState, declared: &ModelSpec) -> Vec<VersionSpec> {
    let is_same = |version: &&VersionSpec| state.stable.origin.is_null() && version.name == state.stable.name;
    let same = declared.versions.iter().filter(is_same);
    let stable = declared.versions.iter().filter(|version| version.role == Role::Stable);
    let weighted = declared.versions.iter().filter(|version| version.weight > Weight::ZERO);
    same.chain(stable).chain(weighted).cloned().collect()
}

/// What is to be laid over the model from its first request on, should the configuration bring it
/// back: all traffic is stable's. Nothing before the first rollout.
pub(super) fn held(state: &ModelState, stable: Option<VersionSpec>) -> Option<Overlay> {
    let live = state.live()?;
    let name = &state.stable.name;
    let mut roles = vec![(name.clone(), Role::Stable)];
    let others = live.versions.into_iter().filter(|version| version.version != *name);
    roles.extend(others.map(|version| (version.version, Role::Retired)));
    Some(Overlay {
        roles,
        weights: vec![(name.clone(), Weight::FULL)],
        versions: stable.into_iter().collect(),
        ..Overlay::default()
    })
}
