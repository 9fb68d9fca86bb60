//! What the checks say together, and how long a step waits for them.
//!
//! One function, [`verdict`], is all there is to a decision by evidence. The machine calls it at
//! each look, and whoever verifies a record calls it again.

use serde::{Deserialize, Serialize};

use super::analyzer::Analyzer;
use super::checks::{Part, Traffic};
use super::policy::{Advance, Analysis, Harm, OnInconclusive, Step};
use super::time::{Millis, Timestamp};
use crate::stats::sequential::weighted_mean;

/// How a step ends. Made of the policy's step; kept in records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRule {
    /// What the step brings to the candidate.
    pub traffic: Traffic,
    /// Whether evidence ends it. A pause and a bake end by time or by hand.
    pub by_evidence: bool,
    /// What must be ruled out.
    pub harm: Harm,
    /// Least time.
    pub min_duration: Millis,
    /// Most time.
    pub max_duration: Option<Millis>,
    /// Most requests of the candidate (compared copies in a shadow step).
    pub max_requests: Option<u64>,
    /// What happens then.
    pub on_inconclusive: OnInconclusive,
    /// Compared copies without which a shadow step does not pass.
    pub min_pairs: u64,
    /// Coverage without which a shadow step does not pass.
    pub min_coverage: f64,
}

impl StepRule {
    /// The rule of a step of the policy; `None` for the time after the last one.
    pub fn of(step: Option<&Step>, traffic: Traffic) -> Self {
        let (by_evidence, advance, min_pairs, min_coverage) = match step {
            Some(Step::Shadow(step)) => (true, step.advance.clone(), step.min_pairs, step.min_coverage),
            Some(Step::SetWeight(step)) => (true, step.advance.clone(), 0, 0.0),
            Some(Step::Pause(_) | Step::Bake(_)) | None => (false, Advance::default(), 0, 0.0),
        };
        Self {
            traffic,
            by_evidence,
            harm: advance.harm,
            min_duration: advance.min_duration,
            max_duration: advance.max_duration,
            max_requests: advance.max_requests,
            on_inconclusive: advance.on_inconclusive,
            min_pairs,
            min_coverage,
        }
    }
}

/// What the checks say together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Stay: there is no evidence for anything yet.
    Hold,
    /// The step's harm is ruled out and its least time is over.
    Advance,
    /// Go back.
    Rollback(Cause),
    /// Both arms break the same limit: a rollback would not help.
    Incident(Cause),
    /// The step's time or its requests are used up without evidence.
    Inconclusive,
    /// Requests do not fall on the arms as they were drawn, so that nothing can be decided.
    BrokenRandomisation,
}

impl Verdict {
    /// The verdict's word in status and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Advance => "advance",
            Self::Rollback(_) => "rollback",
            Self::Incident(_) => "incident",
            Self::Inconclusive => "inconclusive",
            Self::BrokenRandomisation => "brokenRandomisation",
        }
    }
}

/// What a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// Evidence, most of it from the check at this place.
    Check(u16),
    /// The circuit breaker.
    CircuitBreaker,
    /// The plain threshold at this place.
    Threshold(u16),
}

/// The verdict `elapsed` after the step began, at `now`.
pub fn verdict(
    analyzer: &Analyzer,
    analysis: &Analysis,
    rule: &StepRule,
    elapsed: Millis,
    now: Timestamp,
) -> Verdict {
    let now = now.max(analyzer.at());
    let mut incident = None;
    let plain = breaker(analyzer, analysis).into_iter().chain(thresholds(analyzer, analysis, now));
    for (cause, shared) in plain {
        if !shared {
            return Verdict::Rollback(cause);
        }
        incident.get_or_insert(cause);
    }
    if analyzer.broken() {
        return Verdict::BrokenRandomisation;
    }
    let parts = analyzer.parts(analysis);
    if weighted_mean(parts.iter().flatten().map(Part::counted)) >= 1.0 / analysis.alpha {
        return Verdict::Rollback(Cause::Check(culprit(&parts)));
    }
    let shared = incident.or(analyzer.incidents().first().map(|place| Cause::Check(*place)));
    if let Some(cause) = shared {
        return Verdict::Incident(cause);
    }
    if rule.by_evidence {
        if elapsed >= rule.min_duration && harm_is_ruled_out(analyzer, analysis, rule) {
            return Verdict::Advance;
        }
        let used_up = rule.max_duration.is_some_and(|most| elapsed >= most)
            || rule.max_requests.is_some_and(|most| seen(analyzer, rule) >= most);
        if used_up {
            return Verdict::Inconclusive;
        }
    }
    Verdict::Hold
}

/// Whether every check that has a say in this step has ruled the harm out. They are not averaged:
/// advancing needs all of them, which keeps `beta` for each.
fn harm_is_ruled_out(analyzer: &Analyzer, analysis: &Analysis, rule: &StepRule) -> bool {
    let with_a_say: Vec<f64> = analyzer.ruled_out().into_iter().flatten().collect();
    if rule.traffic == Traffic::Copies {
        let (pairs, coverage) = analyzer.coverage().unwrap_or_default();
        if pairs < rule.min_pairs || coverage < rule.min_coverage {
            return false;
        }
    }
    if with_a_say.is_empty() {
        // Nothing but plain limits was asked for: they must at least have had something to look at.
        let least = analysis.thresholds.iter().map(|threshold| threshold.min_requests).max();
        return rule.traffic == Traffic::None || seen(analyzer, rule) >= least.unwrap_or(1).max(1);
    }
    with_a_say.iter().all(|e_value| *e_value >= 1.0 / analysis.beta)
}

/// What the step has seen of the candidate: requests, or compared copies.
fn seen(analyzer: &Analyzer, rule: &StepRule) -> u64 {
    match rule.traffic {
        Traffic::Copies => analyzer.coverage().map_or(0, |(pairs, _)| pairs),
        Traffic::Live | Traffic::None => analyzer.step_requests().candidate,
    }
}

fn breaker(analyzer: &Analyzer, analysis: &Analysis) -> Option<(Cause, bool)> {
    let open = analyzer.breaker().open(&analysis.circuit_breaker?);
    open.candidate.then_some((Cause::CircuitBreaker, open.stable))
}

fn thresholds(analyzer: &Analyzer, analysis: &Analysis, now: Timestamp) -> Vec<(Cause, bool)> {
    let watches = (0..).zip(analyzer.thresholds()).zip(&analysis.thresholds);
    let broken = watches.map(|((place, watch), rule)| (place, watch.broken(rule, now)));
    broken
        .filter(|(_, arms)| arms.candidate)
        .map(|(place, arms)| (Cause::Threshold(place), arms.stable))
        .collect()
}

/// The check with most of the evidence.
fn culprit(parts: &[Vec<Part>]) -> u16 {
    let evidence = |parts: &Vec<Part>| {
        parts.iter().map(Part::counted).map(|part| part.share * part.e_value).sum::<f64>()
    };
    let most = (0..).zip(parts).map(|(place, parts)| (place, evidence(parts)));
    most.fold((0, 0.0), |most, check| if check.1 > most.1 { check } else { most }).0
}
