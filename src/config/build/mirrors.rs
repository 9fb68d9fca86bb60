//! Mirrors: to a version that exists, serves nobody, and gets one copy of a request.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Weight;
use crate::divergence::CompareSpec;
use crate::routing::spec::MirrorSpec;

use super::super::problem::Report;
use super::super::raw;
use super::super::read::List;
use super::super::scalar::{MI, show_size};
use super::weights::{Shares, Versions};
use super::{Unique, headers, number, set_count, set_size, set_time, share};

/// All mirrors of one model.
pub(super) fn mirrors(
    list: &List<raw::Mirror, 0, 16>,
    versions: &Versions,
    shares: &Shares,
    compare: &Arc<CompareSpec>,
    report: &mut Report,
) -> Vec<MirrorSpec> {
    let mut seen = Unique::default();
    let mut specs = Vec::new();
    for item in &list.items {
        target(&item.value, versions, shares, &mut seen, report);
        specs.extend(mirror(&item.value, compare, report));
    }
    specs
}

fn target(raw: &raw::Mirror, versions: &Versions, shares: &Shares, seen: &mut Unique, report: &mut Report) {
    let Some(to) = raw.to.given() else { return };
    let name = to.value.0.as_str();
    if let Some(line) = seen.0.get(name) {
        let message = format!("a second mirror to {name:?}, the first is on line {line}");
        report.wrong(&to.at, message, "remove one of them");
        return;
    }
    seen.0.insert(name.to_owned(), to.at.line);
    let named = |i: usize| versions.items.get(i).and_then(|v| v.value.name.get()).map(|n| n.0.as_str());
    let names = || (0..versions.items.len()).filter_map(named);
    match names().position(|n| n == name) {
        None if versions.complete && names().count() == versions.items.len() => {
            let fix = format!("write one of: {}", names().collect::<Vec<_>>().join(", "));
            report.wrong(&to.at, format!("there is no version {name:?}"), fix);
        }
        None => {}
        Some(index) => {
            let weight = shares.weights.get(index).copied().unwrap_or_default();
            if weight > Weight::ZERO {
                let message = format!("{name:?} has weight {weight}: it would shadow itself");
                report.wrong(&to.at, message, "mirror to a version without weight");
            }
        }
    }
}

fn mirror(raw: &raw::Mirror, compare: &Arc<CompareSpec>, report: &mut Report) -> Option<MirrorSpec> {
    let mut drop_headers = Vec::new();
    for item in raw.drop_headers.get().map(|l| l.items.as_slice()).unwrap_or_default() {
        let name = &item.value.0;
        if headers::may_change(name, &item.at, report) && !drop_headers.contains(name) {
            drop_headers.push(name.clone());
        }
    }
    let mut spec = MirrorSpec {
        to: raw.to.get()?.0.clone(),
        sample: share(&raw.sample, Weight::FULL),
        deadline: Duration::from_secs(30),
        max_in_flight: 64,
        max_bytes: number(16 * MI),
        max_body_bytes: number(MI),
        suspend_above: 1024,
        drop_headers,
        noise_control: share(&raw.noise_control, Weight::ZERO),
        compare: raw.compare.get().is_none_or(|flag| flag.0).then(|| Arc::clone(compare)),
        max_answer_bytes: number(MI),
    };
    noise(raw, &spec, report);
    set_size(&mut spec.max_answer_bytes, &raw.max_answer_bytes);
    set_time(&mut spec.deadline, &raw.deadline);
    set_count(&mut spec.max_in_flight, &raw.max_in_flight);
    set_size(&mut spec.max_bytes, &raw.max_bytes);
    set_size(&mut spec.max_body_bytes, &raw.max_body_bytes);
    set_count(&mut spec.suspend_above, &raw.suspend_above);
    if let (Some(body), Some(all)) = (raw.max_body_bytes.given(), raw.max_bytes.get())
        && body.value.0 > all.0
    {
        let message = format!("one body may be longer than all of them ({})", show_size(all.0));
        report.wrong(&body.at, message, "write at most maxBytes");
    }
    // A longest body beyond the whole budget is the budget, unless both were written.
    spec.max_body_bytes = spec.max_body_bytes.min(spec.max_bytes);
    Some(spec)
}

/// Controls measure the noise of a comparison, and leave copies for the shadow.
fn noise(raw: &raw::Mirror, spec: &MirrorSpec, report: &mut Report) {
    let Some(given) = raw.noise_control.given() else { return };
    if given.value.0 == Weight::FULL {
        report.wrong(&given.at, "100% leaves no copy for the shadow", "write less, such as \"30%\"");
    } else if spec.compare.is_none() && given.value.0 > Weight::ZERO {
        let fix = "remove it, or the `compare: false`";
        report.wrong(&given.at, "there is no noise to measure where nothing is compared", fix);
    }
}
