//! Models: names, defaults, and that no two of them claim the same requests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::control::rollouts::spec::RolloutSpec;
use crate::routing::spec::{MatchSpec, ModelSpec, Target};

use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::List;
use super::super::scalar::{GI, MI};
use super::{
    Unique, compare, limits, matches, mirrors, number, repository, rollout, set_time, sticky, version,
    weights,
};

/// All models, and how they move from version to version.
pub(super) fn models(
    list: &List<raw::Model, 1>,
    base: &Path,
    report: &mut Report,
) -> (Vec<ModelSpec>, Vec<RolloutSpec>) {
    let only = list.complete && list.items.len() == 1;
    let mut names = Unique::default();
    let mut claims = Claims::default();
    let (mut specs, mut rollouts) = (Vec::new(), Vec::new());
    for item in &list.items {
        let raw = &item.value;
        if let Some(name) = raw.name.given() {
            names.add("model", name.value.0.as_str(), &name.at, report);
        }
        let matches = match raw.r#match.get() {
            Some(list) => matches::matches(list, report),
            None if raw.r#match.is_wrong() => Vec::new(),
            None => raw
                .name
                .given()
                .map(|name| {
                    let target = match only {
                        true => Target::Any,
                        false => Target::Model(name.value.0.to_string()),
                    };
                    (MatchSpec { host: None, header: None, target }, name.at.clone())
                })
                .into_iter()
                .collect(),
        };
        for (spec, at) in &matches {
            claims.add(raw, spec, at, report);
        }
        let matches = matches.into_iter().map(|(spec, _)| spec).collect();
        let (spec, rollout) = model(raw, matches, base, report);
        specs.extend(spec);
        rollouts.extend(rollout);
    }
    (specs, rollouts)
}

/// Which requests are whose.
#[derive(Default)]
struct Claims(HashMap<String, (String, u32)>);

impl Claims {
    fn add(&mut self, model: &raw::Model, spec: &MatchSpec, at: &At, report: &mut Report) {
        let name = model.name.get().map(|n| n.0.to_string()).unwrap_or_default();
        let key = format!("{spec:?}");
        match self.0.get(&key) {
            Some((other, line)) => {
                let message = match *other == name {
                    true => format!("the same requests are matched on line {line} already"),
                    false => format!("the same requests are model {other:?}'s, by line {line}"),
                };
                report.wrong(at, message, "match something else, or remove one of the two");
            }
            None => {
                self.0.insert(key, (name, at.line));
            }
        }
    }
}

fn model(
    raw: &raw::Model,
    matches: Vec<MatchSpec>,
    base: &Path,
    report: &mut Report,
) -> (Option<ModelSpec>, Option<RolloutSpec>) {
    let name = raw.name.get().map(|n| n.0.clone());
    let sticky = raw.sticky.get().and_then(|s| sticky::sticky(s, name.as_ref(), report));
    let (mut response_timeout, mut idle_timeout) = (Duration::from_secs(60), Duration::from_secs(300));
    if let Some(timeouts) = raw.timeouts.get() {
        set_time(&mut response_timeout, &timeouts.response);
        set_time(&mut idle_timeout, &timeouts.idle);
    }
    let total_timeout = raw.timeouts.get().and_then(|timeouts| timeouts.total.get()).map(|time| time.0);
    let sizes = raw.limits.get();
    let fallback = raw.fallback.get();
    let from_folder = repository::repository(raw, name.as_ref(), base, report);
    if raw.versions.is_missing() && raw.repository.is_missing() && !report.has_unknown_key(&raw.at) {
        let at = At { path: raw.at.path_of("versions"), written: String::new(), ..raw.at.clone() };
        report.wrong(&at, "is missing", "add the key \"versions\" here, or \"repository\"");
    }
    let versions = raw.versions.get().filter(|_| raw.repository.is_missing());
    let shares = versions.map(|list| weights::shares(raw, list, report)).unwrap_or_default();
    let compare = Arc::new(compare::compare(&raw.compare, report));
    let rollout = name.as_ref().and_then(|name| rollout::rollout(raw, name, &shares, base, report));
    let mirrors = match (raw.mirror.get(), versions) {
        (Some(list), Some(versions)) => mirrors::mirrors(list, versions, &shares, &compare, report),
        _ => Vec::new(),
    };
    let versions =
        versions.map(|list| version::versions(raw, list, &shares, base, report)).unwrap_or_default();
    let (repository, versions) = match from_folder {
        Some((repository, found)) => (Some(repository), found),
        None => (None, versions),
    };
    let Some(name) = name else { return (None, rollout) };
    let spec = ModelSpec {
        name,
        matches,
        versions,
        repository,
        sticky,
        mirrors,
        fallback: fallback.and_then(|f| f.enabled.get()).is_some_and(|f| f.0),
        fallback_body_bytes: fallback
            .and_then(|f| f.max_body_bytes.get())
            .map_or(number(MI), |n| number(n.0)),
        retry: limits::retry(&raw.retry),
        limit: limits::concurrency(&raw.concurrency, report),
        max_request_bytes: sizes.and_then(|l| l.request_bytes.get()).map_or(4 * GI, |n| n.0),
        max_peek_bytes: sizes.and_then(|l| l.peek_bytes.get()).map_or(number(MI), |n| number(n.0)),
        response_timeout,
        idle_timeout,
        total_timeout,
        expose_version: raw.expose_version.get().is_none_or(|f| f.0),
        compare,
        pairs: compare::pairs(&raw.pairs),
    };
    (Some(spec), rollout)
}
