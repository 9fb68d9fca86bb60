//! How requests arrive: one of several ways, each with its own rules.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::choice::ArrivalWord;
use super::super::super::measure::Number;
use super::super::super::problem::Report;
use super::super::super::raw;
use super::super::super::read::{Given, List};
use super::super::{exactly_one, files, number, set_count, set_number, set_rate, set_time};
use crate::load::inputs;
use crate::load::schedule::Stage;
use crate::load::spec::{ArrivalSpec, FindMaxSpec, LoadSpec};

/// A rate as written, which must be above zero and not beyond what can be meant.
fn rate(given: &Given<Number>, may_be_zero: bool, report: &mut Report) -> Option<f64> {
    let rate = given.value.0;
    if rate > 1e7 || (rate <= 0.0 && !may_be_zero) {
        report.wrong(
            &given.at,
            match rate < 1e15 {
                true => format!("{rate} requests per second cannot be sent"),
                false => format!("{rate:e} requests per second cannot be sent"),
            },
            "write 0.001 to 10000000",
        );
        return None;
    }
    Some(rate)
}

pub(super) fn load_spec(raw: &raw::Load, base: &Path, report: &mut Report) -> Option<LoadSpec> {
    let keys = [
        ("rate", raw.rate.is_missing()),
        ("stages", raw.stages.is_missing()),
        ("trace", raw.trace.is_missing()),
        ("clients", raw.clients.is_missing()),
        ("findMax", raw.find_max.is_missing()),
    ];
    exactly_one("way for requests to arrive", &keys, &raw.at, report)?;
    let mut duration = Duration::from_secs(30);
    set_time(&mut duration, &raw.duration);
    if let (Some(given), true) = (raw.duration.given(), raw.rate.is_missing() && raw.clients.is_missing()) {
        let message = "only `rate` and `clients` have a duration here";
        report.wrong(&given.at, message, "remove it; stages, traces and probes have their own");
    }
    if let (Some(given), true) = (raw.arrivals.given(), raw.rate.is_missing() && raw.stages.is_missing()) {
        report.wrong(&given.at, "only `rate` and `stages` are spread in a way of their own", "remove it");
    }
    let arrivals = match raw.arrivals.get().map(|word| word.0) {
        Some(ArrivalWord::Constant) => ArrivalSpec::Constant,
        Some(ArrivalWord::Poisson) | None => ArrivalSpec::Poisson,
    };
    if let Some(given) = raw.rate.given() {
        let rate = rate(given, false, report)?;
        return Some(LoadSpec::Open { stages: vec![Stage { from: rate, to: rate, duration }], arrivals });
    }
    if let Some(list) = raw.stages.get() {
        return Some(LoadSpec::Open { stages: stages(list, report), arrivals });
    }
    if let Some(clients) = raw.clients.get() {
        return Some(LoadSpec::Closed { clients: number(clients.0), duration });
    }
    if let Some(find) = raw.find_max.given() {
        return find_max(find, report).map(LoadSpec::FindMax);
    }
    let trace = raw.trace.get()?;
    let path = files::existing(&trace.file, base, report)?;
    let mut speed = 1.0;
    set_number(&mut speed, &trace.speed);
    if let (Some(given), true) = (trace.speed.given(), speed <= 0.0) {
        report.wrong(&given.at, "a trace without speed never ends", "write more than 0");
        return None;
    }
    let given = trace.file.given()?;
    match inputs::trace(&path, speed) {
        Ok(times) => {
            Some(LoadSpec::Open { stages: Vec::new(), arrivals: ArrivalSpec::Trace(Arc::from(times)) })
        }
        Err(error) => {
            report.wrong(&given.at, error.to_string(), "");
            None
        }
    }
}

fn stages(list: &List<raw::LoadStage, 1, 64>, report: &mut Report) -> Vec<Stage> {
    let mut found: Vec<Stage> = Vec::new();
    for item in &list.items {
        let keys = [("rate", item.value.rate.is_missing()), ("rampTo", item.value.ramp_to.is_missing())];
        let Some(()) = exactly_one("rate", &keys, &item.at, report) else { continue };
        let Some(duration) = item.value.duration.get() else { continue };
        let before = found.last().map_or(0.0, |stage| stage.to);
        let stage = match (item.value.rate.given(), item.value.ramp_to.given()) {
            (Some(given), _) => rate(given, true, report).map(|rate| (rate, rate)),
            (_, Some(given)) => rate(given, true, report).map(|rate| (before, rate)),
            _ => None,
        };
        found.extend(stage.map(|(from, to)| Stage { from, to, duration: duration.0 }));
    }
    found
}

fn find_max(find: &Given<raw::LoadFindMax>, report: &mut Report) -> Option<FindMaxSpec> {
    let raw = &find.value;
    let mut spec = FindMaxSpec {
        from: 10.0,
        to: 10_000.0,
        precision: 0.05,
        probe: Duration::from_secs(10),
        confirmations: 2,
        poisson: raw.arrivals.get().is_none_or(|word| word.0 == ArrivalWord::Poisson),
    };
    set_number(&mut spec.from, &raw.from);
    set_number(&mut spec.to, &raw.to);
    set_rate(&mut spec.precision, &raw.precision);
    set_time(&mut spec.probe, &raw.probe);
    set_count(&mut spec.confirmations, &raw.confirmations);
    for given in [raw.from.given(), raw.to.given()].into_iter().flatten() {
        rate(given, false, report)?;
    }
    if let (Some(given), true) = (raw.precision.given(), spec.precision < 0.001) {
        report.wrong(&given.at, "no search is that exact", "write 0.1% or more");
        return None;
    }
    if spec.to < spec.from {
        let at = raw.to.given().map_or(&find.at, |given| &given.at);
        report.wrong(
            at,
            format!("the search would end at {} and begin at {}", spec.to, spec.from),
            "swap them",
        );
        return None;
    }
    Some(spec)
}
