//! What a policy may say. `config` reads types and units; what only makes sense together is checked
//! here, so that policies from the API and from files obey the same rules.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::{Advance, Analysis, Policy, RelativeRate, Rule, Shadow, Step, Threshold};
use super::{GateKind, Metric, Profile};
use crate::base::Weight;
use crate::rollout::time::Millis;

/// Most steps of a policy.
pub const MAX_STEPS: usize = 100;
/// Most gates of a policy.
pub const MAX_GATES: usize = 32;
/// Most checks of an analysis.
pub const MAX_CHECKS: usize = 32;
/// Most plain thresholds of an analysis.
pub const MAX_THRESHOLDS: usize = 32;
/// Most segments that an analysis may tell apart.
pub const MAX_SEGMENTS: usize = 256;
/// Most bins of a profile, and most profiles.
const MAX_BINS: usize = 64;
/// Largest window of the circuit breaker.
const MAX_WINDOW: u64 = 1_000_000;

/// Something that a policy may not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}; {fix}")]
pub struct PolicyError {
    /// Where, in the words of the configuration: `steps[2].setWeight.weight`.
    pub path: String,
    /// What is wrong, with the value.
    pub reason: String,
    /// What to write instead.
    pub fix: String,
}

impl Policy {
    /// Everything that is wrong with the policy. Empty: it can be used.
    pub fn validate(&self) -> Vec<PolicyError> {
        let mut report = Report::default();
        report.count("steps", self.steps.len(), MAX_STEPS);
        report.count("gates", self.gates.len(), MAX_GATES);
        analysis(&self.analysis, &mut report);
        let mut weight = Weight::ZERO;
        for (at, step) in self.steps.iter().enumerate() {
            let path = format!("steps[{at}].{}", step.as_str());
            let last = at + 1 == self.steps.len();
            match step {
                Step::Shadow(shadow) => {
                    if weight > Weight::ZERO {
                        report.add(
                            path.clone(),
                            "comes after a step with weight",
                            "shadow before the first setWeight",
                        );
                    }
                    shadow_step(shadow, &path, self, &mut report);
                }
                Step::SetWeight(step) => {
                    if step.weight == Weight::ZERO || step.weight == Weight::FULL {
                        report.add(
                            format!("{path}.weight"),
                            format!("{} leaves nothing to compare with", step.weight),
                            "write more than 0% and less than 100%: all traffic comes after the last step",
                        );
                    }
                    if step.weight < weight {
                        report.add(
                            format!("{path}.weight"),
                            format!("{} is less than the {weight} of an earlier step", step.weight),
                            "let weights rise",
                        );
                    }
                    weight = weight.max(step.weight);
                    advance(&step.advance, &path, &mut report);
                }
                Step::Pause(_) => {}
                Step::Bake(bake) => {
                    if !last {
                        report.add(path.clone(), "comes before other steps", "make it the last step");
                    }
                    if bake.holdback.basis_points() > 5_000 {
                        report.add(
                            format!("{path}.holdback"),
                            format!("{} is more than half of the traffic", bake.holdback),
                            "write 50% or less; 1% to 2% is usual",
                        );
                    }
                }
            }
        }
        let mut names = BTreeSet::new();
        for (at, gate) in self.gates.iter().enumerate() {
            let path = format!("gates[{at}]");
            report.name(&format!("{path}.name"), &gate.name, &mut names);
            if gate.kind == GateKind::Load {
                report.add(
                    format!("{path}.kind"),
                    "loading is not a gate to configure",
                    "leave it out: it is implied",
                );
            }
            if gate.timeout == Millis::ZERO || gate.retry_every == Millis::ZERO {
                report.add(path, "a timeout or retry of 0", "write 1s or more");
            }
        }
        report.errors
    }
}

fn shadow_step(shadow: &Shadow, path: &str, policy: &Policy, report: &mut Report) {
    if shadow.sample == Weight::ZERO {
        report.add(format!("{path}.sample"), "0% copies nothing", "write more than 0%");
    }
    report.share(&format!("{path}.minCoverage"), shadow.min_coverage);
    if !policy.analysis.checks.iter().any(|check| matches!(check.rule, Rule::Divergence(_))) {
        report.add(path.to_owned(), "nothing compares the copies", "add a divergence check to the analysis");
    }
    advance(&shadow.advance, path, report);
}

fn advance(advance: &Advance, path: &str, report: &mut Report) {
    let (ratio, min_rate) = (advance.harm.ratio, advance.harm.min_rate);
    if !(ratio > 1.0 && ratio <= 1_000.0) {
        report.add(
            format!("{path}.harm.ratio"),
            format!("{ratio} is no harm"),
            "write more than 1, such as 2",
        );
    }
    if !(0.0..1.0).contains(&min_rate) {
        report.add(
            format!("{path}.harm.minRate"),
            format!("{min_rate} is no rate"),
            "write 0% to below 100%",
        );
    }
    if advance.max_duration.is_some_and(|max| max < advance.min_duration || max == Millis::ZERO) {
        report.add(
            format!("{path}.maxDuration"),
            "ends before minDuration",
            "write at least minDuration, and more than 0",
        );
    }
    if advance.max_requests == Some(0) {
        report.add(format!("{path}.maxRequests"), "0 ends at once", "write 1 or more, or leave it out");
    }
}

fn analysis(analysis: &Analysis, report: &mut Report) {
    for (key, value) in [("alpha", analysis.alpha), ("beta", analysis.beta)] {
        if !(1e-9..=0.5).contains(&value) {
            report.add(
                format!("analysis.{key}"),
                format!("{value} is no risk to live with"),
                "write a probability such as 0.01, at most 0.5",
            );
        }
    }
    report.count("analysis.metrics", analysis.checks.len(), MAX_CHECKS);
    report.count("analysis.thresholds", analysis.thresholds.len(), MAX_THRESHOLDS);
    let mut names = BTreeSet::new();
    for (at, check) in analysis.checks.iter().enumerate() {
        let path = format!("analysis.metrics[{at}]");
        report.name(&format!("{path}.name"), &check.name, &mut names);
        let informs = matches!(check.rule, Rule::Drift(_));
        let sound = check.share > 0.0 && check.share <= 1_000.0;
        if !(informs || sound) {
            report.add(format!("{path}.share"), format!("{} is no share", check.share), "write more than 0");
        }
        rule(&check.rule, &path, report);
    }
    let count = |f: fn(&Rule) -> bool| analysis.checks.iter().filter(|check| f(&check.rule)).count();
    if count(|rule| matches!(rule, Rule::Divergence(_))) > 1 {
        report.add(
            "analysis.metrics".to_owned(),
            "two divergence checks, but there is one coin for the copies",
            "leave one of them out",
        );
    }
    for (at, threshold) in analysis.thresholds.iter().enumerate() {
        self::threshold(threshold, &format!("analysis.thresholds[{at}]"), &mut names, report);
    }
    if let Some(segments) = &analysis.segments {
        report.count("analysis.segments.max", segments.max, MAX_SEGMENTS);
        if segments.max == 0 || segments.by.is_empty() {
            report.add(
                "analysis.segments".to_owned(),
                "tells nothing apart",
                "name attributes in `by`, and a max",
            );
        }
    }
    if let Some(breaker) = analysis.circuit_breaker {
        let sound = (1..=MAX_WINDOW).contains(&breaker.window)
            && (1..=breaker.window).contains(&breaker.max_failures);
        if !sound {
            report.add(
                "analysis.circuitBreaker".to_owned(),
                format!("{} failures of {} requests", breaker.max_failures, breaker.window),
                "write 1 to 1000000 requests, and at most as many failures",
            );
        }
    }
}

fn rule(rule: &Rule, path: &str, report: &mut Report) {
    match rule {
        Rule::ErrorRate(check) => {
            relative(check.relative.as_ref(), path, report);
            limit(check.absolute.map(|limit| limit.max), &format!("{path}.absolute.max"), report);
            if check.relative.is_none() && check.absolute.is_none() {
                report.add(path.to_owned(), "compares with nothing", "write relative, absolute or both");
            }
        }
        Rule::Latency(check) => {
            let inside = |q: &f64| *q > 0.0 && *q < 1.0;
            let rising = check.quantiles.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
            if !check.quantiles.iter().all(inside) || !rising || check.quantiles.len() > 8 {
                let reason = format!("{:?} are not rising quantiles", check.quantiles);
                report.add(
                    format!("{path}.relative.quantiles"),
                    reason,
                    "write up to 8, such as [p50, p90, p99]",
                );
            }
            if !(1.0..=100.0).contains(&check.tolerance) {
                let reason = format!("{} is no slowdown", check.tolerance);
                report.add(
                    format!("{path}.relative.tolerance"),
                    reason,
                    "write 1 or more: 1.1 is 10% slower",
                );
            }
            match check.absolute {
                Some(bound) if !inside(&bound.quantile) || bound.max_nanos == 0 => {
                    report.add(
                        format!("{path}.absolute"),
                        "is no limit of a quantile",
                        "write such as p99: 500ms",
                    );
                }
                None if check.quantiles.is_empty() => {
                    report.add(path.to_owned(), "compares with nothing", "write relative, absolute or both");
                }
                _ => {}
            }
        }
        Rule::Divergence(check) => {
            relative(check.relative.as_ref(), path, report);
            limit(check.max, &format!("{path}.max"), report);
            if !(0.0..1.0).contains(&check.noise_control) {
                let reason = format!("{} leaves no copy for the candidate", check.noise_control);
                report.add(format!("{path}.noiseControl"), reason, "write 0 to below 1; 0.3 is usual");
            }
            if check.max.is_none() && (check.relative.is_none() || check.noise_control == 0.0) {
                report.add(
                    path.to_owned(),
                    "compares with nothing",
                    "write max, or relative with a noiseControl",
                );
            }
        }
        Rule::Prediction(check) => {
            if !(check.rank_shift > 0.0 && check.rank_shift < 0.5) {
                let reason = format!("{} is no shift of ranks", check.rank_shift);
                report.add(
                    format!("{path}.rankShift"),
                    reason,
                    "write more than 0 and less than 0.5, such as 0.02",
                );
            }
        }
        Rule::Drift(check) => {
            report.count(&format!("{path}.profiles"), check.profiles.len(), MAX_BINS);
            for (at, profile) in check.profiles.iter().enumerate() {
                self::profile(profile, &format!("{path}.profiles[{at}]"), report);
            }
            if !(check.warn > 0.0 && check.alert >= check.warn && check.alert.is_finite()) {
                report.add(
                    path.to_owned(),
                    "warn and alert must rise",
                    "write such as warn: 0.1, alert: 0.25",
                );
            }
        }
    }
}

fn profile(profile: &Profile, path: &str, report: &mut Report) {
    let sum: f64 = profile.shares.iter().sum();
    let shares = profile.shares.iter().all(|share| *share > 0.0) && (sum - 1.0).abs() < 1e-6;
    if !shares || !(2..=MAX_BINS).contains(&profile.shares.len()) {
        // A bin that was never filled in the training would make one value in it endless drift.
        let empty = profile.shares.iter().find(|share| share.is_nan() || **share <= 0.0);
        report.add(
            path.to_owned(),
            match empty {
                Some(share) => format!("a share of {share}"),
                None => format!("{} shares that sum to {sum}", profile.shares.len()),
            },
            "write 2 to 64 shares above 0 that sum to 1",
        );
    }
}

fn relative(relative: Option<&RelativeRate>, path: &str, report: &mut Report) {
    let Some(relative) = relative else { return };
    if !(relative.tolerance > 0.0 && relative.tolerance <= 100.0) {
        let reason = format!("{} is no ratio of rates", relative.tolerance);
        report.add(format!("{path}.relative.tolerance"), reason, "write 1 for `no worse`");
    }
    if !(0.0..=1_000.0).contains(&relative.min_effect) {
        let reason = format!("{} is no ratio of rates", relative.min_effect);
        report.add(format!("{path}.relative.minEffect"), reason, "write such as 1.2, or 0 for any");
    }
    report.share(&format!("{path}.relative.minRate"), relative.min_rate);
}

fn limit(max: Option<f64>, path: &str, report: &mut Report) {
    if max.is_some_and(|max| !(max > 0.0 && max < 1.0)) {
        report.add(path.to_owned(), "no rate can break or keep it", "write more than 0% and less than 100%");
    }
}

fn threshold<'a>(threshold: &'a Threshold, path: &str, names: &mut BTreeSet<&'a str>, report: &mut Report) {
    report.name(&format!("{path}.name"), &threshold.name, names);
    let finite = [threshold.max, threshold.min].iter().flatten().all(|limit| limit.is_finite());
    if (threshold.max.is_none() && threshold.min.is_none()) || !finite {
        report.add(path.to_owned(), "limits nothing", "write max, min or both");
    }
    if threshold.window == Millis::ZERO || threshold.window > Millis::hours(24) {
        report.add(
            format!("{path}.window"),
            format!("{}", threshold.window),
            "write more than 0, at most 24h",
        );
    }
    if let Metric::Quantile { quantile, .. } = threshold.metric {
        let positive = threshold.max.is_some_and(|max| max > 0.0 && max < 1e6);
        if !(quantile > 0.0 && quantile < 1.0) || threshold.min.is_some() || !positive {
            report.add(path.to_owned(), "a quantile has only a max", "write such as metric: p99, max: 500ms");
        }
    }
}

#[derive(Default)]
struct Report {
    errors: Vec<PolicyError>,
}

impl Report {
    fn add(&mut self, path: String, reason: impl Display, fix: &str) {
        self.errors.push(PolicyError { path, reason: reason.to_string(), fix: fix.to_owned() });
    }

    fn count(&mut self, path: &str, found: usize, most: usize) {
        if found > most {
            self.add(path.to_owned(), format!("{found} are too many"), &format!("write at most {most}"));
        }
    }

    fn share(&mut self, path: &str, share: f64) {
        if !(0.0..=1.0).contains(&share) {
            self.add(path.to_owned(), format!("{share} is no share"), "write 0% to 100%");
        }
    }

    fn name<'a>(&mut self, path: &str, name: &'a str, seen: &mut BTreeSet<&'a str>) {
        if name.is_empty() || name.len() > 63 {
            self.add(
                path.to_owned(),
                format!("{} characters", name.len()),
                "write a name of 1 to 63 characters",
            );
        }
        if !seen.insert(name) {
            self.add(path.to_owned(), format!("{name:?} is there already"), "choose another name");
        }
    }
}
