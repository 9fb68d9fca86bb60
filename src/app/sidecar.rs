//! The running sidecar as the operator's side sees it: how things stand, and what can be changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::candidate;
use crate::admin::{
    AdminError, ConcurrencyState, ConfigState, EndpointState, EngineState, ListenerState, Live, MirrorState,
    ModelState, ProcessState, Readiness, Reloaded, Sidecar, State, UpstreamState, VersionState, WeightsSet,
};
use crate::base::{BindAddress, ModelName, VersionName, Weight};
use crate::config::{self, Config};
use crate::control::board::Switchboard;
use crate::control::certificates::Certificates;
use crate::control::memory::Memory;
use crate::control::reach::Reach;
use crate::control::repository::{Declared, Keeper};
use crate::control::rollouts::{Call, CandidateCall, Rollouts};
use crate::control::tasks::Tasks;
use crate::divergence::pairs::PairSpec;
use crate::mirror::compare::Books;
use crate::notify::Receivers;
use crate::onnx::Loads;
use crate::rollout::policy::Policy;
use crate::rollout::version::Actor;
use crate::routing::limit::Limiter;
use crate::routing::spec::BackendSpec;
use crate::routing::table::{Backend, Model, Version};
use crate::stats::Registry;
use crate::upstream::Address;

/// What is running.
pub(super) struct Running {
    path: PathBuf,
    started: Instant,
    listeners: Vec<ListenerState>,
    board: Arc<Switchboard>,
    reach: Reach,
    registry: Arc<Registry>,
    rollouts: Arc<Rollouts>,
    keeper: Arc<Keeper>,
    books: Books,
    watched: Watched,
    draining: AtomicBool,
    current: Mutex<Current>,
    /// One reload at a time.
    reloading: Mutex<()>,
}

/// The configuration that is live, and how the later ones fared.
struct Current {
    config: Config,
    loaded_at: SystemTime,
    applied: u64,
    refused: u64,
    last_error: Option<String>,
    /// Hash of the file's bytes as they were last read, applied or refused; as `Config::hash`.
    read: String,
}

/// What a running sidecar is made of.
pub(super) struct Parts {
    pub(super) board: Arc<Switchboard>,
    pub(super) registry: Arc<Registry>,
    pub(super) rollouts: Arc<Rollouts>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) books: Books,
    pub(super) listeners: Vec<(String, BindAddress)>,
    pub(super) watched: Watched,
}

/// What is watched of the process.
pub(super) struct Watched {
    pub(super) memory: Arc<Memory>,
    pub(super) certificates: Arc<Certificates>,
    /// How often a worker was started again.
    pub(super) restarts: Arc<AtomicU64>,
    pub(super) tasks: Arc<Tasks>,
}

impl Running {
    pub(super) fn new(path: &Path, config: &Config, parts: Parts) -> Self {
        let Parts { board, registry, rollouts, keeper, books, listeners, watched } = parts;
        books.keep(kept_pairs(config));
        let named =
            |(name, address): (String, BindAddress)| ListenerState { name, address: address.to_string() };
        Self {
            path: path.to_owned(),
            started: Instant::now(),
            listeners: listeners.into_iter().map(named).collect(),
            board,
            reach: Reach::default(),
            registry,
            rollouts,
            keeper,
            books,
            watched,
            draining: AtomicBool::new(false),
            current: Mutex::new(Current {
                config: config.clone(),
                loaded_at: SystemTime::now(),
                applied: 0,
                refused: 0,
                last_error: None,
                read: config.hash.clone(),
            }),
            reloading: Mutex::new(()),
        }
    }

    /// From here on the sidecar is not ready.
    pub(super) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Asks the upstreams whether they are there, as long as it is polled.
    pub(super) async fn watch_upstreams(&self) {
        self.reach.watch(&self.board).await;
    }

    /// Whether the configuration file has other bytes than when it was last read.
    pub(super) fn is_changed(&self) -> bool {
        bytes_hash(&self.path) != self.current().read
    }

    /// Where relative paths start.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the configuration of now, whole or not at all.
    fn take_up(&self) -> Result<Reloaded, String> {
        let config = config::load(&self.path).map_err(|errors| errors.to_string())?;
        for warning in &config.warnings {
            tracing::warn!(%warning, "configuration");
        }
        let old = self.current().config.clone();
        if let Some(part) = fixed_part_changed(&old, &config) {
            return Err(format!("{part} cannot change while the sidecar runs: restart it"));
        }
        // What may fail comes before what is changed.
        let receivers = Receivers::prepare(config.notifications.clone());
        let receivers = receivers.map_err(|error| format!("notifications: {error}"))?;
        self.keeper.take_up(declared(&config), receivers)?;
        self.books.keep(kept_pairs(&config));
        let reloaded = Reloaded { hash: config.hash.clone(), changed: old.hash != config.hash };
        let mut current = self.current();
        current.config = config;
        current.loaded_at = SystemTime::now();
        Ok(reloaded)
    }

    fn model(&self, model: &Model) -> ModelState {
        ModelState {
            name: model.spec.name.clone(),
            stable: model.stable_name.clone(),
            versions: model.versions.iter().map(|v| self.version(v)).collect(),
            concurrency: concurrency(model.limiter.as_ref()),
            mirrors: model
                .spec
                .mirrors
                .iter()
                .map(|m| MirrorState { to: m.to.clone(), sample: m.sample })
                .collect(),
        }
    }

    fn version(&self, version: &Version) -> VersionState {
        let (backend, target) = match &version.spec.backend {
            BackendSpec::Onnx(spec) => ("onnx", spec.path().display().to_string()),
            BackendSpec::Upstream(spec) => {
                let scheme = if spec.tls.is_some() { "https" } else { "http" };
                let target = |address: &Address, authority: &str| match address {
                    Address::Tcp { .. } => format!("{scheme}://{authority}"),
                    Address::Unix(path) => format!("unix:{}", path.display()),
                };
                let mut all = vec![target(&spec.address, &spec.authority)];
                all.extend(spec.others.iter().map(|other| target(&other.address, &other.authority)));
                ("upstream", all.join(", "))
            }
        };
        let ready = self.reach.ready(version);
        VersionState {
            name: version.spec.name.clone(),
            role: version.spec.role,
            weight: version.spec.weight,
            backend,
            target,
            ready: ready.is_ok(),
            reason: ready.err(),
            facts: match &version.backend {
                Backend::Onnx(engine) => engine.facts().cloned(),
                Backend::Upstream(_) => None,
            },
            upstream: upstream(version),
            concurrency: concurrency(version.limiter.as_ref()),
        }
    }
}

/// How the endpoints of a version stand, where there is something to choose among or to ask.
fn upstream(version: &Version) -> Option<UpstreamState> {
    let Backend::Upstream(cluster) = &version.backend else { return None };
    if cluster.is_lone() && cluster.spec().balance.health.is_none() {
        return None;
    }
    let (now, stats) = (cluster.now(), cluster.stats());
    let members = cluster.members();
    let endpoints = members.iter().map(|member| EndpointState {
        address: member.target().to_string(),
        standing: member.standing(now).as_str(),
    });
    Some(UpstreamState {
        endpoints: endpoints.collect(),
        ejections: stats.ejections,
        checks_passed: stats.checks_passed,
        checks_failed: stats.checks_failed,
        lookups_failed: stats.lookups_failed,
    })
}

fn concurrency(limiter: Option<&Arc<Limiter>>) -> Option<ConcurrencyState> {
    limiter.map(|limiter| ConcurrencyState { limit: limiter.limit(), under_way: limiter.under_way() })
}

impl Sidecar for Running {
    fn live(&self) -> Live {
        let readiness = self.readiness();
        let current = self.current();
        Live {
            state: match (self.draining.load(Ordering::Relaxed), readiness.ready) {
                (true, _) => State::Draining,
                (false, true) => State::Ready,
                (false, false) => State::Starting,
            },
            uptime: self.started.elapsed(),
            config: ConfigState {
                path: self.path.display().to_string(),
                hash: current.config.hash.clone(),
                loaded_at: current.loaded_at,
                applied: current.applied,
                refused: current.refused,
                last_error: current.last_error.clone(),
            },
            listeners: self.listeners.clone(),
            process: ProcessState {
                memory_ceiling: self.watched.memory.ceiling(),
                memory_share: self.watched.memory.share(),
                worker_restarts: self.watched.restarts.load(Ordering::Relaxed),
                task_restarts: self.watched.tasks.restarts(),
                tls_reloads: self.watched.certificates.reloads(),
            },
            models: self.board.table().models.iter().map(|m| self.model(m)).collect(),
        }
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = self.reach.missing(&self.board.table());
        if self.draining.load(Ordering::Relaxed) {
            reasons.insert(0, "draining".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn set_weights(
        &self,
        model: &str,
        weights: &[(String, String)],
        by: &Actor,
    ) -> Result<WeightsSet, AdminError> {
        let invalid = |e: &dyn std::fmt::Display| AdminError::Invalid(e.to_string());
        let mut parsed = Vec::with_capacity(weights.len());
        for (version, weight) in weights {
            let version = VersionName::new(version).map_err(|e| invalid(&e))?;
            let weight: Weight = weight.parse().map_err(|e| invalid(&e))?;
            parsed.push((version, weight));
        }
        let call = Call::Weights { model: model.to_owned(), weights: parsed, by: by.clone() };
        let done = self.rollouts.ask(call)?;
        let table = self.board.table();
        let model = table.model(model).ok_or_else(|| AdminError::NotFound("the model is gone".to_owned()))?;
        let weights = model.versions.iter().map(|v| (v.spec.name.clone(), v.spec.weight)).collect();
        Ok(WeightsSet { weights, durable: done.durable })
    }

    fn reload(&self) -> Result<Reloaded, AdminError> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.current().read = bytes_hash(&self.path);
        let taken = self.take_up();
        let mut current = self.current();
        match taken {
            Ok(reloaded) => {
                current.applied += 1;
                current.last_error = None;
                tracing::info!(hash = %reloaded.hash, changed = reloaded.changed, "configuration applied");
                Ok(reloaded)
            }
            Err(error) => {
                current.refused += 1;
                current.last_error = Some(error.clone());
                tracing::error!(%error, "configuration refused; the old one stays");
                Err(AdminError::Invalid(error))
            }
        }
    }

    fn engines(&self) -> Vec<EngineState> {
        let table = self.board.table();
        let versions = table.models.iter().flat_map(|model| model.versions.iter().map(move |v| (model, v)));
        let engines = versions.filter_map(|(model, version)| match &version.backend {
            Backend::Onnx(engine) => Some(EngineState {
                model: model.spec.name.to_string(),
                version: version.spec.name.to_string(),
                statistics: engine.statistics(),
                resident_bytes: engine.facts().map_or(0, |facts| facts.resident),
            }),
            Backend::Upstream(_) => None,
        });
        engines.collect()
    }

    fn loads(&self) -> Vec<Loads> {
        self.keeper.fleet().loads()
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    fn books(&self) -> &Books {
        &self.books
    }

    fn candidate(&self, model: &ModelName, written: Value) -> Result<CandidateCall, AdminError> {
        candidate::candidate(model, written, self.folder()).map_err(AdminError::Invalid)
    }

    fn policy(&self, model: &ModelName, written: &Value) -> Result<Policy, AdminError> {
        let sticky = self.board.declared(model.as_str()).is_some_and(|declared| declared.sticky.is_some());
        let current = self.current();
        let configured = current.config.rollouts.iter().find(|spec| spec.model == *model).cloned();
        drop(current);
        candidate::policy(model, written, sticky, configured.as_ref(), self.folder())
            .map_err(AdminError::Invalid)
    }
}

/// What a configuration says of models.
pub(super) fn declared(config: &Config) -> Declared {
    Declared { models: config.models.clone(), rollouts: config.rollouts.clone(), hash: config.hash.clone() }
}

/// Which pairs may be kept, by model.
fn kept_pairs(config: &Config) -> impl Iterator<Item = (&str, &PairSpec)> {
    config.models.iter().map(|model| (model.name.as_str(), &model.pairs))
}

/// The first part of the configuration that differs and cannot change while running.
fn fixed_part_changed(old: &Config, new: &Config) -> Option<String> {
    let control = |config: &Config| (config.model_control, config.poll_interval);
    if old.store != new.store {
        let place = |store: &Option<PathBuf>| {
            store.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string())
        };
        // Rollouts under way would be in the one and their history in the other.
        return Some(format!("store (it is {}, and is to be {})", place(&old.store), place(&new.store)));
    }
    let parts = [
        ("listeners", old.listeners == new.listeners),
        ("downstream", old.downstream == new.downstream),
        ("admin", old.admin == new.admin),
        ("workers", old.workers == new.workers),
        ("accessLog", old.access_log == new.access_log),
        ("drain", old.drain == new.drain),
        ("overload", old.memory == new.memory),
        ("onnxRuntime", old.onnx_library == new.onnx_library && control(old) == control(new)),
    ];
    parts.into_iter().find(|(_, same)| !same).map(|(part, _)| part.to_owned())
}

/// Hash of a file's bytes, in the form of `Config::hash`; empty where it can't be read.
fn bytes_hash(path: &Path) -> String {
    std::fs::read(path).map_or_else(|_| String::new(), |bytes| format!("{:032x}", xxh3_128(&bytes)))
}
