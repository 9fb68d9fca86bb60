//! Who has which shards, and what they add up to.
//!
//! Workers come here when their table changes, readers when they scrape; a request never does.
//! A shard that its worker let go of is added to what is retained for its key and freed, so
//! counters never fall and memory does not grow with the number of reloads. The number of keys is
//! bounded as well: what comes after the limit is counted under the name [`OVERFLOW`], and so are the
//! versions of a model that have gone longest, when many have.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{ModelName, Role, VersionName};

use super::pairs::PairTally;
use super::{MirrorShard, VersionShard, WorkerShard};

/// How many versions (times roles), and how many mirrors, are counted apart by default.
pub const KEY_LIMIT: usize = 4096;

/// Model and version under which everything beyond the limit is counted. No model or version can
/// have this name.
pub const OVERFLOW: &str = "_overflow";

/// How many versions of a model are counted apart after they have gone. The older ones are counted
/// under [`OVERFLOW`], so that a model that gets a version a day has no endless list of them.
const GONE_LIMIT: usize = 32;

/// What a version's numbers are filed under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionKey {
    /// Name of the model.
    pub model: Arc<str>,
    /// Name of the version.
    pub version: Arc<str>,
    /// What the version did when this was counted.
    pub role: Role,
}

/// What a mirror's numbers are filed under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MirrorKey {
    /// Name of the model whose requests are copied.
    pub model: Arc<str>,
    /// Name of the version that gets the copies.
    pub to: Arc<str>,
}

/// Sums over all workers, now and in the past.
#[derive(Debug, Default)]
pub struct Merged {
    /// Per model, version and role, in this order.
    pub versions: Vec<(VersionKey, VersionShard)>,
    /// Per model and shadow, in this order.
    pub mirrors: Vec<(MirrorKey, MirrorShard)>,
    /// Pairs of each mirror, in this order.
    pub pairs: Vec<(MirrorKey, Arc<PairTally>)>,
    /// Of the workers themselves.
    pub workers: WorkerShard,
    /// Registrations that were beyond the limit and are counted under [`OVERFLOW`].
    pub overflowed: u64,
}

impl Merged {
    /// Whether no request and no copy is under way, nor any on its way here.
    pub fn is_idle(&self) -> bool {
        let versions = self.versions.iter().map(|(_, shard)| &shard.in_flight);
        let mirrors = self.mirrors.iter().map(|(_, shard)| &shard.in_flight);
        let awaited = std::iter::once(&self.workers.requests_awaited);
        versions.chain(mirrors).chain(awaited).all(|gauge| gauge.get() <= 0)
    }
}

/// The list of all shards. Shared by every worker and reader.
#[derive(Debug)]
pub struct Registry {
    shards: Mutex<Shards>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Shards {
    versions: HashMap<VersionKey, Entry<VersionShard>>,
    mirrors: HashMap<MirrorKey, Entry<MirrorShard>>,
    pairs: HashMap<MirrorKey, Arc<PairTally>>,
    workers: Entry<WorkerShard>,
    overflowed: u64,
    /// Registrations so far.
    registered: u64,
}

/// The shards of one key: those in use, and the sum of those that no longer are.
#[derive(Debug, Default)]
struct Entry<S> {
    live: Vec<Arc<S>>,
    retained: S,
    /// Number of the latest registration.
    latest: u64,
}

/// What can be added up.
trait Shard: Default {
    fn absorb(&self, other: &Self);
    /// Takes back the gauges of a shard that nobody holds: they speak of now, and it has no now.
    fn settle(&self);
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry with the default limit of [`KEY_LIMIT`].
    pub fn new() -> Self {
        Self::with_key_limit(KEY_LIMIT)
    }

    /// An empty registry that counts at most `limit` versions and `limit` mirrors apart.
    pub fn with_key_limit(limit: usize) -> Self {
        Self { shards: Mutex::default(), limit }
    }

    /// A new shard for a version in a role, to be written by the calling worker alone.
    pub fn version(&self, model: &ModelName, version: &VersionName, role: Role) -> Arc<VersionShard> {
        let key = VersionKey { model: model.as_str().into(), version: version.as_str().into(), role };
        let spare = VersionKey { model: OVERFLOW.into(), version: OVERFLOW.into(), role };
        let shards = &mut *self.lock();
        if !shards.versions.contains_key(&key) {
            shards.gather_gone(model.as_str());
        }
        shards.registered += 1;
        let (limit, number) = (self.limit, shards.registered);
        register(&mut shards.versions, key, spare, limit, number, &mut shards.overflowed)
    }

    /// A new shard for the mirror of `model` to the version `to`, to be written by the calling
    /// worker alone.
    pub fn mirror(&self, model: &ModelName, to: &VersionName) -> Arc<MirrorShard> {
        let key = MirrorKey { model: model.as_str().into(), to: to.as_str().into() };
        let spare = MirrorKey { model: OVERFLOW.into(), to: OVERFLOW.into() };
        let shards = &mut *self.lock();
        shards.registered += 1;
        let (limit, number) = (self.limit, shards.registered);
        register(&mut shards.mirrors, key, spare, limit, number, &mut shards.overflowed)
    }

    /// Where the pairs of `model`'s mirror to the version `to` are counted: the same for all callers,
    /// and written by the one comparing thread.
    pub fn pairs(&self, model: &ModelName, to: &VersionName) -> Arc<PairTally> {
        let mut key = MirrorKey { model: model.as_str().into(), to: to.as_str().into() };
        let shards = &mut *self.lock();
        if shards.pairs.len() >= self.limit && !shards.pairs.contains_key(&key) {
            shards.overflowed += 1;
            key = MirrorKey { model: OVERFLOW.into(), to: OVERFLOW.into() };
        }
        Arc::clone(shards.pairs.entry(key).or_default())
    }

    /// A new shard for the calling worker itself.
    pub fn worker(&self) -> Arc<WorkerShard> {
        self.lock().workers.register(0)
    }

    /// The sums of everything, sorted. Frees the shards that no worker holds any more.
    pub fn merged(&self) -> Merged {
        let shards = &mut *self.lock();
        let mut merged = Merged {
            versions: sums(&mut shards.versions),
            mirrors: sums(&mut shards.mirrors),
            pairs: shards.pairs.iter().map(|(key, tally)| (key.clone(), Arc::clone(tally))).collect(),
            workers: shards.workers.sum(),
            overflowed: shards.overflowed,
        };
        let by_role = |role: Role| role.as_str();
        merged.versions.sort_by(|(a, _), (b, _)| {
            (&a.model, &a.version, by_role(a.role)).cmp(&(&b.model, &b.version, by_role(b.role)))
        });
        merged.mirrors.sort_by(|(a, _), (b, _)| a.cmp(b));
        merged.pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        merged
    }

    fn lock(&self) -> MutexGuard<'_, Shards> {
        // Nothing below leaves the list half changed, so a panicking reader spoils nothing.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shards {
    /// Adds those versions of `model` that have gone longest to what is counted under [`OVERFLOW`] for
    /// it, but for the latest [`GONE_LIMIT`]. A version has gone when it has no shard in any role.
    fn gather_gone(&mut self, model: &str) {
        let mut versions: HashMap<Arc<str>, (u64, bool)> = HashMap::new();
        let of_model = |key: &VersionKey| &*key.model == model && &*key.version != OVERFLOW;
        for (key, entry) in self.versions.iter_mut().filter(|(key, _)| of_model(key)) {
            entry.fold();
            let (latest, lives) = versions.entry(Arc::clone(&key.version)).or_default();
            *latest = entry.latest.max(*latest);
            *lives |= !entry.live.is_empty();
        }
        let gone = versions.into_iter().filter(|(_, (_, lives))| !lives);
        let mut gone: Vec<(u64, Arc<str>)> = gone.map(|(version, (latest, _))| (latest, version)).collect();
        gone.sort_unstable();
        gone.truncate(gone.len().saturating_sub(GONE_LIMIT));
        for (_, version) in gone {
            let is_it = |key: &VersionKey| of_model(key) && key.version == version;
            let old: Vec<_> = self.versions.extract_if(|key, _| is_it(key)).collect();
            for (key, entry) in old {
                let together = VersionKey { version: OVERFLOW.into(), ..key };
                self.versions.entry(together).or_default().retained.absorb(&entry.retained);
            }
        }
    }
}

fn register<K: Eq + Hash, S: Shard>(
    entries: &mut HashMap<K, Entry<S>>,
    key: K,
    spare: K,
    limit: usize,
    number: u64,
    overflowed: &mut u64,
) -> Arc<S> {
    let fits = entries.len() < limit || entries.contains_key(&key);
    if !fits {
        *overflowed += 1;
    }
    entries.entry(if fits { key } else { spare }).or_default().register(number)
}

fn sums<K: Clone + Eq + Hash, S: Shard>(entries: &mut HashMap<K, Entry<S>>) -> Vec<(K, S)> {
    entries.iter_mut().map(|(key, entry)| (key.clone(), entry.sum())).collect()
}

impl<S: Shard> Entry<S> {
    fn register(&mut self, number: u64) -> Arc<S> {
        self.fold();
        self.latest = number;
        let shard = Arc::new(S::default());
        self.live.push(Arc::clone(&shard));
        shard
    }

    fn sum(&mut self) -> S {
        self.fold();
        let sum = S::default();
        sum.absorb(&self.retained);
        self.live.iter().for_each(|shard| sum.absorb(shard));
        sum
    }

    /// Adds the shards that only this list holds to what is retained. `try_unwrap` succeeds only
    /// after the worker's last write is visible here.
    fn fold(&mut self) {
        for shard in std::mem::take(&mut self.live) {
            match Arc::try_unwrap(shard) {
                Ok(dead) => {
                    dead.settle();
                    self.retained.absorb(&dead);
                }
                Err(shard) => self.live.push(shard),
            }
        }
    }
}

impl Shard for VersionShard {
    fn absorb(&self, other: &Self) {
        self.absorb(other);
    }

    fn settle(&self) {
        self.in_flight.add(-self.in_flight.get());
    }
}

impl Shard for MirrorShard {
    fn absorb(&self, other: &Self) {
        self.absorb(other);
    }

    fn settle(&self) {
        self.in_flight.add(-self.in_flight.get());
        self.retained_bytes.add(-self.retained_bytes.get());
    }
}

impl Shard for WorkerShard {
    fn absorb(&self, other: &Self) {
        self.absorb(other);
    }

    fn settle(&self) {
        self.connections_active.add(-self.connections_active.get());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::new(name).unwrap()
    }

    fn version(name: &str) -> VersionName {
        VersionName::new(name).unwrap()
    }

    fn total(registry: &Registry) -> u64 {
        registry.merged().versions.iter().map(|(_, s)| s.outcome(Outcome::Success)).sum()
    }

    #[test]
    fn shards_of_several_workers_add_up_per_model_version_and_role() {
        let registry = Registry::new();
        let shards: Vec<_> =
            (0..3).map(|_| registry.version(&model("m"), &version("v1"), Role::Stable)).collect();
        let canary = registry.version(&model("m"), &version("v1"), Role::Canary);
        for shard in &shards {
            shard.outcomes[Outcome::Success.index()].add(2);
            shard.latency.record(5_000);
            shard.in_flight.add(1);
        }
        canary.outcomes[Outcome::Success.index()].add(1);
        let merged = registry.merged();
        let roles: Vec<_> = merged.versions.iter().map(|(k, _)| k.role).collect();
        assert_eq!(roles, [Role::Canary, Role::Stable]);
        let (_, stable) = &merged.versions[1];
        assert_eq!((stable.outcome(Outcome::Success), stable.in_flight.get()), (6, 3));
        assert!(!merged.is_idle());
        assert_eq!(stable.latency.snapshot().count(), 3);
    }

    #[test]
    fn ten_thousand_reloads_lose_no_count_and_keep_no_shard() {
        let registry = Registry::new();
        for n in 1..=10_000 {
            let shard = registry.version(&model("m"), &version("v1"), Role::Stable);
            shard.outcomes[Outcome::Success.index()].add(1);
            shard.in_flight.add(1);
            drop(shard);
            if n % 1_000 == 0 {
                assert_eq!(total(&registry), n);
            }
        }
        let merged = registry.merged();
        assert_eq!(merged.versions[0].1.in_flight.get(), 0, "a gauge does not outlive its shard");
        assert!(merged.is_idle());
        let worker = registry.worker();
        worker.requests_awaited.add(1);
        assert!(!registry.merged().is_idle(), "one is on its way");
        assert!(registry.lock().versions.values().all(|entry| entry.live.is_empty()));
    }

    #[test]
    fn a_reader_never_sees_a_counter_fall_while_shards_come_and_go() {
        let registry = Registry::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let shard = registry.version(&model("m"), &version("v1"), Role::Stable);
                        (0..10).for_each(|_| shard.outcomes[Outcome::Success.index()].add(1));
                    }
                });
            }
            let mut last = 0;
            for _ in 0..200 {
                let now = total(&registry);
                assert!(now >= last);
                last = now;
            }
        });
        assert_eq!(total(&registry), 40_000);
    }

    #[test]
    fn of_a_thousand_versions_that_have_gone_the_latest_are_counted_apart_and_none_is_lost() {
        let registry = Registry::new();
        // One that serves all the time, and one that does in another role.
        let first = registry.version(&model("m"), &version("first"), Role::Stable);
        registry.version(&model("m"), &version("second"), Role::Stable).outcomes[Outcome::Success.index()]
            .add(1);
        let second = registry.version(&model("m"), &version("second"), Role::Standby);
        registry.version(&model("other"), &version("v1"), Role::Stable);
        for n in 1..=1_000 {
            let shard = registry.version(&model("m"), &version(&format!("v{n}")), Role::Stable);
            shard.outcomes[Outcome::Success.index()].add(1);
            drop(shard);
            assert_eq!(total(&registry), n + 1);
        }
        first.outcomes[Outcome::Success.index()].add(1);
        let merged = registry.merged();
        let of = |name: &str| {
            let found = merged.versions.iter().filter(|(key, _)| &*key.version == name);
            found.map(|(_, shard)| shard.outcome(Outcome::Success)).collect::<Vec<_>>()
        };
        assert_eq!((of("first"), of("second")), (vec![1], vec![1, 0]));
        assert_eq!((of("v1"), of("v1000")), (vec![0], vec![1]));
        // The one that was registered last had 32 gone ones before it.
        assert_eq!(of(OVERFLOW), [1_000 - 33]);
        assert_eq!(merged.versions.len(), 4 + 33 + 1);
        drop((first, second));
    }

    #[test]
    fn keys_beyond_the_limit_are_counted_together() {
        let registry = Registry::with_key_limit(2);
        for name in ["a", "b", "c", "d"] {
            let shard = registry.version(&model(name), &version("v1"), Role::Stable);
            shard.outcomes[Outcome::Success.index()].add(1);
            registry.mirror(&model(name), &version("v2")).sent.add(1);
        }
        registry.version(&model("a"), &version("v1"), Role::Stable);
        let merged = registry.merged();
        let names: Vec<_> = merged.versions.iter().map(|(k, _)| &*k.model).collect();
        assert_eq!(names, ["_overflow", "a", "b"]);
        assert_eq!(merged.versions[0].1.outcome(Outcome::Success), 2);
        assert_eq!(merged.mirrors[0].1.sent.get(), 2);
        assert_eq!(merged.overflowed, 4);
        assert!(VersionName::new(OVERFLOW).is_err());
    }

    #[test]
    fn workers_that_end_leave_their_counts() {
        let registry = Registry::new();
        let worker = registry.worker();
        worker.connections_opened.add(2);
        worker.connections_active.add(1);
        drop(worker);
        let merged = registry.merged();
        assert_eq!(merged.workers.connections_opened.get(), 2);
        assert_eq!(merged.workers.connections_active.get(), 0);
    }
}
