//! Models whose versions lie in a folder.

use std::path::Path;
use std::time::Duration;

use crate::base::{ModelName, Weight};
use crate::onnx::repository::policy::VersionPolicy;
use crate::onnx::{EngineSpec, Optimization, Provider};
use crate::routing::repository::Found;
use crate::routing::spec::{RepositorySpec, VersionSpec};

use super::super::choice::Choice;
use super::super::problem::Report;
use super::super::raw;
use super::super::read::{Field, Given};
use super::super::scalar::Flag;
use super::{files, number, set_count, set_size, set_time, share};

/// Where the versions of `model` come from, and those that lie there now.
pub(super) fn repository(
    model: &raw::Model,
    name: Option<&ModelName>,
    base: &Path,
    report: &mut Report,
) -> Option<(RepositorySpec, Vec<VersionSpec>)> {
    let given = model.repository.given()?;
    only(model, report);
    let raw = &given.value;
    let folder = match raw.model.get() {
        Some(folder) => folder.0.clone(),
        None => name?.to_string(),
    };
    let path = raw.path.given()?;
    let mut engine = EngineSpec::new(files::resolve(base, &path.value.0), folder, 0);
    set_count(&mut engine.instances, &raw.instances);
    set_count(&mut engine.intra_op_threads, &raw.intra_op_threads);
    set_count(&mut engine.max_queue, &raw.max_queue);
    set_size(&mut engine.max_body_bytes, &raw.max_body_bytes);
    set_time(&mut engine.load_timeout, &raw.load_timeout);
    set_count(&mut engine.max_batch_size, &raw.max_batch_size);
    set_time(&mut engine.max_queue_delay, &raw.max_queue_delay);
    set_session(&mut engine, &raw.arena, &raw.spinning, &raw.optimization, &raw.provider, report);
    let labels = raw.labels.get();
    let canary = labels.and_then(|labels| labels.canary.get()).map(|n| n.0);
    let stable = labels.and_then(|labels| labels.stable.get()).map(|n| n.0);
    if let Some(label) = labels.and_then(|l| l.canary.given()).filter(|_| canary == stable) {
        report.wrong(&label.at, "one version is labelled stable and canary", "keep one of the labels");
    }
    if let Some(weight) = raw.canary_weight.given().filter(|w| canary.is_none() && w.value.0 > Weight::ZERO) {
        report.wrong(&weight.at, "no version is labelled canary", "add `labels: {canary: N}`, or remove it");
    }
    let mut keep_previous = Duration::from_secs(3600);
    set_time(&mut keep_previous, &raw.keep_previous);
    let spec = RepositorySpec {
        engine,
        policy: policy(raw.policy.get(), report),
        stable,
        canary,
        canary_weight: share(&raw.canary_weight, Weight::ZERO),
        keep_previous,
        has_rollout: !model.rollout.is_missing(),
    };
    let found = spec.scan();
    if !found.as_ref().is_ok_and(|found| !found.is_empty()) {
        let folder = spec.engine.repository.join(&spec.engine.model);
        let message = format!("{} holds no version, the model will be UNAVAILABLE", folder.display());
        report.warn(&path.at, message, files::hint(base));
    }
    let versions = spec.versions(&found.unwrap_or_else(|_| Found::new()), None, &[]);
    Some((spec, versions))
}

/// What makes no sense together with a repository.
fn only(model: &raw::Model, report: &mut Report) {
    let why = "the versions come from the repository";
    if let Some(versions) = model.versions.given() {
        report.wrong(&versions.at, why, "write exactly one of versions and repository");
    }
    if let Some(stable) = model.stable.given() {
        report.wrong(&stable.at, why, "write `labels: {stable: N}` in the repository");
    }
    if let Some(mirror) = model.mirror.given() {
        report.wrong(&mirror.at, why, "remove it: a rollout with a `shadow` step mirrors to its candidate");
    }
}

fn policy(raw: Option<&raw::VersionPolicy>, report: &mut Report) -> VersionPolicy {
    let Some(raw) = raw else { return VersionPolicy::default() };
    let written = [!raw.latest.is_missing(), !raw.all.is_missing(), !raw.specific.is_missing()];
    if written.into_iter().filter(|written| *written).count() != 1 && !report.has_unknown_key(&raw.at) {
        report.wrong(&raw.at, "the policy is not clear", "write exactly one of latest, all and specific");
    }
    if let Some(Given { value: Flag(false), at }) = raw.all.given() {
        report.wrong(at, "`all: false` says nothing", "write `latest: N` or `specific: [N]`");
    }
    if let Some(list) = raw.specific.get() {
        return VersionPolicy::Specific(list.items.iter().map(|item| item.value.0).collect());
    }
    match raw.latest.get() {
        Some(latest) => VersionPolicy::Latest(number(latest.0)),
        None => VersionPolicy::All,
    }
}

/// How ONNX Runtime makes a session.
pub(super) fn set_session(
    spec: &mut EngineSpec,
    arena: &Field<Flag>,
    spinning: &Field<Flag>,
    optimization: &Field<Choice<Optimization>>,
    provider: &Field<Choice<Provider>>,
    report: &mut Report,
) {
    spec.arena = arena.get().is_none_or(|flag| flag.0);
    spec.spinning = spinning.get().is_some_and(|flag| flag.0);
    if let Some(level) = optimization.get() {
        spec.optimization = level.0;
    }
    if let Some(given) = provider.given() {
        spec.provider = given.value.0;
        if !spec.provider.is_built() {
            let name = spec.provider.as_str();
            let message = format!("this program was built without {name}");
            report.wrong(&given.at, message, format!("write cpu, or build it with `--features {name}`"));
        }
    }
}
