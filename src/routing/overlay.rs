//! What has been made of a model while running, laid over what the configuration declares.
//!
//! The configuration gives the first stable version and the first weights. What an operator or a
//! rollout changed since is an overlay: a reload applies it again, so nothing in a file undoes it
//! by accident. Pure data; `table` puts it in place.

use std::sync::Arc;

use super::inputs::Inputs;
use super::scores::Scores;
use super::spec::{MirrorSpec, ModelSpec, SegmentSpec, VersionSpec};
use crate::base::{Role, VersionName, Weight};
use crate::stats::pairs::PairTally;
use crate::stats::trial::Trial;

/// Weights, roles and mirrors of now, where they are no longer the configuration's.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Roles, where a rollout has given them. One of them is stable.
    pub roles: Vec<(VersionName, Role)>,
    /// Weights; versions that are not named get none.
    pub weights: Vec<(VersionName, Weight)>,
    /// Versions that a rollout needs, as it began with them. They stand in for the configuration's
    /// of the same name, or beside them.
    pub versions: Vec<VersionSpec>,
    /// The mirror of a rollout. The configuration's own mirrors to the same version give way.
    pub mirror: Option<MirrorSpec>,
    /// What is being tried.
    pub trial: Option<LiveTrial>,
}

/// A trial that requests are counted in.
#[derive(Debug, Clone)]
pub struct LiveTrial {
    /// What is counted of live requests.
    pub trial: Arc<Trial>,
    /// What is counted of pairs.
    pub pairs: Arc<PairTally>,
    /// The version that is tried beside stable.
    pub candidate: VersionName,
    /// The stable version that it is compared with: after promotion, the previous one.
    pub baseline: VersionName,
    /// Predictions, where they are watched.
    pub scores: Option<Arc<Scores>>,
    /// Inputs, where they are watched.
    pub inputs: Option<Arc<Inputs>>,
    /// What tells segments apart, if anything does.
    pub segment: Option<SegmentSpec>,
}

impl Overlay {
    /// The weights that an operator has set, and nothing else.
    pub fn of_weights(weights: Vec<(VersionName, Weight)>) -> Self {
        Self { weights, ..Self::default() }
    }

    /// All traffic for the version that is declared stable, whatever its weight there.
    pub fn all_to_stable(declared: &ModelSpec) -> Option<Self> {
        let stable = declared.versions.iter().find(|version| version.role == Role::Stable)?.name.clone();
        let (roles, weights) = (vec![(stable.clone(), Role::Stable)], vec![(stable, Weight::FULL)]);
        Some(Self { roles, weights, ..Self::default() })
    }

    /// Whether a rollout made it: then a configuration's own weights do not replace it.
    pub fn is_owned(&self) -> bool {
        !self.roles.is_empty()
    }

    /// The stable version, where a rollout has fixed it.
    pub fn stable(&self) -> Option<&VersionName> {
        self.roles.iter().find(|(_, role)| *role == Role::Stable).map(|(name, _)| name)
    }

    /// Whether the stable version that a rollout has fixed is one of the model's, with this on top.
    pub fn has_stable(&self, declared: &ModelSpec) -> bool {
        self.stable().is_some_and(|stable| {
            self.versions.iter().chain(&declared.versions).any(|version| version.name == *stable)
        })
    }

    /// Puts `versions` beside those that the model has, or in place of those of the same name. Weights stay
    /// as they are, or as they are declared.
    pub fn admit(&mut self, versions: &[VersionSpec], declared: &ModelSpec) {
        self.versions.retain(|old| versions.iter().all(|new| new.name != old.name));
        self.versions.extend_from_slice(versions);
        if self.weights.is_empty() {
            self.weights = declared.versions.iter().map(|v| (v.name.clone(), v.weight)).collect();
        }
    }

    /// The model as it is to be served: `declared` with this on top.
    pub fn apply(&self, declared: &ModelSpec) -> ModelSpec {
        let mut spec = declared.clone();
        for version in &self.versions {
            match spec.versions.iter_mut().find(|v| v.name == version.name) {
                Some(same) => *same = version.clone(),
                None => spec.versions.push(version.clone()),
            }
        }
        if let Some(mirror) = &self.mirror {
            spec.mirrors.retain(|m| m.to != mirror.to);
            spec.mirrors.push(mirror.clone());
        }
        let weight = |name: &VersionName| {
            self.weights.iter().find(|(of, _)| of == name).map_or(Weight::ZERO, |(_, weight)| *weight)
        };
        if self.is_owned() {
            // A version that has come to serve cannot be shadowed any more.
            spec.mirrors.retain(|m| weight(&m.to) == Weight::ZERO);
        }
        let mirrors = std::mem::take(&mut spec.mirrors);
        for version in &mut spec.versions {
            version.weight = weight(&version.name);
            version.role = self.role(version, &mirrors);
        }
        spec.mirrors = mirrors;
        spec
    }

    /// The role that follows from a weight: stable stays stable, live traffic makes a canary, a
    /// mirror a shadow, and what has neither stands by.
    fn role(&self, version: &VersionSpec, mirrors: &[MirrorSpec]) -> Role {
        let given = self.roles.iter().find(|(name, _)| *name == version.name).map(|(_, role)| *role);
        // With a stable version of the rollout's, the configuration's is only one of the others.
        let own = match version.role {
            Role::Stable if self.is_owned() => Role::Standby,
            role => role,
        };
        let role = given.unwrap_or(own);
        // What a rollout says counts, but for a version that an operator has given weight since.
        if role == Role::Stable || (given.is_some() && role != Role::Retired) {
            return role;
        }
        match role {
            _ if version.weight > Weight::ZERO => Role::Canary,
            _ if mirrors.iter().any(|m| m.to == version.name) => Role::Shadow,
            Role::Retired => Role::Retired,
            _ => Role::Standby,
        }
    }
}
