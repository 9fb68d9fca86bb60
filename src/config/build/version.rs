//! Versions: one backend each, a role that fits the weight, and what they are sent.

use std::collections::HashSet;
use std::path::Path;

use http::HeaderName;

use crate::base::{ModelName, Role, VersionName, Weight};
use crate::onnx::EngineSpec;
use crate::routing::spec::{BackendSpec, VersionSpec};
use crate::wire::rewrite::{PathPrefix, RewriteSpec};

use super::super::problem::Report;
use super::super::raw;
use super::weights::{Shares, Versions};
use super::{Unique, files, headers, limits, repository, set_count, set_size, set_time, upstream};

/// All versions of one model.
pub(super) fn versions(
    model: &raw::Model,
    list: &Versions,
    shares: &Shares,
    base: &Path,
    report: &mut Report,
) -> Vec<VersionSpec> {
    let mut names = Unique::default();
    let mirrors = model.mirror.get().map(|m| m.items.as_slice()).unwrap_or_default();
    let shadows: HashSet<&VersionName> =
        mirrors.iter().filter_map(|m| m.value.to.get()).map(|to| &to.0).collect();
    let mut specs = Vec::new();
    for (index, item) in list.items.iter().enumerate() {
        let raw = &item.value;
        if let Some(name) = raw.name.given() {
            names.add("version", name.value.0.as_str(), &name.at, report);
        }
        let weight = shares.weights.get(index).copied().unwrap_or_default();
        let mirrored = raw.name.get().is_some_and(|n| shadows.contains(&n.0));
        let role = role(raw, shares.stable == Some(index), weight, mirrored, report);
        let backend = backend(model.name.get().map(|n| &n.0), raw, base, report);
        let rewrite = raw.rewrite.get().and_then(|r| rewrite(r, report)).unwrap_or_default();
        if let (Some(name), Some(backend)) = (raw.name.get(), backend) {
            let limit = limits::concurrency(&raw.concurrency, report);
            specs.push(VersionSpec { name: name.0.clone(), weight, role, backend, rewrite, limit });
        }
    }
    specs
}

/// A version on its own. Whoever gives it traffic says how much, so it has neither weight nor role.
pub(super) fn lone(
    raw: &raw::Version,
    model: &ModelName,
    base: &Path,
    report: &mut Report,
) -> Option<VersionSpec> {
    if let Some(weight) = raw.weight.given() {
        report.wrong(
            &weight.at,
            "a version on its own has no weight",
            "remove it: the rollout gives weights",
        );
    }
    if let Some(role) = raw.role.given() {
        report.wrong(&role.at, "a version on its own has no role", "remove it: the rollout gives roles");
    }
    let backend = backend(Some(model), raw, base, report);
    let rewrite = raw.rewrite.get().and_then(|r| rewrite(r, report)).unwrap_or_default();
    let name = raw.name.get()?.0.clone();
    let limit = limits::concurrency(&raw.concurrency, report);
    Some(VersionSpec { name, weight: Weight::ZERO, role: Role::Standby, backend: backend?, rewrite, limit })
}

fn role(raw: &raw::Version, stable: bool, weight: Weight, mirrored: bool, report: &mut Report) -> Role {
    let Some(given) = raw.role.given() else {
        return match (stable, weight > Weight::ZERO, mirrored) {
            (true, _, _) => Role::Stable,
            (false, true, _) => Role::Canary,
            (false, false, true) => Role::Shadow,
            (false, false, false) => Role::Standby,
        };
    };
    let role = given.value.0;
    let idle = matches!(role, Role::Shadow | Role::Standby | Role::Retired);
    if idle && weight > Weight::ZERO && !stable {
        let message = format!("a {role} version gets no live traffic, but this one has weight {weight}");
        report.wrong(&given.at, message, "remove the role or the weight");
    }
    if role == Role::Retired && mirrored {
        report.wrong(&given.at, "a retired version is mirrored to", "remove the role or the mirror");
    }
    if role == Role::Shadow && !mirrored && weight == Weight::ZERO {
        report.warn(&given.at, "no mirror sends this shadow anything", "add it to the model's `mirror`");
    }
    role
}

fn backend(
    model: Option<&ModelName>,
    raw: &raw::Version,
    base: &Path,
    report: &mut Report,
) -> Option<BackendSpec> {
    let fix = "write exactly one of upstream and onnx";
    match (raw.upstream.is_missing(), raw.onnx.is_missing()) {
        (true, true) if report.has_unknown_key(&raw.at) => {}
        (true, true) => report.wrong(&raw.at, "the version has no backend", fix),
        (false, false) => report.wrong(&raw.at, "the version has two backends", fix),
        _ => {}
    }
    let upstream = raw.upstream.get().and_then(|u| upstream::upstream(u, base, report));
    let onnx = raw.onnx.get().and_then(|o| engine(model, o, base, report));
    upstream.map(Box::new).map(BackendSpec::Upstream).or(onnx.map(BackendSpec::Onnx))
}

fn engine(
    model: Option<&ModelName>,
    raw: &raw::Onnx,
    base: &Path,
    report: &mut Report,
) -> Option<EngineSpec> {
    let folder = match raw.model.get() {
        Some(folder) => folder.0.clone(),
        None => model?.to_string(),
    };
    let (repository, version) = (raw.repository.given()?, raw.version.given()?);
    let mut spec = EngineSpec::new(files::resolve(base, &repository.value.0), folder, version.value.0);
    set_count(&mut spec.instances, &raw.instances);
    set_count(&mut spec.intra_op_threads, &raw.intra_op_threads);
    set_count(&mut spec.max_queue, &raw.max_queue);
    set_size(&mut spec.max_body_bytes, &raw.max_body_bytes);
    set_time(&mut spec.load_timeout, &raw.load_timeout);
    set_count(&mut spec.max_batch_size, &raw.max_batch_size);
    set_time(&mut spec.max_queue_delay, &raw.max_queue_delay);
    repository::set_session(&mut spec, &raw.arena, &raw.spinning, &raw.optimization, &raw.provider, report);
    spec.sha256 = raw.sha256.get().map(|digest| digest.0.clone());

    let folder = spec.repository.join(&spec.model);
    let (missing, at) = if !spec.repository.is_dir() {
        (Some(spec.repository.clone()), &repository.at)
    } else if !folder.is_dir() {
        (Some(folder), raw.model.given().map_or(&raw.at, |m| &m.at))
    } else {
        (Some(spec.path()).filter(|path| !path.is_file()), &version.at)
    };
    if let Some(path) = missing {
        let message = format!("{} does not exist, the version will be UNAVAILABLE", path.display());
        report.warn(at, message, files::hint(base));
    }
    Some(spec)
}

fn rewrite(raw: &raw::Rewrite, report: &mut Report) -> Option<RewriteSpec> {
    let headers = raw.headers.get();
    let mut set_headers = Vec::new();
    for (key, value) in headers.and_then(|h| h.set.get()).map(|p| p.0.as_slice()).unwrap_or_default() {
        let Ok(name) = HeaderName::try_from(key.value.as_str()) else {
            let message = format!("{:?} is not the name of a header", key.at.written);
            report.wrong(&key.at, message, "use letters, digits and '-', such as \"x-user-id\"");
            continue;
        };
        if set_headers.iter().any(|(other, _)| *other == name) {
            let message = format!("the header {:?} is set twice", name.as_str());
            report.wrong(&key.at, message, "keep one: upper and lower case are the same");
        } else if headers::may_change(&name, &key.at, report) {
            set_headers.push((name, value.0.clone()));
        }
    }
    let mut remove_headers = Vec::new();
    for item in headers.and_then(|h| h.remove.get()).map(|l| l.items.as_slice()).unwrap_or_default() {
        let name = &item.value.0;
        if set_headers.iter().any(|(other, _)| other == name) {
            let message = format!("the header {:?} is set and removed", name.as_str());
            report.wrong(&item.at, message, "keep one: setting replaces what the client sent");
        } else if headers::may_change(name, &item.at, report) && !remove_headers.contains(name) {
            remove_headers.push(name.clone());
        }
    }
    let path_prefix = match raw.path_prefix.get() {
        Some(prefix) => {
            Some(PathPrefix { from: prefix.from.get()?.0.clone(), to: prefix.to.get()?.0.clone() })
        }
        None => None,
    };
    Some(RewriteSpec {
        model: raw.model.get().map(|m| m.0.clone()),
        model_version: raw.model_version.get().map(|m| m.0.clone()),
        path_prefix,
        host: raw.host.get().map(|h| h.0.clone()),
        set_headers,
        remove_headers,
    })
}
