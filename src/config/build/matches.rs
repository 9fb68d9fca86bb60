//! Which requests are a model's.

use crate::routing::spec::{MatchSpec, Target};

use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::List;

/// Every item that is good, and where it is.
pub(super) fn matches(list: &List<raw::Match, 1, 64>, report: &mut Report) -> Vec<(MatchSpec, At)> {
    let good = list.items.iter().filter_map(|item| one(&item.value, report).map(|m| (m, item.at.clone())));
    good.collect()
}

fn one(item: &raw::Match, report: &mut Report) -> Option<MatchSpec> {
    let (host, header) = (&item.host, &item.header);
    let (prefix, model) = (&item.path_prefix, &item.model);
    if host.is_missing() && header.is_missing() && prefix.is_missing() && model.is_missing() {
        let fix = "write host, header, pathPrefix or model; {pathPrefix: /} matches every request";
        report.wrong(&item.at, "the item has no condition", fix);
        return None;
    }
    if !prefix.is_missing() && !model.is_missing() {
        let fix = "keep one, or write two items: any one of them is enough";
        report.wrong(&item.at, "pathPrefix and model do not go together", fix);
        return None;
    }
    if host.is_wrong() || header.is_wrong() || prefix.is_wrong() || model.is_wrong() {
        return None;
    }
    let header = match header.get() {
        Some(header) => Some((header.name.get()?.0.clone(), header.value.get()?.0.clone())),
        None => None,
    };
    let target = match (prefix.get(), model.get()) {
        (Some(prefix), _) => Target::PathPrefix(prefix.0.clone()),
        (None, Some(model)) => Target::Model(model.0.clone()),
        (None, None) => Target::Any,
    };
    Some(MatchSpec { host: host.get().map(|h| h.0.clone()), header, target })
}
