//! One worker's own view of the table: its connection pools and its shards of the statistics.
//!
//! Nothing here is shared between threads but the counters, which only this worker writes. A view
//! is made anew when the table changes; pools, shards and budgets of what stays are carried over.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::body::RequestBody;
use super::overlay::LiveTrial;
use super::spec::{MirrorSpec, RetrySpec};
use super::table::{Backend, Model, RoutingTable, Version};
use crate::base::Role;
use crate::onnx::Family;
use crate::stats::pairs::PairTally;
use crate::stats::trial::{Arm, TrialShard};
use crate::stats::{MirrorShard, Registry, VersionShard};
use crate::upstream::Fleet;

/// A worker's view of one table.
pub struct LocalTable {
    /// The table it is a view of.
    pub table: Arc<RoutingTable>,
    /// Views of its models, by the same index.
    pub models: Box<[Rc<LocalModel>]>,
}

/// A worker's view of a model.
pub struct LocalModel {
    /// The model.
    pub model: Arc<Model>,
    /// Views of its versions, by the same index.
    pub versions: Box<[Rc<LocalVersion>]>,
    /// Views of its mirrors, by the index of `model.spec.mirrors`.
    pub mirrors: Box<[Rc<LocalMirror>]>,
    /// What a rollout is trying, if one is.
    pub trial: Option<Rc<LocalTrial>>,
    /// How many requests may still be sent again.
    pub retries: Rc<RetryBudget>,
}

/// How many requests a worker may send again. A token is a repetition; requests and time bring
/// tokens in, up to what a thousand requests and a second bring.
#[derive(Debug, Default)]
pub struct RetryBudget {
    /// Ten thousandths of tokens, from requests.
    earned: Cell<u64>,
    /// Tokens of the present second that are used.
    used: Cell<u32>,
    /// When the present second began.
    since: Cell<Option<Instant>>,
}

/// Requests whose share of tokens is kept at most.
const SAVED_REQUESTS: u64 = 1_000;

impl RetryBudget {
    /// A request has come.
    pub fn deposit(&self, spec: &RetrySpec) {
        let share = u64::from(spec.budget.basis_points());
        self.earned.set((self.earned.get() + share).min(share * SAVED_REQUESTS));
    }

    /// Takes a token, if there is one.
    pub fn take(&self, spec: &RetrySpec) -> bool {
        if let Some(left) = self.earned.get().checked_sub(10_000) {
            self.earned.set(left);
            return true;
        }
        let now = Instant::now();
        if self.since.get().is_none_or(|since| now.saturating_duration_since(since).as_secs() >= 1) {
            self.since.set(Some(now));
            self.used.set(0);
        }
        let free = self.used.get() < spec.min_per_second;
        self.used.set(self.used.get() + u32::from(free));
        free
    }
}

/// A worker's view of a trial.
pub struct LocalTrial {
    /// The trial.
    pub live: LiveTrial,
    /// What this worker has counted in it.
    pub shard: Arc<TrialShard>,
    /// Index of the version that is compared with.
    baseline: usize,
    /// Index of the version that is tried.
    candidate: usize,
    /// Numbers of the segments this worker has met, so that it need not ask again.
    segments: RefCell<HashMap<Box<str>, usize>>,
}

/// A worker's view of a version.
pub struct LocalVersion {
    /// The version.
    pub version: Arc<Version>,
    /// This worker's way to the version, where it is a model server's.
    pub fleet: Option<Rc<Fleet<RequestBody>>>,
    /// What this worker has measured of it, in its role of now.
    pub shard: Arc<VersionShard>,
    /// Requests sent again that the shard knows of.
    retries: Cell<u64>,
    /// The model's versions, where all of them are in this process.
    pub family: Option<Arc<Family>>,
}

/// A worker's view of a mirror: what its copies use up now.
pub struct LocalMirror {
    /// Limits and deadline.
    pub spec: MirrorSpec,
    /// The version that gets the copies.
    pub target: Rc<LocalVersion>,
    /// The stable version, for the copies that go back to it. What they do is counted under the
    /// role of a shadow, apart from its live requests.
    pub control: Option<Rc<LocalVersion>>,
    /// What this worker has counted.
    pub shard: Arc<MirrorShard>,
    /// Copies under way and bytes retained for them.
    pub load: Rc<MirrorLoad>,
    /// Where the comparing thread counts this mirror's pairs.
    pub tally: Arc<PairTally>,
    /// The trial that the mirror belongs to, if it is a rollout's.
    pub trial: Option<Rc<LocalTrial>>,
}

/// What the copies of one mirror use up on one worker. It outlives a change of the table.
#[derive(Debug, Default)]
pub struct MirrorLoad {
    /// Copies under way.
    pub in_flight: Cell<usize>,
    /// Bytes retained for them.
    pub retained: Cell<usize>,
    /// When what has been read of answers would have come at the pace that is allowed.
    pub read_until: Cell<Option<Instant>>,
}

impl LocalTable {
    /// A view of `table`, which carries over from `previous` what stays.
    pub fn new(table: Arc<RoutingTable>, previous: Option<&Self>, registry: &Registry) -> Self {
        let old = |model: &Model| previous?.models.iter().find(|m| m.model.spec.name == model.spec.name);
        let models = table.models.iter().map(|m| Rc::new(LocalModel::new(m, old(m), registry))).collect();
        Self { table, models }
    }
}

impl LocalModel {
    fn new(model: &Arc<Model>, previous: Option<&Rc<Self>>, registry: &Registry) -> Self {
        let versions: Box<[Rc<LocalVersion>]> = model
            .versions
            .iter()
            .map(|version| {
                let versions = previous.map(|p| &*p.versions).unwrap_or_default();
                Rc::new(LocalVersion::new(model, version, versions, registry))
            })
            .collect();
        let trial = model.trial.as_ref().and_then(|live| {
            let old = previous.and_then(|p| p.trial.as_ref());
            LocalTrial::new(model, live, old)
        });
        let mirrors = model
            .spec
            .mirrors
            .iter()
            .zip(&model.mirror_targets)
            .filter_map(|(spec, target)| {
                let target = versions.get(*target)?.clone();
                let old = previous.and_then(|p| p.mirrors.iter().find(|m| m.spec.to == spec.to));
                let control = spec
                    .has_controls()
                    .then(|| LocalVersion::control(model, versions.get(model.stable)?, old, registry))
                    .flatten();
                let trial = trial.as_ref().filter(|trial| trial.live.candidate == spec.to);
                Some(Rc::new(LocalMirror::new(model, spec, (target, control), trial, old, registry)))
            })
            .collect();
        let retries = previous.map(|p| p.retries.clone()).unwrap_or_default();
        Self { model: model.clone(), versions, mirrors, trial, retries }
    }
}

impl LocalVersion {
    fn new(model: &Model, version: &Arc<Version>, previous: &[Rc<Self>], registry: &Registry) -> Self {
        let fleet = match &version.backend {
            Backend::Onnx(_) => None,
            Backend::Upstream(cluster) => {
                let mut known = previous.iter().filter_map(|p| p.fleet.as_ref());
                let kept = known.find(|fleet| Arc::ptr_eq(fleet.cluster(), cluster));
                Some(kept.cloned().unwrap_or_else(|| Fleet::new(cluster.clone())))
            }
        };
        let same = previous
            .iter()
            .find(|p| p.version.spec.name == version.spec.name && p.version.spec.role == version.spec.role);
        let shard = same.map_or_else(
            || registry.version(&model.spec.name, &version.spec.name, version.spec.role),
            |p| p.shard.clone(),
        );
        let retries = Cell::new(fleet.as_ref().map_or(0, |fleet| fleet.resent()));
        Self { version: version.clone(), fleet, shard, retries, family: model.family.clone() }
    }

    /// The view of the stable version through which a mirror sends its control copies.
    fn control(
        model: &Model,
        stable: &Rc<Self>,
        previous: Option<&Rc<LocalMirror>>,
        registry: &Registry,
    ) -> Option<Rc<Self>> {
        let old = previous.and_then(|p| p.control.as_ref());
        let same = old.filter(|old| old.version.spec.name == stable.version.spec.name);
        let shard = same.map_or_else(
            || registry.version(&model.spec.name, &stable.version.spec.name, Role::Shadow),
            |old| old.shard.clone(),
        );
        let retries = Cell::new(stable.fleet.as_ref().map_or(0, |fleet| fleet.resent()));
        let (version, fleet, family) = (stable.version.clone(), stable.fleet.clone(), stable.family.clone());
        Some(Rc::new(Self { version, fleet, shard, retries, family }))
    }

    /// While this is set, requests that are dropped without an answer are their endpoint's failures:
    /// the time for an answer is over.
    pub fn blame(&self, blamed: bool) {
        if let Some(fleet) = &self.fleet {
            fleet.blame(blamed);
        }
    }

    /// Whether it has endpoints to choose among.
    pub fn has_choice(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| !fleet.cluster().is_lone())
    }

    /// Counts what was sent again since the last call.
    pub(super) fn count_retries(&self) {
        let retried = self.fleet.as_ref().map_or(0, |fleet| fleet.resent());
        let new = retried.saturating_sub(self.retries.replace(retried));
        if new > 0 {
            self.shard.retries.add(new);
        }
    }
}

impl LocalMirror {
    fn new(
        model: &Model,
        spec: &MirrorSpec,
        (target, control): (Rc<LocalVersion>, Option<Rc<LocalVersion>>),
        trial: Option<&Rc<LocalTrial>>,
        previous: Option<&Rc<Self>>,
        registry: &Registry,
    ) -> Self {
        let (shard, load) = match previous {
            Some(old) => (old.shard.clone(), old.load.clone()),
            None => (registry.mirror(&model.spec.name, &spec.to), Rc::default()),
        };
        let tally = registry.pairs(&model.spec.name, &spec.to);
        Self { spec: spec.clone(), target, control, shard, load, tally, trial: trial.cloned() }
    }
}

impl LocalTrial {
    fn new(model: &Model, live: &LiveTrial, previous: Option<&Rc<Self>>) -> Option<Rc<Self>> {
        let (baseline, _) = model.version(live.baseline.as_str())?;
        let (candidate, _) = model.version(live.candidate.as_str())?;
        let same = previous.filter(|old| Arc::ptr_eq(&old.live.trial, &live.trial));
        let (shard, segments) = match same {
            Some(old) => (old.shard.clone(), old.segments.borrow().clone()),
            None => (live.trial.register(), HashMap::new()),
        };
        let segments = RefCell::new(segments);
        Some(Rc::new(Self { live: live.clone(), shard, baseline, candidate, segments }))
    }

    /// The side that a request for the version of this index is on, if it is on either.
    pub fn arm(&self, version: usize) -> Option<Arm> {
        match version {
            _ if version == self.baseline => Some(Arm::Stable),
            _ if version == self.candidate => Some(Arm::Candidate),
            _ => None,
        }
    }

    /// The number of the segment of this name, of a dimension at this place of which at most `most` are
    /// told apart.
    pub fn segment(&self, dimension: usize, most: usize, name: &str) -> usize {
        let mut known = self.segments.borrow_mut();
        if let Some(number) = known.get(name) {
            return *number;
        }
        let segments = &self.live.trial.segments;
        let number = segments.number(dimension, most, name);
        // Names beyond the limit are not kept: there may be any number of them.
        if number < segments.limit() {
            known.insert(name.into(), number);
        }
        number
    }
}
