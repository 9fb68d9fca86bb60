//! What a rollout watches: checks with their defaults, and where the numbers they need stand.

use std::collections::BTreeMap;

use crate::base::Weight;
use crate::control::rollouts::spec::{FeatureSource, FeatureSpec};
use crate::divergence::score::ScoreSpec;
use crate::rollout::policy::{
    Analysis, CheckSpec, CircuitBreaker, Divergence, Drift, ErrorRate, Latency, LatencyBound, Limit, Metric,
    Prediction, Profile, RelativeRate, Rule, Signal, Threshold, Unit,
};
use crate::rollout::time::Millis;
use crate::routing::spec::SegmentSpec;

use super::super::measure::{Bound, MetricName};
use super::super::problem::{At, Report};
use super::super::raw;
use super::{exactly_one, millis, number, set_number, set_rate};

/// Where the numbers stand that checks name.
#[derive(Default)]
pub(super) struct Sources {
    /// What tells segments apart.
    pub segment: Option<SegmentSpec>,
    /// Predicted numbers.
    pub scores: BTreeMap<String, ScoreSpec>,
    /// Input features.
    pub features: BTreeMap<String, FeatureSpec>,
}

/// Fills in `to` and `sources`. `sticky`: whether the model keeps keys on one version.
pub(super) fn analysis(
    to: &mut Analysis,
    sources: &mut Sources,
    rollout: &raw::Rollout,
    sticky: bool,
    report: &mut Report,
) {
    to.randomize_by = if sticky { Unit::Key } else { Unit::Request };
    let Some(raw) = rollout.analysis.get() else { return };
    set_number(&mut to.alpha, &raw.alpha);
    set_number(&mut to.beta, &raw.beta);
    if let Some(given) = raw.randomize_by.given() {
        match (given.value.0, sticky) {
            (Unit::Key, false) => {
                let message = "the model has no `sticky`, so nothing is drawn by key";
                report.wrong(&given.at, message, "write request, or the model's `sticky`");
            }
            (Unit::Request, true) => {
                let message = "the model is `sticky`: requests of one key are no draws of their own";
                report.wrong(&given.at, message, "write key: a key counts once");
            }
            _ => {}
        }
    }
    if let Some(warmup) = raw.warmup.get() {
        to.warmup.requests = warmup.requests.get().map_or(to.warmup.requests, |n| n.0);
        millis(&mut to.warmup.duration, &warmup.duration);
    }
    if let Some(list) = raw.metrics.get() {
        to.checks.clear();
        for item in &list.items {
            to.checks.extend(check(&item.value, sources, report));
        }
    }
    if let Some(raw) = raw.segments.get() {
        to.segments = super::segments::segments(raw, sources, report);
    }
    match raw.circuit_breaker.get().map(|breaker| &breaker.0) {
        None => {}
        Some(None) => to.circuit_breaker = None,
        Some(Some(raw)) => {
            let CircuitBreaker { window, max_failures } = CircuitBreaker::default();
            to.circuit_breaker = Some(CircuitBreaker {
                window: raw.window.get().map_or(window, |n| n.0),
                max_failures: raw.max_failures.get().map_or(max_failures, |n| n.0),
            });
        }
    }
    for item in raw.thresholds.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        to.thresholds.extend(threshold(&item.value, report));
    }
}

fn check(raw: &raw::Check, sources: &mut Sources, report: &mut Report) -> Option<CheckSpec> {
    let written = [
        ("errorRate", raw.error_rate.is_missing()),
        ("latency", raw.latency.is_missing()),
        ("timeToFirstToken", raw.time_to_first_token.is_missing()),
        ("interToken", raw.inter_token.is_missing()),
        ("divergence", raw.divergence.is_missing()),
        ("prediction", raw.prediction.is_missing()),
        ("drift", raw.drift.is_missing()),
    ];
    exactly_one("rule", &written, &raw.at, report)?;
    let rule = None
        .or_else(|| raw.error_rate.get().map(|raw| Rule::ErrorRate(error_rate(raw))))
        .or_else(|| raw.latency.get().map(|raw| latency(raw, Signal::Latency, report)))
        .or_else(|| raw.time_to_first_token.get().map(|raw| latency(raw, Signal::TimeToFirstToken, report)))
        .or_else(|| raw.inter_token.get().map(|raw| latency(raw, Signal::InterToken, report)))
        .or_else(|| raw.divergence.get().map(|raw| Rule::Divergence(divergence(raw, report))))
        .or_else(|| raw.prediction.get().and_then(|raw| prediction(raw, sources, report)))
        .or_else(|| raw.drift.get().map(|raw| drift(raw, sources, report)))?;
    let usual = match &rule {
        Rule::ErrorRate(_) => "error-rate",
        Rule::Latency(Latency { signal: Signal::Latency, .. }) => "latency",
        Rule::Latency(Latency { signal: Signal::TimeToFirstToken, .. }) => "time-to-first-token",
        Rule::Latency(Latency { signal: Signal::InterToken, .. }) => "inter-token",
        Rule::Divergence(_) => "divergence",
        Rule::Prediction(_) => "prediction",
        Rule::Drift(_) => "drift",
    };
    let name = raw.name.get().map_or(usual, |name| name.0.as_str());
    Some(CheckSpec::new(name, raw.share.get().map_or(1.0, |share| share.0), rule))
}

fn error_rate(raw: &raw::ErrorRate) -> ErrorRate {
    let absolute = raw.absolute.get().and_then(|raw| raw.max.get()).map(|max| Limit { max: max.0 });
    let mut rule = ErrorRate { absolute, ..ErrorRate::default() };
    match raw.relative.get().map(|relative| &relative.0) {
        // Who writes a limit and nothing else means the limit and nothing else.
        None if raw.relative.is_missing() && !raw.absolute.is_missing() => rule.relative = None,
        None => {}
        Some(None) => rule.relative = None,
        Some(Some(raw)) => {
            let mut relative = rule.relative.unwrap_or_default();
            set_number(&mut relative.tolerance, &raw.tolerance);
            set_number(&mut relative.min_effect, &raw.min_effect);
            set_rate(&mut relative.min_rate, &raw.min_rate);
            rule.relative = Some(relative);
        }
    }
    rule
}

fn latency(raw: &raw::Latency, signal: Signal, report: &mut Report) -> Rule {
    let mut rule = Latency { signal, ..Latency::default() };
    match raw.quantiles.given() {
        Some(given) => {
            rule.quantiles = given.value.items.iter().map(|item| item.value.0).collect();
            if !rule.quantiles.is_sorted_by(|a, b| a < b) {
                report.wrong(&given.at, "the quantiles do not rise", "write each once, the smallest first");
            }
        }
        // As for errors. A tolerance without quantiles can only mean the usual ones.
        None if [raw.quantiles.is_missing(), raw.tolerance.is_missing(), raw.min_difference.is_missing()]
            == [true; 3]
            && !raw.absolute.is_missing() =>
        {
            rule.quantiles.clear();
        }
        None => {}
    }
    set_number(&mut rule.tolerance, &raw.tolerance);
    if let Some(time) = raw.min_difference.get() {
        rule.min_difference_nanos = u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX);
    }
    rule.absolute = raw.absolute.get().map(|limit| LatencyBound {
        quantile: limit.quantile,
        max_nanos: u64::try_from(limit.limit.as_nanos()).unwrap_or(u64::MAX),
    });
    Rule::Latency(rule)
}

fn divergence(raw: &raw::Divergence, report: &mut Report) -> Divergence {
    let mut rule = Divergence::default();
    if let Some(given) = raw.noise_control.given().filter(|given| given.value.0 == Weight::FULL) {
        report.wrong(&given.at, "100% leaves no copy for the candidate", "write less, such as \"30%\"");
    }
    rule.noise_control = raw.noise_control.get().map_or(rule.noise_control, |share| share.0.fraction());
    match raw.relative.get().map(|relative| &relative.0) {
        None => {}
        Some(None) => rule.relative = None,
        Some(Some(raw)) => {
            let mut relative: RelativeRate = rule.relative.unwrap_or_default();
            set_number(&mut relative.tolerance, &raw.tolerance);
            set_number(&mut relative.min_effect, &raw.min_effect);
            set_rate(&mut relative.min_rate, &raw.min_rate);
            rule.relative = Some(relative);
        }
    }
    if let Some(max) = raw.max.get() {
        rule.max = max.0.map(|max| max.0);
    }
    rule
}

fn prediction(raw: &raw::Prediction, sources: &mut Sources, report: &mut Report) -> Option<Rule> {
    let written = [("output", raw.output.is_missing()), ("pointer", raw.pointer.is_missing())];
    exactly_one("place of the number", &written, &raw.at, report)?;
    if let Some(index) = raw.index.given().filter(|_| raw.output.is_missing()) {
        report.wrong(&index.at, "a pointer leads to one number", "write the index into the pointer");
    }
    let (value, score) = match (raw.output.get(), raw.pointer.get()) {
        (Some(output), _) => {
            let (name, index) = (output.0.clone(), raw.index.get().map_or(0, |n| number(n.0)));
            (format!("{name}[{index}]"), ScoreSpec::Output { name, index })
        }
        (None, Some(pointer)) => (pointer.0.clone(), ScoreSpec::Pointer(pointer.0.clone())),
        (None, None) => return None,
    };
    sources.scores.insert(value.clone(), score);
    let mut rank_shift = 0.02;
    set_number(&mut rank_shift, &raw.rank_shift);
    Some(Rule::Prediction(Prediction { value, rank_shift }))
}

fn drift(raw: &raw::Drift, sources: &mut Sources, report: &mut Report) -> Rule {
    let mut rule = Drift { profiles: Vec::new(), warn: 0.1, alert: 0.25 };
    set_number(&mut rule.warn, &raw.warn);
    set_number(&mut rule.alert, &raw.alert);
    for item in raw.profiles.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        rule.profiles.extend(profile(&item.value, sources, report));
    }
    Rule::Drift(rule)
}

fn profile(raw: &raw::Profile, sources: &mut Sources, report: &mut Report) -> Option<Profile> {
    let written = [("input", raw.input.is_missing()), ("pointer", raw.pointer.is_missing())];
    exactly_one("place of the feature", &written, &raw.at, report)?;
    if let Some(column) = raw.column.given().filter(|_| raw.input.is_missing()) {
        report.wrong(&column.at, "a pointer leads to one number", "write the index into the pointer");
    }
    let source = match (raw.input.get(), raw.pointer.get()) {
        (Some(input), _) => FeatureSource::Column {
            input: input.0.clone(),
            column: raw.column.get().map_or(0, |n| number(n.0)),
        },
        (None, Some(pointer)) => FeatureSource::Pointer(pointer.0.clone()),
        (None, None) => return None,
    };
    let (feature, written_edges, written_shares) =
        (raw.feature.given()?, raw.edges.given()?, raw.shares.given()?);
    let edges: Vec<f64> = written_edges.value.items.iter().map(|item| item.value.0).collect();
    let shares: Vec<f64> = written_shares.value.items.iter().map(|item| item.value.0).collect();
    if !written_edges.value.complete || !written_shares.value.complete {
        return None;
    }
    if !edges.is_sorted_by(|a, b| a < b) {
        report.wrong(&written_edges.at, "the edges do not rise", "write each once, the smallest first");
    }
    if shares.len() != edges.len() + 1 {
        let message = format!("{} shares for the {} bins of the edges", shares.len(), edges.len() + 1);
        report.wrong(&written_shares.at, message, "write one share more than edges");
    }
    let feature_name = feature.value.0.clone();
    if sources.features.insert(feature_name.clone(), FeatureSpec { source, edges }).is_some() {
        let message = format!("a second profile of {:?}", feature.at.written);
        report.wrong(&feature.at, message, "remove one of them");
    }
    Some(Profile { feature: feature_name, shares })
}

fn threshold(raw: &raw::Threshold, report: &mut Report) -> Option<Threshold> {
    let signal = raw.signal.get().map_or(Signal::Latency, |signal| signal.0);
    let (metric, usual) = match *raw.metric.get()? {
        MetricName::ErrorRate => (Metric::ErrorRate, "errorRate".to_owned()),
        MetricName::SuccessRate => (Metric::SuccessRate, "successRate".to_owned()),
        MetricName::DivergenceRate => (Metric::DivergenceRate, "divergenceRate".to_owned()),
        MetricName::Quantile(quantile) => {
            let written = raw.metric.given().map(|given| given.at.written.clone()).unwrap_or_default();
            (Metric::Quantile { signal, quantile }, written)
        }
    };
    let timed = matches!(metric, Metric::Quantile { .. });
    if let Some(signal) = raw.signal.given().filter(|_| !timed) {
        report.wrong(
            &signal.at,
            "a rate has no signal",
            "remove it, or write a quantile such as p99 as metric",
        );
    }
    let mut limit = |bound: Option<(Bound, &At)>| match bound? {
        (Bound::Rate(rate), _) if !timed => Some(rate),
        (Bound::Time(time), _) if timed => Some(time.as_secs_f64()),
        (_, at) => {
            let (message, fix) = match timed {
                true => ("a quantile of a duration is limited by a duration", "write one such as \"500ms\""),
                false => ("a rate is limited by a rate", "write one such as \"2%\""),
            };
            report.wrong(at, message, fix);
            None
        }
    };
    let max = limit(raw.max.given().map(|given| (given.value, &given.at)));
    let low = raw.min.given().filter(|_| !timed).map(|given| (given.value, &given.at));
    let min = limit(low);
    if let Some(given) = raw.min.given() {
        if timed {
            report.wrong(&given.at, "a quantile of a duration has no min", "write max");
        } else if max.zip(min).is_some_and(|(max, min)| min > max) {
            report.wrong(&given.at, "nothing is between min and max", "write less than max");
        }
    }
    let mut window = Millis::minutes(1);
    millis(&mut window, &raw.window);
    let name = raw.name.get().map_or(usual, |name| name.0.clone());
    let min_requests = raw.min_requests.get().map_or(50, |n| n.0);
    Some(Threshold { name, metric, max, min, window, min_requests })
}
