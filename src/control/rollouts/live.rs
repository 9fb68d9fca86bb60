//! From what the machine wants live to an overlay on the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::counts::Gauge;
use super::spec::RolloutSpec;
use crate::base::{Role, VersionName, Weight};
use crate::rollout::live::Live;
use crate::rollout::policy::Rule;
use crate::rollout::state::{ModelState, Rollout};
use crate::routing::inputs::Inputs;
use crate::routing::overlay::{LiveTrial, Overlay};
use crate::routing::scores::Scores;
use crate::routing::spec::{MirrorSpec, ModelSpec, VersionSpec};
use crate::stats::pairs::PairTally;
use crate::stats::segments::Segments;
use crate::stats::trial::{Keys, Trial};

/// Users of one rollout that are remembered, where the split is sticky.
const USERS: usize = 1 << 20;

/// What all trials of one rollout share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    segments: Arc<Segments>,
    keys: Option<Arc<Keys>>,
}

impl Shared {
    /// For a rollout of a model that is declared so.
    pub(super) fn new(rollout: &Rollout, declared: &ModelSpec) -> Self {
        let segments = rollout.policy.analysis.segments.as_ref().map_or(0, |segments| segments.max);
        Self {
            segments: Arc::new(Segments::new(segments)),
            keys: declared.sticky.is_some().then(|| Arc::new(Keys::new(USERS))),
        }
    }
}

/// What is laid over the configuration for `live`, and what counts in its trial, if it has one.
///
/// `versions` are the rollout's versions as they are served. One that is not served yet, because it is
/// still to be loaded, is left out: it has no traffic.
pub(super) fn overlay(
    live: &Live,
    state: &ModelState,
    declared: &ModelSpec,
    spec: Option<&RolloutSpec>,
    versions: &BTreeMap<VersionName, VersionSpec>,
    served: impl Fn(&VersionName) -> bool,
    shared: Option<&Shared>,
) -> (Overlay, Option<Gauge>) {
    let mine = || live.versions.iter().filter(|v| served(&v.version));
    let rollout = state.rollout.as_ref();
    let is_over = rollout.is_none_or(|rollout| rollout.phase.is_terminal());
    let is_declared = |name: &VersionName| declared.versions.iter().any(|v| v.name == *name);
    let needed = |name: &VersionName, role: Role| match is_over {
        // What has ended needs no copy of what the configuration says, and no rejected guest.
        true => !is_declared(name) && role == Role::Stable,
        false => true,
    };
    let kept = mine().filter(|v| needed(&v.version, v.role));
    let pinned: Vec<VersionSpec> = kept.filter_map(|v| versions.get(&v.version).cloned()).collect();
    let stays = |name: &VersionName| is_declared(name) || pinned.iter().any(|v| v.name == *name);
    let mirror = live.mirror.as_ref().map(|mirror| {
        let template = declared.mirrors.iter().find(|m| m.to == mirror.to).cloned();
        let mut copies = template.unwrap_or_else(|| ordinary(mirror.to.clone()));
        copies.sample = mirror.sample;
        copies.noise_control = share(mirror.noise_control);
        copies.compare = Some(Arc::clone(&declared.compare));
        copies
    });
    let (trial, gauge) = match (rollout.filter(|_| !is_over), shared) {
        (Some(rollout), Some(shared)) if mirror.is_some() || live.weight_bp > 0 => {
            let (trial, gauge) = open(live, rollout, spec, shared, mirror.as_ref());
            (Some(trial), Some(gauge))
        }
        _ => (None, None),
    };
    let overlay = Overlay {
        roles: mine().filter(|v| stays(&v.version)).map(|v| (v.version.clone(), v.role)).collect(),
        weights: mine().filter(|v| stays(&v.version)).map(|v| (v.version.clone(), v.weight)).collect(),
        versions: pinned,
        mirror,
        trial,
    };
    (overlay, gauge)
}

fn open(
    live: &Live,
    rollout: &Rollout,
    spec: Option<&RolloutSpec>,
    shared: &Shared,
    mirror: Option<&MirrorSpec>,
) -> (LiveTrial, Gauge) {
    let value = rollout.policy.analysis.checks.iter().find_map(|check| match &check.rule {
        Rule::Prediction(rule) => Some(rule.value.clone()),
        _ => None,
    });
    let scores = value.as_ref().and_then(|value| spec?.scores.get(value));
    let trial = LiveTrial {
        trial: Arc::new(Trial::new(
            live.trial,
            live.weight_bp,
            Arc::clone(&shared.segments),
            shared.keys.clone(),
        )),
        pairs: Arc::new(PairTally::with_segments(shared.segments.limit() + 1)),
        candidate: rollout.candidate.name.clone(),
        baseline: rollout.stable.name.clone(),
        scores: scores.map(|at| Arc::new(Scores::new(at.clone()))),
        inputs: spec.and_then(|spec| inputs(rollout, spec)),
        segment: spec.and_then(|spec| spec.segment.clone()).filter(|_| shared.segments.limit() > 0),
    };
    let coin = mirror.map_or(Weight::FULL, |mirror| mirror.noise_control.rest()).basis_points();
    let gauge = Gauge::new(trial.clone(), coin, value.filter(|_| trial.scores.is_some()));
    (trial, gauge)
}

/// The inputs that are watched, if any are.
fn inputs(rollout: &Rollout, spec: &RolloutSpec) -> Option<Arc<Inputs>> {
    let mut features = Vec::new();
    for check in &rollout.policy.analysis.checks {
        let Rule::Drift(rule) = &check.rule else { continue };
        for profile in &rule.profiles {
            let known = features.iter().any(|(name, _)| *name == profile.feature);
            if let (false, Some(at)) = (known, spec.features.get(&profile.feature)) {
                features.push((profile.feature.clone(), at.clone()));
            }
        }
    }
    (!features.is_empty()).then(|| Arc::new(Inputs::new(features)))
}

fn share(fraction: f64) -> Weight {
    let points = (fraction.clamp(0.0, 1.0) * 10_000.0).round();
    Weight::new(points as u32).unwrap_or(Weight::ZERO)
}

/// A rollout's mirror where the configuration has none to its candidate: the defaults that it
/// documents.
fn ordinary(to: VersionName) -> MirrorSpec {
    MirrorSpec {
        to,
        sample: Weight::FULL,
        deadline: Duration::from_secs(30),
        max_in_flight: 64,
        max_bytes: 16 * 1024 * 1024,
        max_body_bytes: 1024 * 1024,
        suspend_above: 1024,
        drop_headers: Vec::new(),
        noise_control: Weight::ZERO,
        compare: None,
        max_answer_bytes: 1024 * 1024,
    }
}
