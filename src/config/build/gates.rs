//! Gates: each kind is answered by what can answer it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::control::rollouts::spec::{Asked, GateSpec};
use crate::notify::Secret;
use crate::rollout::policy::{Gate, GateKind};

use super::super::problem::Report;
use super::super::raw;
use super::super::read::{Field, Pairs};
use super::super::text::ForeignText;
use super::{files, millis};

/// A gate and what stands behind it.
pub(super) fn gate(raw: &raw::Gate, base: &Path, report: &mut Report) -> Option<(Gate, GateSpec)> {
    let kind = raw.kind.get()?.0;
    let word = kind.as_str();
    let golden = kind == GateKind::Golden;
    let (missing, fix) = match golden {
        true => (raw.examples.is_missing(), "add the key \"examples\" here: a file of JSON lines"),
        false => (raw.url.is_missing(), "add the key \"url\" here"),
    };
    if missing {
        report.wrong(&raw.at, format!("nobody answers the {word} gate"), fix);
    }
    let foreign = match golden {
        true => raw.url.given().map(|url| (&url.at, "url")),
        false => raw.examples.given().map(|examples| (&examples.at, "examples")),
    };
    if let Some((at, key)) = foreign {
        report.wrong(at, format!("a {word} gate has no {key}"), "remove it, or write another kind");
    }
    if let Some(metadata) = raw.metadata.given().filter(|_| golden) {
        report.wrong(&metadata.at, "a golden gate has no metadata", "remove it, or write another kind");
    }
    let asked = match golden {
        true => Asked::Golden { examples: files::existing(&raw.examples, base, report)? },
        false => {
            Asked::Webhook { url: Secret::new(raw.url.get()?.0.clone()), metadata: metadata(&raw.metadata) }
        }
    };
    let name = raw.name.get()?.0.clone();
    let mut gate = Gate::new(&name, kind);
    millis(&mut gate.timeout, &raw.timeout);
    millis(&mut gate.retry_every, &raw.retry_every);
    Some((gate, GateSpec { name, asked }))
}

fn metadata(field: &Field<Pairs<ForeignText>>) -> BTreeMap<String, String> {
    let pairs = field.get().map(|pairs| pairs.0.as_slice()).unwrap_or_default();
    pairs.iter().map(|(key, value)| (key.value.clone(), value.0.clone())).collect()
}
