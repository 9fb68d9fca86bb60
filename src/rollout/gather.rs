//! From an analyzer to the numbers and words that are shown and kept.
//!
//! Made on demand and not at each look: intervals take up to a millisecond for each check.

use super::analyzer::{Analyzer, BALANCE_ALPHA};
use super::checks::{Part, Traffic, total_share};
use super::evidence::{CheckState, CheckVerdict, Evidence, ThresholdState};
use super::policy::{Analysis, Rule};
use super::time::Timestamp;
use super::words;
use crate::stats::sequential::{GRIDS, Plan, smallest_harm, weighted_mean};

/// Power of the "smallest harm that would have been found".
const POWER: f64 = 0.8;

impl Evidence {
    /// What `analyzer` knows at `now`.
    pub fn of(analyzer: &Analyzer, analysis: &Analysis, now: Timestamp) -> Self {
        let now = now.max(analyzer.at());
        let parts = analyzer.parts(analysis);
        let e_value = weighted_mean(parts.iter().flatten().map(Part::counted));
        let (incidents, pass) = (analyzer.incidents(), 1.0 / analysis.beta);
        let figures = analyzer.figures(analysis).into_iter();
        let states = (0..).zip(&analysis.checks).zip(parts).zip(analyzer.ruled_out()).zip(figures);
        let checks = states.map(|((((place, spec), parts), ruled_out), figures)| {
            let e_value = weighted_mean(parts.iter().map(Part::counted));
            let informs = matches!(spec.rule, Rule::Drift(_));
            let share = if informs { 0.0 } else { spec.share / total_share(analysis) };
            let threshold = 1.0 / (analysis.alpha * share);
            let verdict = match ruled_out {
                _ if incidents.contains(&place) => CheckVerdict::Incident,
                _ if !informs && e_value >= threshold => CheckVerdict::Fail,
                Some(e_value) if e_value >= pass => CheckVerdict::Pass,
                _ => CheckVerdict::Inconclusive,
            };
            let mut state = CheckState {
                name: spec.name.clone(),
                rule: spec.rule.as_str().to_owned(),
                verdict,
                e_value,
                // JSON has no infinity: a check that only informs has no threshold to reach.
                threshold: if informs { 0.0 } else { threshold },
                parts,
                ruled_out,
                figures,
                sentence: String::new(),
            };
            state.sentence = words::check(&state, &spec.rule);
            state
        });
        let thresholds = analyzer.thresholds().iter().zip(&analysis.thresholds);
        Self {
            e_value,
            threshold: 1.0 / analysis.alpha,
            pass_threshold: pass,
            checks: checks.collect(),
            thresholds: thresholds
                .map(|(watch, rule)| ThresholdState {
                    name: rule.name.clone(),
                    window: watch.tally(rule, now),
                    broken: watch.broken(rule, now),
                })
                .collect(),
            breaker: analysis.circuit_breaker.map(|rule| analyzer.breaker().failures(&rule)),
            balance: analyzer.balance(),
            balance_threshold: 1.0 / BALANCE_ALPHA,
            requests: analyzer.requests(),
            step_requests: analyzer.step_requests(),
            smallest_harm: caught_by_now(analyzer, analysis),
            warming: analyzer.warming(),
            grids: GRIDS.to_owned(),
            deltas: analyzer.deltas(),
        }
    }
}

/// The smallest ratio of error rates that this step's requests would have shown with 80 % power.
/// Without any errors of the stable arm there is nothing to be a ratio of: one error is assumed.
fn caught_by_now(analyzer: &Analyzer, analysis: &Analysis) -> Option<f64> {
    let place = analysis.checks.iter().position(|check| matches!(check.rule, Rule::ErrorRate(_)))?;
    let share = analysis.checks.get(place)?.share / total_share(analysis);
    let whole = analyzer.figures(analysis).into_iter().nth(place)?.whole;
    if analyzer.traffic() != Traffic::Live || whole.requests.stable == 0 {
        return None;
    }
    let plan = Plan {
        stable_rate: whole.events.stable.max(1) as f64 / whole.requests.stable as f64,
        weight: f64::from(analyzer.step_weight_bp()) / 10_000.0,
        alpha: analysis.alpha * share,
        tolerance: 1.0,
    };
    smallest_harm(&plan, analyzer.step_requests().candidate, POWER)
}
