//! Rollouts: where to, by which steps, and that the policy as a whole makes sense.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::{ModelName, Role, VersionName, Weight};
use crate::control::rollouts::spec::RolloutSpec;
use crate::rollout::policy::{
    Advance, Bake, Harm, OnInconclusive, Pause, Policy, Rule, SetWeight, Shadow, Step,
};
use crate::rollout::time::Millis;

use super::super::choice::Choice;
use super::super::either::{OrNone, Short};
use super::super::places::Placed;
use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, Given};
use super::super::scalar::{Count, Time};
use super::weights::Shares;
use super::{analysis, exactly_one, gates, millis, set_number, set_rate, share};

/// The rollout of one model; of no use when there is a mistake in `report`.
pub(super) fn rollout(
    model: &raw::Model,
    name: &ModelName,
    shares: &Shares,
    base: &Path,
    report: &mut Report,
) -> Option<RolloutSpec> {
    let given = model.rollout.given()?;
    let raw = &given.value.section;
    candidate(model, raw, shares, report);
    let mut policy =
        Policy { auto_start: raw.auto_start.get().is_some_and(|flag| flag.0), ..Policy::default() };
    let mut sources = analysis::Sources::default();
    analysis::analysis(&mut policy.analysis, &mut sources, raw, !model.sticky.is_missing(), report);
    for item in raw.steps.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        policy.steps.extend(step(&item.value, report));
    }
    let mut behind = Vec::new();
    for item in raw.gates.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        if let Some((gate, spec)) = gates::gate(&item.value, base, report) {
            policy.gates.push(gate);
            behind.push(spec);
        }
    }
    // What has holes would be called wrong for what is missing.
    if !report.has_mistakes_below(&given.at.path) {
        validate(&policy, given, report);
        impossible(&policy, given, report);
    }
    Some(RolloutSpec {
        model: name.clone(),
        candidate: raw.candidate.get().map(|c| c.0.clone()),
        policy,
        segment: sources.segment,
        scores: sources.scores,
        features: sources.features,
        gates: behind,
    })
}

/// What only makes sense together is the policy's own to say; here it gets its lines.
fn validate(policy: &Policy, given: &Given<Placed<raw::Rollout>>, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for error in policy.validate() {
        let path = format!("{}.{}", given.at.path, written(policy, &error.path));
        // One place, one mistake: what follows from it is no second one.
        if seen.insert(path.clone()) {
            let at = given.value.place(&path);
            let fix = match path.rsplit('.').next() {
                // A section of its own in the policy, a key among others in the configuration.
                Some("latency" | "timeToFirstToken" | "interToken") => {
                    error.fix.replace("relative", "quantiles")
                }
                _ => error.fix,
            };
            report.wrong(&at, as_written(&error.reason, &at), fix);
        }
    }
}

/// Warns of a harm that cannot be: twice as many requests beyond the median as stable has would be all
/// of them, so that the step would pass without having shown anything about it.
fn impossible(policy: &Policy, given: &Given<Placed<raw::Rollout>>, report: &mut Report) {
    for (at, step) in policy.steps.iter().enumerate() {
        let Step::SetWeight(step) = step else { continue };
        for check in &policy.analysis.checks {
            let Rule::Latency(rule) = &check.rule else { continue };
            // The harm is looked for at the highest quantile.
            let Some(top) = rule.quantiles.last() else { continue };
            let most = 1.0 / (1.0 - top);
            if step.advance.harm.ratio < most - 1e-9 {
                continue;
            }
            let path = format!("{}.steps[{at}].setWeight.harm.ratio", given.at.path);
            let place = given.value.place(&path);
            let ratio = step.advance.harm.ratio;
            let percent = (top * 100.0 * 1e6).round() / 1e6;
            let message = format!(
                "{ratio} times as many requests beyond p{percent} as stable has cannot be, so {:?} rules nothing out",
                check.name
            );
            let fix = format!("write a harm ratio below {most:.3}, or give the check a higher quantile");
            report.warn(&place, message, fix);
        }
    }
}

/// The policy knows `0.02`, where the operator knows the `2%` that was written.
fn as_written(reason: &str, at: &At) -> String {
    match reason.split_once(' ') {
        Some((number, rest)) if !at.written.is_empty() && number.parse::<f64>().is_ok() => {
            format!("{} {rest}", at.written)
        }
        _ => reason.to_owned(),
    }
}

/// A path of the policy as it stands in the configuration, where the rule of a check is a key:
/// `analysis.metrics[0].errorRate.absolute.max` for `analysis.metrics[0].absolute.max`.
fn written(policy: &Policy, path: &str) -> String {
    let parts = path.strip_prefix("analysis.metrics[").and_then(|rest| rest.split_once(']'));
    let Some((index, below)) = parts else { return path.to_owned() };
    let check = index.parse().ok().and_then(|index: usize| policy.analysis.checks.get(index));
    let Some(check) = check.filter(|_| !matches!(below, ".name" | ".share")) else {
        return path.to_owned();
    };
    let below = match &check.rule {
        Rule::Latency(_) => below.replace(".relative", ""),
        _ => below.to_owned(),
    };
    format!("analysis.metrics[{index}].{}{below}", check.rule.as_str())
}

/// The candidate is one of the versions, serves nobody yet and is not the stable one.
fn candidate(model: &raw::Model, raw: &raw::Rollout, shares: &Shares, report: &mut Report) {
    let nothing = raw.candidate.is_missing() && model.repository.is_missing();
    if let Some(given) = raw.auto_start.given().filter(|given| given.value.0 && nothing) {
        report.warn(&given.at, "no candidate is named, so nothing starts", "name one with `candidate`");
    }
    if let Some(given) = raw.candidate.given().filter(|_| !model.repository.is_missing()) {
        let message = "with a repository, the candidate is the highest version in it";
        report.wrong(&given.at, message, "remove it");
        return;
    }
    let (Some(given), Some(versions)) = (raw.candidate.given(), model.versions.get()) else { return };
    let name: &VersionName = &given.value.0;
    let named = |i: usize| versions.items.get(i).and_then(|v| v.value.name.get()).map(|n| n.0.as_str());
    let names: Vec<&str> = (0..versions.items.len()).filter_map(named).collect();
    let whole = versions.complete && names.len() == versions.items.len();
    let Some(index) = (0..versions.items.len()).find(|i| named(*i) == Some(name.as_str())) else {
        if whole {
            let fix = format!("write one of: {}", names.join(", "));
            report.wrong(&given.at, format!("there is no version {:?}", name.as_str()), fix);
        }
        return;
    };
    let weight = shares.weights.get(index).copied().unwrap_or_default();
    if shares.stable == Some(index) {
        let message = format!("{:?} is the stable version already", name.as_str());
        report.wrong(&given.at, message, "write the version to move to");
    } else if weight > Weight::ZERO {
        let message = format!("{:?} has weight {weight}, which the rollout is to give it", name.as_str());
        report.wrong(&given.at, message, "leave the version's weight out");
    } else if versions.items.get(index).and_then(|v| v.value.role.get()).is_some_and(|r| r.0 == Role::Retired)
    {
        let message = format!("{:?} is retired", name.as_str());
        report.wrong(&given.at, message, "remove the version's role, or name another one");
    }
}

fn step(raw: &raw::Step, report: &mut Report) -> Option<Step> {
    let written = [
        ("shadow", raw.shadow.is_missing()),
        ("setWeight", raw.set_weight.is_missing()),
        ("pause", raw.pause.is_missing()),
        ("bake", raw.bake.is_missing()),
    ];
    exactly_one("kind of step", &written, &raw.at, report)?;
    None.or_else(|| raw.shadow.get().map(|raw| Step::Shadow(shadow(raw))))
        .or_else(|| raw.set_weight.get().and_then(set_weight).map(Step::SetWeight))
        .or_else(|| raw.pause.get().map(|raw| Step::Pause(pause(raw))))
        .or_else(|| raw.bake.get().map(|raw| Step::Bake(bake(raw))))
}

fn shadow(raw: &raw::Shadow) -> Shadow {
    let mut step = Shadow::default();
    step.sample = share(&raw.sample, step.sample);
    step.min_pairs = raw.min_pairs.get().map_or(step.min_pairs, |n| n.0);
    set_rate(&mut step.min_coverage, &raw.min_coverage);
    let ends = Ends {
        min_duration: &raw.min_duration,
        max_duration: &raw.max_duration,
        max_requests: &raw.max_requests,
        on_inconclusive: &raw.on_inconclusive,
        harm: &raw.harm,
    };
    ends.advance(&mut step.advance);
    step
}

fn set_weight(raw: &Short<super::super::scalar::Share<false>, raw::SetWeight>) -> Option<SetWeight> {
    let raw = match raw {
        Short::Value(weight) => return Some(SetWeight { weight: weight.0, ..SetWeight::default() }),
        Short::Section(raw) => raw,
    };
    let mut step = SetWeight { weight: raw.weight.get()?.0, ..SetWeight::default() };
    let ends = Ends {
        min_duration: &raw.min_duration,
        max_duration: &raw.max_duration,
        max_requests: &raw.max_requests,
        on_inconclusive: &raw.on_inconclusive,
        harm: &raw.harm,
    };
    ends.advance(&mut step.advance);
    Some(step)
}

fn pause<const A: u64, const B: u64>(raw: &Short<Time<A, B>, raw::Pause>) -> Pause {
    let duration = match raw {
        Short::Value(time) => Some(super::in_millis(time)),
        Short::Section(raw) => raw.duration.get().map(super::in_millis),
    };
    Pause { duration }
}

fn bake<const A: u64, const B: u64>(raw: &Short<Time<A, B>, raw::Bake>) -> Bake {
    let mut step = Bake::default();
    match raw {
        Short::Value(time) => step.duration = super::in_millis(time),
        Short::Section(raw) => {
            millis(&mut step.duration, &raw.duration);
            step.holdback = share(&raw.holdback, step.holdback);
        }
    }
    step
}

/// The keys that shadow and weight steps have in common.
struct Ends<'r, const A: u64, const B: u64, const C: u64, const D: u64, const E: u64, const F: u64> {
    min_duration: &'r Field<Time<A, B>>,
    max_duration: &'r Field<OrNone<Time<C, D>>>,
    max_requests: &'r Field<Count<E, F>>,
    on_inconclusive: &'r Field<Choice<OnInconclusive>>,
    harm: &'r Field<raw::Harm>,
}

impl<const A: u64, const B: u64, const C: u64, const D: u64, const E: u64, const F: u64>
    Ends<'_, A, B, C, D, E, F>
{
    fn advance(&self, to: &mut Advance) {
        millis(&mut to.min_duration, self.min_duration);
        if let Some(max) = self.max_duration.get() {
            to.max_duration = max.0.as_ref().map(super::in_millis);
        } else if self.max_duration.is_missing() {
            // A least time beyond the usual deadline moves the deadline: nobody meant it to be over first.
            to.max_duration = to.max_duration.map(|max: Millis| max.max(to.min_duration));
        }
        to.max_requests = self.max_requests.get().map(|n| n.0).or(to.max_requests);
        to.on_inconclusive = self.on_inconclusive.get().map_or(to.on_inconclusive, |choice| choice.0);
        if let Some(raw) = self.harm.get() {
            harm(&mut to.harm, raw);
        }
    }
}

fn harm(to: &mut Harm, raw: &raw::Harm) {
    set_number(&mut to.ratio, &raw.ratio);
    set_rate(&mut to.min_rate, &raw.min_rate);
}

/// Warns, once, that rollouts will be forgotten.
pub(super) fn forgetful(models: &[Given<raw::Model>], report: &mut Report) {
    let first = models.iter().find_map(|model| model.value.rollout.given());
    if let Some(given) = first {
        let at: &At = &given.at;
        report.warn(
            at,
            "there is no `store`: a restart forgets rollouts, and what was rolled back may be tried again",
            "write `store: {path: switchback.db}`",
        );
    }
}
