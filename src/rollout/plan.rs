//! What a policy would find, how fast, and at what risk: before the first request.
//!
//! Two answers beside each other. The formulas give requests and time for a harm to be found (80 %)
//! and for a healthy candidate to pass (95 %). The simulation plays whole rollouts with the real
//! analyzer and a seed, and counts how they end. Both speak of errors, whose rate can be assumed;
//! latency and divergence depend on more than one number.
//!
//! Deliberately absent: any guess about traffic. Rate and error rate come from the caller.

mod simulate;

use serde::{Deserialize, Serialize};

use super::checks::total_share;
use super::policy::{Advance, Policy, RelativeRate, Rule, Step};
use super::time::Millis;
use crate::base::Weight;
use crate::stats::sequential::{Plan, requests_for_power, requests_to_rule_out, smallest_harm};

pub use simulate::Played;

/// Ratios of error rates that are planned for.
const RATIOS: [f64; 5] = [1.5, 2.0, 3.0, 5.0, 10.0];
/// Rollouts that are played at most, for each ratio.
pub const MAX_RUNS: u32 = 10_000;

/// What is assumed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assumptions {
    /// Requests per second of the model, all versions together.
    pub rps: f64,
    /// Share of the stable version's requests that fail, above 0 and below 1.
    pub error_rate: f64,
    /// Rollouts to play for each ratio. 0: formulas only.
    pub runs: u32,
    /// Seed of the simulation.
    pub seed: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { rps: 100.0, error_rate: 0.01, runs: 200, seed: 1 }
    }
}

/// What can be expected of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What was assumed.
    pub assumptions: Assumptions,
    /// Bound on the probability of rolling back a candidate that is no worse, whole rollout.
    pub false_rollback: f64,
    /// Of that, what the check of error rates may spend.
    pub false_rollback_errors: f64,
    /// Steps with live traffic.
    pub steps: Vec<StepForecast>,
    /// How rollouts end, by ratio of error rates: first of a candidate that is no worse.
    pub played: Vec<Played>,
    /// What to think about, in words.
    pub remarks: Vec<String>,
}

/// What can be expected of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepForecast {
    /// Place in the policy.
    pub step: usize,
    /// The candidate's weight.
    #[serde(with = "super::plain::weight")]
    pub weight: Weight,
    /// The candidate's requests per second.
    pub candidate_rps: f64,
    /// Until a healthy candidate passes, with 95 % probability. `None`: not within reason.
    pub passes: Option<Cost>,
    /// Until a harm is found, with 80 % probability.
    pub finds: Vec<Finding>,
    /// The smallest ratio of error rates that is found by the step's deadline with 80 % probability.
    pub smallest_by_deadline: Option<f64>,
}

/// Requests of the candidate, and the time that they take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Requests of the candidate.
    pub requests: u64,
    /// Time at the assumed rate.
    pub time: Millis,
}

/// How fast a harm is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Ratio of error rates.
    pub ratio: f64,
    /// What it takes; nothing where it is never found.
    pub cost: Option<Cost>,
}

/// Why nothing can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An assumption is out of its range.
    #[error("{name} is {value}: it must be {range}")]
    Assumption {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: &'static str,
    },
}

/// What can be expected of `policy`.
///
/// # Errors
/// [`PlanError`] where an assumption is out of its range.
pub fn plan(policy: &Policy, assumptions: &Assumptions) -> Result<Forecast, PlanError> {
    check(assumptions)?;
    let analysis = &policy.analysis;
    let rule = analysis.checks.iter().find_map(|check| match &check.rule {
        Rule::ErrorRate(rule) => Some((rule.clone(), check.share / total_share(analysis))),
        _ => None,
    });
    let mut remarks = Vec::new();
    let relative = rule.as_ref().and_then(|(rule, _)| rule.relative).unwrap_or_default();
    let parts = rule.as_ref().map_or(1.0, |(rule, _)| if rule.absolute.is_some() { 2.0 } else { 1.0 });
    let spent = analysis.alpha * rule.as_ref().map_or(0.0, |(_, share)| *share);
    if rule.is_none() {
        remarks.push("no check looks at errors: only what the other checks see is found".to_owned());
    }
    let steps: Vec<_> = policy
        .steps
        .iter()
        .enumerate()
        .filter_map(|(place, step)| match step {
            Step::SetWeight(step) if rule.is_some() => Some((place, step)),
            _ => None,
        })
        .map(|(place, step)| {
            forecast(place, step.weight, &step.advance, policy, assumptions, &relative, spent / parts)
        })
        .collect();
    for step in &steps {
        remark(step, policy, &mut remarks);
    }
    if policy.steps.iter().any(|step| matches!(step, Step::Bake(bake) if bake.holdback == Weight::ZERO)) {
        remarks.push(
            "the bake keeps no holdback: only absolute limits and the circuit breaker can end it".to_owned(),
        );
    }
    let played = match &rule {
        Some((rule, _)) if !steps.is_empty() => simulate::play(policy, rule, spent, assumptions),
        _ => Vec::new(),
    };
    Ok(Forecast {
        assumptions: *assumptions,
        false_rollback: analysis.alpha,
        false_rollback_errors: spent,
        steps,
        played,
        remarks,
    })
}

fn check(assumptions: &Assumptions) -> Result<(), PlanError> {
    let fail = |name, value: f64, range| Err(PlanError::Assumption { name, value: value.to_string(), range });
    if !(assumptions.rps > 0.0 && assumptions.rps <= 1e7) {
        return fail("rps", assumptions.rps, "more than 0 and at most 10000000");
    }
    if !(assumptions.error_rate > 0.0 && assumptions.error_rate < 1.0) {
        return fail("errorRate", assumptions.error_rate, "more than 0% and less than 100%");
    }
    if assumptions.runs > MAX_RUNS {
        return fail("runs", f64::from(assumptions.runs), "at most 10000");
    }
    Ok(())
}

fn forecast(
    place: usize,
    weight: Weight,
    advance: &Advance,
    policy: &Policy,
    assumptions: &Assumptions,
    relative: &RelativeRate,
    alpha: f64,
) -> StepForecast {
    let candidate_rps = assumptions.rps * weight.fraction();
    let plan = Plan {
        stable_rate: assumptions.error_rate,
        weight: weight.fraction(),
        alpha,
        tolerance: relative.tolerance,
    };
    let cost = |requests: f64| {
        let time = Millis((requests / candidate_rps * 1_000.0).ceil() as u64);
        Cost { requests: requests.ceil() as u64, time }
    };
    let finding = |ratio: f64| {
        let found = requests_for_power(&plan, (assumptions.error_rate * ratio).min(1.0), 0.8);
        Finding { ratio, cost: found.map(cost) }
    };
    // Halves of the wealth go to the ratio and to the least rate, where there is one.
    let halves = if advance.harm.min_rate > 0.0 { 2.0 } else { 1.0 };
    let to_pass = Plan { alpha: policy.analysis.beta / halves, ..plan };
    let passes = requests_to_rule_out(&to_pass, assumptions.error_rate, advance.harm.ratio, 0.95).map(cost);
    let least = |cost: Cost| Cost { time: cost.time.max(advance.min_duration), ..cost };
    let by_deadline = advance.max_duration.map(|most| (most.as_seconds() * candidate_rps) as u64);
    let most = [by_deadline, advance.max_requests].into_iter().flatten().min();
    StepForecast {
        step: place,
        weight,
        candidate_rps,
        passes: passes.map(least),
        finds: RATIOS.map(finding).to_vec(),
        smallest_by_deadline: most.and_then(|requests| smallest_harm(&plan, requests, 0.8)),
    }
}

fn remark(step: &StepForecast, policy: &Policy, remarks: &mut Vec<String>) {
    let Some(Step::SetWeight(rule)) = policy.steps.get(step.step) else { return };
    let Some(most) = rule.advance.max_duration else { return };
    match step.passes {
        Some(cost) if cost.time <= most => {}
        Some(cost) => remarks.push(format!(
            "steps[{}] at {}: a healthy candidate may need {} to rule out {}×, more than maxDuration {most}; raise the \
             weight, harm.ratio or maxDuration",
            step.step, step.weight, cost.time, rule.advance.harm.ratio
        )),
        None => remarks.push(format!("steps[{}] at {}: the harm can't be ruled out", step.step, step.weight)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::CheckSpec;
    use crate::rollout::policy::{ErrorRate, Harm, SetWeight};

    fn policy(min_rate: f64) -> Policy {
        let advance = Advance { harm: Harm { ratio: 2.0, min_rate }, ..Advance::default() };
        let mut policy = Policy {
            steps: vec![Step::SetWeight(SetWeight { weight: "5%".parse().unwrap(), advance })],
            ..Policy::default()
        };
        policy.analysis.checks =
            vec![CheckSpec::new("error-rate", 1.0, Rule::ErrorRate(ErrorRate::default()))];
        policy
    }

    #[test]
    fn the_formulas_agree_with_the_study() {
        let forecast = plan(&policy(0.0), &Assumptions { runs: 0, ..Assumptions::default() }).unwrap();
        let step = &forecast.steps[0];
        let fivefold = step.finds[3].cost.unwrap();
        assert!((245..280).contains(&fivefold.requests), "{fivefold:?}");
        assert_eq!(fivefold.time.0 / 1_000, fivefold.requests / 5);
        let smallest = step.smallest_by_deadline.unwrap();
        assert!((1.2..2.0).contains(&smallest), "{smallest}");
        assert_eq!(forecast.false_rollback, 0.01);
    }

    #[test]
    fn the_simulation_agrees_with_the_formulas_and_repeats_itself() {
        let assumptions = Assumptions { runs: 100, ..Assumptions::default() };
        let forecast = plan(&policy(0.0), &assumptions).unwrap();
        assert_eq!(forecast, plan(&policy(0.0), &assumptions).unwrap());
        let healthy = &forecast.played[0];
        assert_eq!(healthy.ratio, 1.0);
        assert!(healthy.rolled_back <= 4, "{healthy:?}");
        assert!(healthy.passed >= 90, "{healthy:?}");
        let fivefold = forecast.played.iter().find(|played| played.ratio == 5.0).unwrap();
        assert!(fivefold.rolled_back >= 98, "{fivefold:?}");
        let requests = fivefold.requests_to_roll_back.unwrap();
        assert!((100..230).contains(&requests), "{requests}");
    }

    #[test]
    fn a_step_that_could_never_pass_in_time_is_remarked_on() {
        let slow = Assumptions { rps: 0.5, runs: 0, ..Assumptions::default() };
        let forecast = plan(&policy(0.0), &slow).unwrap();
        assert!(forecast.remarks[0].contains("more than maxDuration 60 min"), "{:?}", forecast.remarks);
    }

    #[test]
    fn assumptions_out_of_range_are_refused() {
        for (rps, error_rate) in [(0.0, 0.01), (f64::NAN, 0.01), (1.0, 0.0), (1.0, 1.0)] {
            assert!(plan(&policy(0.0), &Assumptions { rps, error_rate, ..Assumptions::default() }).is_err());
        }
    }
}
