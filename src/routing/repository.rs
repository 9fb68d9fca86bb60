//! A model whose versions are whatever lies in its folder, and which roles they have.
//!
//! Pure but for [`RepositorySpec::scan`]: who looks at folders, and when, is `control`'s matter.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{BackendSpec, RepositorySpec, VersionSpec};
use crate::base::{Role, VersionName, Weight};
use crate::onnx::EngineSpec;
use crate::onnx::repository::scan::{self, Stamp};
use crate::wire::rewrite::RewriteSpec;

/// Versions found, and how their files look.
pub type Found = BTreeMap<u64, Stamp>;

impl RepositorySpec {
    /// The versions that lie there now. Blocks.
    ///
    /// # Errors
    /// Why the folder can't be read.
    pub fn scan(&self) -> std::io::Result<Found> {
        scan::versions(&self.engine.repository, &self.engine.model)
    }

    /// The version of this number, without traffic.
    pub fn version(&self, number: u64, stamp: Option<Stamp>) -> Option<VersionSpec> {
        let engine = EngineSpec { version: number, stamp, ..self.engine.clone() };
        Some(VersionSpec {
            name: VersionName::new(&number.to_string()).ok()?,
            weight: Weight::ZERO,
            role: Role::Standby,
            backend: BackendSpec::Onnx(engine),
            rewrite: RewriteSpec::default(),
            limit: None,
        })
    }

    /// The version of this name as it lies in the folder now. Blocks.
    pub fn lookup(&self, name: &VersionName) -> Option<VersionSpec> {
        let number: u64 = name.as_str().parse().ok()?;
        let spec = self.version(number, None)?;
        let BackendSpec::Onnx(engine) = &spec.backend else { return None };
        let there = spec.name == *name && engine.path().is_file();
        there.then(|| self.version(number, Some(scan::stamp(&engine.folder())))).flatten()
    }

    /// The version that is stable, of those `found`: the label's, else `held` where a rollout decides
    /// who comes next, else the highest that the policy serves.
    pub fn stable_of(&self, found: &Found, held: Option<u64>) -> Option<u64> {
        let there = |number: Option<u64>| number.filter(|number| found.contains_key(number));
        let held = held.filter(|_| self.has_rollout);
        there(self.stable).or(there(held)).or_else(|| self.chosen(found).last().copied())
    }

    /// The version that a rollout is to move to: the highest, where it is above the stable one.
    pub fn candidate_of(&self, found: &Found, held: Option<u64>) -> Option<u64> {
        let stable = self.stable_of(found, held)?;
        self.chosen(found).last().copied().filter(|highest| self.has_rollout && *highest > stable)
    }

    fn chosen(&self, found: &Found) -> BTreeSet<u64> {
        let labelled: Vec<u64> = self.stable.into_iter().chain(self.canary).collect();
        self.policy.choose(&found.keys().copied().collect(), &labelled)
    }

    /// The versions to serve of those `found`, lowest first, `kept` ones with them. Never empty:
    /// where nothing is found there is one that is not to be had, so that the model is known and
    /// says why it does not answer.
    pub fn versions(&self, found: &Found, held: Option<u64>, kept: &[u64]) -> Vec<VersionSpec> {
        let stable = self.stable_of(found, held);
        let mut chosen = self.chosen(found);
        chosen.extend(stable);
        chosen.extend(kept.iter().filter(|number| found.contains_key(number)));
        let mut versions: Vec<VersionSpec> = chosen
            .iter()
            .filter_map(|number| {
                let mut spec = self.version(*number, found.get(number).copied())?;
                if Some(*number) == stable {
                    (spec.role, spec.weight) = (Role::Stable, Weight::FULL);
                }
                Some(spec)
            })
            .collect();
        let share = self.canary_weight;
        let canary = self.canary.filter(|canary| chosen.contains(canary) && Some(*canary) != stable);
        if let (Some(canary), true) = (canary, share > Weight::ZERO) {
            let number = |spec: &VersionSpec| match &spec.backend {
                BackendSpec::Onnx(engine) => Some(engine.version),
                BackendSpec::Upstream(_) => None,
            };
            for spec in &mut versions {
                match number(spec) {
                    n if n == Some(canary) => (spec.role, spec.weight) = (Role::Canary, share),
                    n if n == stable => spec.weight = share.rest(),
                    _ => {}
                }
            }
        }
        if versions.is_empty() {
            let mut nothing = self.version(self.stable.unwrap_or(1), None);
            if let Some(spec) = &mut nothing {
                (spec.role, spec.weight) = (Role::Stable, Weight::FULL);
            }
            versions.extend(nothing);
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::onnx::repository::policy::VersionPolicy;

    fn spec() -> RepositorySpec {
        RepositorySpec {
            engine: EngineSpec::new("/models".into(), "m".into(), 0),
            policy: VersionPolicy::default(),
            stable: None,
            canary: None,
            canary_weight: Weight::ZERO,
            keep_previous: Duration::ZERO,
            has_rollout: false,
        }
    }

    fn found(numbers: &[u64]) -> Found {
        numbers.iter().map(|number| (*number, number * 7)).collect()
    }

    fn shown(spec: &RepositorySpec, numbers: &[u64], held: Option<u64>, kept: &[u64]) -> Vec<String> {
        let versions = spec.versions(&found(numbers), held, kept);
        versions.iter().map(|v| format!("{} {} {}", v.name, v.role, v.weight)).collect()
    }

    #[test]
    fn the_highest_number_is_stable_and_a_label_says_otherwise() {
        assert_eq!(shown(&spec(), &[1, 2, 10], None, &[]), ["10 stable 100%"]);
        assert_eq!(shown(&spec(), &[1, 2, 10], None, &[2]), ["2 standby 0%", "10 stable 100%"]);
        let labelled = RepositorySpec { stable: Some(1), ..spec() };
        assert_eq!(shown(&labelled, &[1, 2], None, &[]), ["1 stable 100%", "2 standby 0%"]);
        let absent = RepositorySpec { stable: Some(9), ..spec() };
        assert_eq!(shown(&absent, &[1, 2], None, &[]), ["2 stable 100%"]);
    }

    #[test]
    fn a_canary_gets_its_share_and_stable_the_rest() {
        let canary_weight = Weight::new(500).unwrap();
        let spec = RepositorySpec { stable: Some(1), canary: Some(2), canary_weight, ..spec() };
        assert_eq!(shown(&spec, &[1, 2, 3], None, &[]), ["1 stable 95%", "2 canary 5%", "3 standby 0%"]);
        assert_eq!(shown(&spec, &[1], None, &[]), ["1 stable 100%"]);
    }

    #[test]
    fn with_a_rollout_a_new_version_is_its_candidate_and_what_is_stable_stays() {
        let spec = RepositorySpec { has_rollout: true, ..spec() };
        assert_eq!(shown(&spec, &[1, 2], Some(1), &[]), ["1 stable 100%", "2 standby 0%"]);
        assert_eq!(spec.candidate_of(&found(&[1, 2]), Some(1)), Some(2));
        assert_eq!(spec.candidate_of(&found(&[1, 2]), Some(2)), None);
        assert_eq!(spec.candidate_of(&found(&[1, 2]), None), None);
    }

    #[test]
    fn where_nothing_is_there_the_model_is_known_all_the_same() {
        assert_eq!(shown(&spec(), &[], None, &[]), ["1 stable 100%"]);
        assert!(spec().lookup(&VersionName::new("1").unwrap()).is_none());
    }
}
