//! Every engine of the process: who is loaded already, who is ending, how loading went.
//!
//! The table owns engines. The fleet only knows of them, so that the same version is never loaded
//! twice and a version that left the table is seen until its memory is free.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::engine::{Engine, LoadTally, State};
use super::repository::Repository;
use super::runtime::RuntimeSource;
use super::spec::EngineSpec;
use super::works::Works;

/// How loading the versions of a model went so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loads {
    /// Folder of the model.
    pub model: String,
    /// Versions that were loaded.
    pub ready: u64,
    /// Versions that were refused.
    pub failed: u64,
}

/// Starts engines and knows of those that there are.
pub struct Fleet {
    source: RuntimeSource,
    repository: Repository,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    members: Vec<Member>,
    /// By the model's folder: as many as the configuration names.
    tallies: BTreeMap<String, Arc<LoadTally>>,
}

struct Member {
    spec: EngineSpec,
    engine: Weak<Engine>,
    remains: Weak<Works>,
}

impl Fleet {
    /// A fleet whose engines use the library of `source` and belong to `repository`.
    pub fn new(source: RuntimeSource, repository: Repository) -> Self {
        Self { source, repository, known: Mutex::default() }
    }

    /// The engine of `spec`: the one that is there, unless it could not be loaded, else a new one
    /// that starts to load.
    pub fn start(&self, spec: &EngineSpec) -> Arc<Engine> {
        let mut known = self.known();
        known.members.retain(|member| member.remains.strong_count() > 0);
        let same = known.members.iter().filter(|member| member.spec == *spec);
        let usable = |engine: &Arc<Engine>| !matches!(engine.state(), State::Unavailable { .. });
        if let Some(engine) = same.filter_map(|member| member.engine.upgrade()).find(usable) {
            return engine;
        }
        let tally = Arc::clone(known.tallies.entry(spec.model.clone()).or_default());
        let (source, repository) = (self.source.clone(), self.repository.clone());
        let engine = Arc::new(Engine::start_in(spec.clone(), source, repository, tally));
        let (of, remains) = (Arc::downgrade(&engine), engine.remains());
        known.members.push(Member { spec: spec.clone(), engine: of, remains });
        engine
    }

    /// The repository that the engines belong to.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// What has left the table and is not gone yet.
    pub fn ending(&self) -> Vec<EngineSpec> {
        let known = self.known();
        let ending = known.members.iter().filter(|member| {
            member.remains.upgrade().is_some_and(|works| works.is_dropped()) && !member.spec.unloaded
        });
        ending.map(|member| member.spec.clone()).collect()
    }

    /// How loading went, by the model's folder.
    pub fn loads(&self) -> Vec<Loads> {
        let known = self.known();
        let one = |(model, tally): (&String, &Arc<LoadTally>)| Loads {
            model: model.clone(),
            ready: tally.ready.load(Relaxed),
            failed: tally.failed.load(Relaxed),
        };
        known.tallies.iter().map(one).collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing;

    #[tokio::test]
    async fn a_version_is_loaded_once_as_long_as_somebody_holds_it_and_seen_until_it_is_gone() {
        let fleet = Fleet::new(testing::source(), Repository::default());
        let spec = testing::demo("digits", 1);
        let one = fleet.start(&spec);
        assert!(Arc::ptr_eq(&one, &fleet.start(&spec)));
        one.wait_loaded().await;
        let loads = || fleet.loads().pop().unwrap();
        assert_eq!((loads().ready, loads().failed), (1, 0));
        assert!(fleet.ending().is_empty());
        let remains = one.remains();
        drop(one);
        while remains.strong_count() > 0 {
            // Its owner ends on its own.
            std::thread::yield_now();
        }
        assert!(fleet.ending().is_empty());
        let again = fleet.start(&spec);
        again.wait_loaded().await;
        assert_eq!(loads().ready, 2);
    }

    #[tokio::test]
    async fn a_version_that_could_not_be_loaded_is_tried_again_and_one_that_is_unloaded_is_not() {
        let fleet = Fleet::new(testing::source(), Repository::default());
        let spec = testing::demo("digits", 99);
        let one = fleet.start(&spec);
        one.wait_loaded().await;
        assert!(!Arc::ptr_eq(&one, &fleet.start(&spec)));
        let unloaded = fleet.start(&EngineSpec { unloaded: true, ..spec });
        assert_eq!(unloaded.state(), State::Unavailable { reason: "unloaded".into() });
    }
}
