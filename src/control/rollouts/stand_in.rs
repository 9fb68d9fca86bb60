//! Which version serves where the stable one is not to be had any more, and what lies over a model
//! that the configuration does not have.

use serde_json::Value;

use super::candidate;
use crate::base::{Role, Weight};
use crate::rollout::state::ModelState;
use crate::rollout::version::VersionRef;
use crate::routing::overlay::Overlay;
use crate::routing::spec::{ModelSpec, VersionSpec};

/// The version of the configuration that takes the place of the lost stable one: that of its name,
/// else the one that is stable there, else one with a weight; none that is latched. Where all are, it
/// is the first of them, for nobody else is left to answer.
pub(super) fn stand_in(state: &ModelState, declared: &ModelSpec) -> Option<VersionRef> {
    let same = declared.find(&state.stable.name).filter(|_| state.stable.origin.is_null());
    let stable = declared.versions.iter().filter(|version| version.role == Role::Stable);
    let weighted = declared.versions.iter().filter(|version| version.weight > Weight::ZERO);
    let mut first = None;
    for version in same.into_iter().chain(stable.chain(weighted).cloned()) {
        let found = as_it_is(&version);
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

fn as_it_is(version: &VersionSpec) -> VersionRef {
    let digest = candidate::digest(version, None).unwrap_or_else(|_| "unreadable".to_owned());
    VersionRef { name: version.name.clone(), digest, origin: Value::Null }
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
