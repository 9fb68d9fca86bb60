//! The table: what is live now. Immutable; a change makes a new table that shares every backend
//! which stays, and one atomic store puts it in place.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::limit::Limiter;
use super::matcher::Matcher;
use super::overlay::{LiveTrial, Overlay};
use super::spec::{BackendSpec, LimitSpec, ModelSpec, Target as Named, VersionSpec};
use crate::base::{ModelName, Role, VersionName, Weight};
use crate::onnx::{Engine, EngineSpec, Family, State};
use crate::split::{Layout, LayoutError};
use crate::upstream::{Cluster, TargetError};
use crate::wire::rewrite::{RewriteError, Rewriter};

/// The table that all workers read: replaced whole, by one atomic store.
pub type SharedTable = Arc<ArcSwap<RoutingTable>>;

/// Every model that is served, and the rules that find them.
#[derive(Debug)]
pub struct RoutingTable {
    /// Grows by one with every table of a process.
    pub generation: u64,
    /// The models, in the order of the configuration.
    pub models: Box<[Arc<Model>]>,
    /// The rules that find a request's model.
    pub matcher: Matcher,
}

/// A model as it is served now.
#[derive(Debug, Clone)]
pub struct Model {
    /// What it was built from, with the weights and roles of now.
    pub spec: ModelSpec,
    /// Its versions, in the order of `spec.versions`.
    pub versions: Box<[Arc<Version>]>,
    /// Which version each point of the split belongs to.
    pub layout: Layout,
    /// Index of the stable version.
    pub stable: usize,
    /// Name of the stable version.
    pub stable_name: VersionName,
    /// Index of the version that each of `spec.mirrors` copies to.
    pub mirror_targets: Box<[usize]>,
    /// What a rollout is trying, if one is.
    pub trial: Option<LiveTrial>,
    /// Its versions as the protocols see them, where all of them are served in this process.
    pub family: Option<Arc<Family>>,
    /// Limits the requests of all its versions together.
    pub limiter: Option<Arc<Limiter>>,
}

/// A version as it is served now.
#[derive(Debug)]
pub struct Version {
    /// What it was built from, with the weight and role of now.
    pub spec: VersionSpec,
    /// What serves it.
    pub backend: Backend,
    /// What it is sent; `None` leaves requests as they are.
    pub rewriter: Option<Arc<Rewriter>>,
    /// Its name as a header value.
    pub header: HeaderValue,
    /// Limits its requests.
    pub limiter: Option<Arc<Limiter>>,
}

/// What serves a version.
#[derive(Debug, Clone)]
pub enum Backend {
    /// A model server.
    Upstream(Arc<Cluster>),
    /// ONNX Runtime in this process.
    Onnx(Arc<Engine>),
}

/// Why a table can't be built.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Weights that make no split.
    #[error("model {model}: {source}")]
    Weights {
        /// Whose weights.
        model: ModelName,
        /// What is wrong with them.
        source: LayoutError,
    },
    /// An upstream that can't be set up.
    #[error("model {model}, version {version}: {source}")]
    Upstream {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// What is wrong.
        source: TargetError,
    },
    /// A rewrite that can't be done.
    #[error("model {model}, version {version}: {source}")]
    Rewrite {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
        /// What is wrong.
        source: RewriteError,
    },
    /// A version that is named but not declared.
    #[error("model {model} has no version {version}; its versions are {known}")]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// The name that is not there.
        version: String,
        /// The versions that are.
        known: String,
    },
    /// A version that takes live requests and copies of them: it would shadow itself.
    #[error(
        "model {model}: copies are mirrored to version {version}, so it cannot have a weight: remove the mirror first"
    )]
    ShadowsItself {
        /// The model.
        model: ModelName,
        /// The version.
        version: VersionName,
    },
    /// No model of this name.
    #[error("there is no model {0:?}")]
    UnknownModel(String),
}

impl Backend {
    /// Whether it can't serve and never will.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Onnx(engine) if matches!(engine.state(), State::Unavailable { .. }))
    }
}

impl RoutingTable {
    /// Builds the table of `models`, each under its `overlay`. A backend whose spec is the same as in `previous` is shared
    /// with it (connections and loaded sessions stay); `engine` makes the in-process ones that
    /// are new, and anew those that could not be loaded: their files may be mended by now.
    ///
    /// # Errors
    /// [`TableError`]; nothing is changed then.
    pub fn build<'a>(
        models: &[ModelSpec],
        overlay: impl Fn(&ModelName) -> Option<&'a Overlay>,
        previous: Option<&Self>,
        mut engine: impl FnMut(&EngineSpec) -> Arc<Engine>,
    ) -> Result<Self, TableError> {
        let live: Vec<&Arc<Version>> =
            previous.into_iter().flat_map(|t| &t.models).flat_map(|m| &m.versions).collect();
        let mut built = Vec::with_capacity(models.len());
        for declared in models {
            let overlay = overlay(&declared.name);
            let spec = overlay.map_or_else(|| declared.clone(), |overlay| overlay.apply(declared));
            let mut versions = Vec::with_capacity(spec.versions.len());
            for version in &spec.versions {
                let same = live.iter().find(|v| v.spec.backend == version.backend && !v.backend.is_lost());
                let backend = match (same, &version.backend) {
                    (Some(same), _) => same.backend.clone(),
                    (None, BackendSpec::Onnx(spec)) => Backend::Onnx(engine(spec)),
                    (None, BackendSpec::Upstream(upstream)) => match Cluster::new(upstream) {
                        Ok(cluster) => Backend::Upstream(Arc::new(cluster)),
                        Err(source) => {
                            let (model, version) = (spec.name.clone(), version.name.clone());
                            return Err(TableError::Upstream { model, version, source });
                        }
                    },
                };
                let before = previous.and_then(|table| table.model(spec.name.as_str()));
                let before = before.and_then(|model| model.version(version.name.as_str()));
                let limiter = limiter(&version.limit, before.and_then(|(_, old)| old.limiter.as_ref()));
                let built = Version::new(version.clone(), backend, limiter)
                    .map_err(|source| spec.rewrite_error(version, source))?;
                versions.push(Arc::new(built));
            }
            let trial = overlay.and_then(|overlay| overlay.trial.clone());
            let before = previous.and_then(|table| table.model(spec.name.as_str()));
            let limiter = limiter(&spec.limit, before.and_then(|old| old.limiter.as_ref()));
            built.push(Arc::new(Model::new(spec, versions.into(), trial, limiter)?));
        }
        Ok(Self {
            generation: previous.map_or(1, |t| t.generation + 1),
            models: built.into(),
            matcher: Matcher::new(models),
        })
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.iter().find(|m| m.spec.name.as_str() == name)
    }

    /// Every upstream of it, once.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        let mut clusters: Vec<Arc<Cluster>> = Vec::new();
        for version in self.models.iter().flat_map(|model| &model.versions) {
            if let Backend::Upstream(cluster) = &version.backend
                && !clusters.iter().any(|known| Arc::ptr_eq(known, cluster))
            {
                clusters.push(cluster.clone());
            }
        }
        clusters
    }

    /// The same table with `overlay` on top of what `declared` says of one model. Every version must
    /// be there already: this starts nothing.
    ///
    /// # Errors
    /// [`TableError`] when the model or a version does not exist or the weights do not sum to
    /// 100 %; nothing is changed then.
    pub fn with_overlay(&self, declared: &ModelSpec, overlay: &Overlay) -> Result<Self, TableError> {
        let name = &declared.name;
        let old = self.model(name.as_str()).ok_or_else(|| TableError::UnknownModel(name.to_string()))?;
        let new = Arc::new(old.with_overlay(declared, overlay)?);
        let models = self.models.iter().map(|m| if Arc::ptr_eq(m, old) { new.clone() } else { m.clone() });
        Ok(Self { generation: self.generation + 1, models: models.collect(), matcher: self.matcher.clone() })
    }
}

/// The versions of a model, where all of them are in this process.
fn family(spec: &ModelSpec, versions: &[Arc<Version>]) -> Option<Family> {
    let engines = versions.iter().map(|version| match &version.backend {
        Backend::Onnx(engine) => Some(engine.clone()),
        Backend::Upstream(_) => None,
    });
    let engines: Vec<_> = engines.collect::<Option<_>>()?;
    let aliases = spec.matches.iter().filter_map(|matches| match &matches.target {
        Named::Model(name) if *name != spec.name.as_str() => Some(name.clone()),
        _ => None,
    });
    // A message is read behind its rewrite.
    let rewritten = versions.iter().filter_map(|version| version.spec.rewrite.model.clone());
    Some(Family::new(std::iter::once(spec.name.to_string()).chain(aliases).chain(rewritten), engines))
}

/// A limiter by `spec`; the one of before where that says the same, with what is under way.
fn limiter(spec: &Option<LimitSpec>, before: Option<&Arc<Limiter>>) -> Option<Arc<Limiter>> {
    let spec = spec.as_ref()?;
    let same = before.filter(|before| before.spec() == spec);
    Some(same.cloned().unwrap_or_else(|| Limiter::new(spec.clone())))
}

// === impl Model ===

impl Model {
    /// The versions without which the model is not ready: the stable one, and each with traffic of
    /// its own whose model is still being loaded, for its share would be refused meanwhile. One that
    /// failed to load keeps nobody waiting.
    pub fn awaited(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.versions.iter().enumerate().filter_map(|(at, version)| {
            let is_awaited =
                at == self.stable || (version.spec.weight > Weight::ZERO && version.is_loading());
            is_awaited.then_some(version)
        })
    }

    fn new(
        spec: ModelSpec,
        versions: Box<[Arc<Version>]>,
        trial: Option<LiveTrial>,
        limiter: Option<Arc<Limiter>>,
    ) -> Result<Self, TableError> {
        let stable = versions.iter().position(|v| v.spec.role == Role::Stable).unwrap_or(0);
        let stable_name = match versions.get(stable) {
            Some(version) => version.spec.name.clone(),
            None => return Err(spec.unknown("(stable)")),
        };
        let weights: Vec<Weight> = versions.iter().map(|v| v.spec.weight).collect();
        let layout = Layout::new(&weights, stable)
            .map_err(|source| TableError::Weights { model: spec.name.clone(), source })?;
        let mut mirror_targets = Vec::with_capacity(spec.mirrors.len());
        for mirror in &spec.mirrors {
            let target = versions.iter().position(|v| v.spec.name == mirror.to);
            let target = target.ok_or_else(|| spec.unknown(mirror.to.as_str()))?;
            if weights.get(target).is_some_and(|weight| *weight > Weight::ZERO) {
                return Err(TableError::ShadowsItself {
                    model: spec.name.clone(),
                    version: mirror.to.clone(),
                });
            }
            mirror_targets.push(target);
        }
        let family = family(&spec, &versions).map(Arc::new);
        let mirror_targets = mirror_targets.into();
        Ok(Self { spec, versions, layout, stable, stable_name, mirror_targets, trial, family, limiter })
    }

    /// The version of this name and its index.
    pub fn version(&self, name: &str) -> Option<(usize, &Arc<Version>)> {
        self.versions.iter().enumerate().find(|(_, v)| v.spec.name.as_str() == name)
    }

    fn with_overlay(&self, declared: &ModelSpec, overlay: &Overlay) -> Result<Self, TableError> {
        let spec = overlay.apply(declared);
        if let Some((name, _)) =
            overlay.weights.iter().find(|(name, _)| spec.versions.iter().all(|v| v.name != *name))
        {
            return Err(spec.unknown(name.as_str()));
        }
        let mut versions = Vec::with_capacity(spec.versions.len());
        for new in &spec.versions {
            let old = self.versions.iter().find(|v| v.spec.name == new.name && v.spec.backend == new.backend);
            let old = old.ok_or_else(|| self.spec.unknown(new.name.as_str()))?;
            versions.push(match (old.spec == *new, old.spec.rewrite == new.rewrite) {
                (true, _) => old.clone(),
                (false, true) => Arc::new(old.changed(new.clone())),
                (false, false) => {
                    let built = Version::new(
                        new.clone(),
                        old.backend.clone(),
                        limiter(&new.limit, old.limiter.as_ref()),
                    );
                    Arc::new(built.map_err(|source| spec.rewrite_error(new, source))?)
                }
            });
        }
        let limiter = limiter(&spec.limit, self.limiter.as_ref());
        Self::new(spec, versions.into(), overlay.trial.clone(), limiter)
    }
}

impl ModelSpec {
    fn rewrite_error(&self, version: &VersionSpec, source: RewriteError) -> TableError {
        TableError::Rewrite { model: self.name.clone(), version: version.name.clone(), source }
    }

    fn unknown(&self, version: &str) -> TableError {
        let known: Vec<_> = self.versions.iter().map(|v| v.name.as_str()).collect();
        TableError::UnknownVersion {
            model: self.name.clone(),
            version: version.to_owned(),
            known: known.join(", "),
        }
    }
}

// === impl Version ===

impl Version {
    fn new(spec: VersionSpec, backend: Backend, limiter: Option<Arc<Limiter>>) -> Result<Self, RewriteError> {
        let rewriter = match spec.rewrite.is_empty() {
            true => None,
            false => Some(Arc::new(Rewriter::new(&spec.rewrite)?)),
        };
        // A name has only characters that a header value may have.
        let header =
            HeaderValue::from_str(spec.name.as_str()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Ok(Self { spec, backend, rewriter, header, limiter })
    }

    /// The same version in another role, or with another weight.
    fn changed(&self, spec: VersionSpec) -> Self {
        let (backend, rewriter) = (self.backend.clone(), self.rewriter.clone());
        let limiter = limiter(&spec.limit, self.limiter.as_ref());
        Self { spec, backend, rewriter, header: self.header.clone(), limiter }
    }

    /// Whether it can serve now, and why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self) -> Result<(), String> {
        match &self.backend {
            Backend::Upstream(_) => Ok(()),
            Backend::Onnx(engine) => match engine.state() {
                State::Ready => Ok(()),
                State::Loading => Err("the model is being loaded".to_owned()),
                State::Unavailable { reason } => Err(reason.to_string()),
            },
        }
    }

    fn is_loading(&self) -> bool {
        matches!(&self.backend, Backend::Onnx(engine) if engine.state() == State::Loading)
    }
}
