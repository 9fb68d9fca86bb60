//! Verdicts in words, with the numbers that they rest on.
//!
//! An e-value is evidence against "no worse", not a probability that a version is bad, and no
//! sentence here says so. Interval and counts of a sentence come from the same requests.

use super::checks::{Figures, Tally, Withheld};
use super::evidence::{CheckState, Evidence};
use super::policy::{Analysis, ErrorRate, Harm, Rule, Signal};
use super::time::Millis;
use super::verdict::{Cause, StepRule, Verdict};
use crate::stats::sequential::Interval;

/// The names and figures around a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The version that is gone back to.
    pub stable: &'a str,
    /// The version that is on trial.
    pub candidate: &'a str,
    /// Weight of the candidate now, as text.
    pub from: &'a str,
    /// What an advance leads to, as text: a weight or a step.
    pub to: &'a str,
    /// Since the step began.
    pub elapsed: Millis,
    /// Names of segments, by the places that evidence uses.
    pub segments: &'a [String],
}

/// The verdict in one line.
pub fn sentence(
    verdict: &Verdict,
    evidence: &Evidence,
    analysis: &Analysis,
    rule: &StepRule,
    at: &Setting<'_>,
) -> String {
    match verdict {
        Verdict::Rollback(cause) => {
            let when = match evidence.requests.candidate {
                0 => format!("after {}", at.elapsed),
                requests => format!("at canary request {} ({})", grouped(requests), at.elapsed),
            };
            format!(
                "ROLLBACK {} → {} {when}: {}",
                at.candidate,
                at.stable,
                cause_words(cause, evidence, analysis, at.segments)
            )
        }
        Verdict::Incident(cause) => format!(
            "HOLD: {} on canary AND baseline: shared incident, a rollback would not help",
            incident_words(cause, evidence, analysis)
        ),
        Verdict::Advance => {
            format!("ADVANCE {} → {}: {}", at.from, at.to, ruled_out(evidence, analysis, rule))
        }
        Verdict::Inconclusive => {
            let seen = match evidence.checks.iter().find_map(|check| check.figures.coverage) {
                Some(coverage) if rule.min_pairs > 0 => {
                    let pairs = evidence.checks.iter().map(|c| c.figures.step.requests.candidate).max();
                    format!("{} compared copies, coverage {}", grouped(pairs.unwrap_or(0)), percent(coverage))
                }
                _ => format!("{} canary requests", grouped(evidence.step_requests.candidate)),
            };
            let power = match evidence.smallest_harm {
                Some(harm) => format!("; could have caught ≥ {harm:.1}× (80 % power)"),
                None => String::new(),
            };
            format!("INCONCLUSIVE after {}: {seen}{power}", at.elapsed)
        }
        Verdict::BrokenRandomisation => format!(
            "HOLD: requests do not fall on the versions as drawn (evidence {} ≥ {}): no decision can be made; \
             look for pinned clients, caches and retries in front",
            e_value(evidence.balance.0.max(evidence.balance.1)),
            e_value(evidence.balance_threshold),
        ),
        Verdict::Hold => {
            let growing = evidence.checks.iter().max_by(|a, b| a.e_value.total_cmp(&b.e_value));
            let most = growing.map_or_else(String::new, |check| format!("; most from {}", check.name));
            format!("HOLD: evidence {} of {}{most}", e_value(evidence.e_value), e_value(evidence.threshold))
        }
    }
}

fn cause_words(cause: &Cause, evidence: &Evidence, analysis: &Analysis, segments: &[String]) -> String {
    match cause {
        Cause::Check(place) => {
            let Some(check) = evidence.checks.get(usize::from(*place)) else { return "evidence".to_owned() };
            let alone = if analysis.checks.len() > 1 {
                format!(
                    "; all checks together {} ≥ {}",
                    e_value(evidence.e_value),
                    e_value(evidence.threshold)
                )
            } else {
                String::new()
            };
            format!(
                "{}{}. Evidence {} (α {}{alone}): if it were no worse, evidence this strong would appear in at \
                 most {} of 100 rollouts",
                check.sentence,
                guilty(&check.figures, segments),
                e_value(check.e_value),
                percent(analysis.alpha),
                trimmed(analysis.alpha * 100.0),
            )
        }
        Cause::CircuitBreaker => {
            let rule = analysis.circuit_breaker.unwrap_or_default();
            let failures = evidence.breaker.map_or(0, |failures| failures.candidate);
            format!("circuit breaker, {failures} of the last {} canary requests failed", rule.window)
        }
        Cause::Threshold(place) => threshold_words(*place, evidence, true),
    }
}

/// The segments that are worse, where some are told apart and named.
fn guilty(figures: &Figures, segments: &[String]) -> String {
    let names: Vec<&str> = figures
        .segments
        .iter()
        .filter_map(|place| Some(segments.get(usize::from(*place))?.as_str()))
        .collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("; segment {one}"),
        many => format!("; segments {}", many.join(", ")),
    }
}

fn incident_words(cause: &Cause, evidence: &Evidence, analysis: &Analysis) -> String {
    match cause {
        Cause::Check(place) => {
            let place = usize::from(*place);
            match (evidence.checks.get(place), analysis.checks.get(place).map(|check| &check.rule)) {
                (Some(_), Some(Rule::Latency(rule))) => rule.absolute.map_or_else(
                    || rule.signal.words().to_owned(),
                    |bound| {
                        format!(
                            "p{} of {} > {}",
                            trimmed(bound.quantile * 100.0),
                            rule.signal.words(),
                            nanos(bound.max_nanos)
                        )
                    },
                ),
                (Some(check), Some(Rule::ErrorRate(rule))) => {
                    let max = rule.absolute.map_or(0.0, |limit| limit.max);
                    format!("{} > {}", check.name, percent(max))
                }
                (Some(check), _) => check.name.clone(),
                (None, _) => "a limit is broken".to_owned(),
            }
        }
        Cause::CircuitBreaker => "circuit breaker open".to_owned(),
        Cause::Threshold(place) => threshold_words(*place, evidence, false),
    }
}

fn threshold_words(place: u16, evidence: &Evidence, counts: bool) -> String {
    let Some(threshold) = evidence.thresholds.get(usize::from(place)) else {
        return "a threshold".to_owned();
    };
    if !counts {
        return format!("threshold {} broken", threshold.name);
    }
    format!("threshold {} broken, {}", threshold.name, rate_words(&threshold.window, "canary", "baseline"))
}

/// What was ruled out, check by check.
fn ruled_out(evidence: &Evidence, analysis: &Analysis, step: &StepRule) -> String {
    let passed = evidence.checks.iter().zip(&analysis.checks);
    let passed = passed.filter_map(|(check, spec)| Some((check, &spec.rule, check.ruled_out?)));
    let each: Vec<String> = passed
        .map(|(check, rule, e)| {
            let (candidate, stable) = sides(rule);
            let seen = check.figures.step;
            let ratio = seen.ratio().map_or_else(String::new, |ratio| format!("ratio {ratio:.1}×, "));
            let counts = if seen.requests.candidate == 0 {
                String::new()
            } else {
                format!(
                    "; {ratio}{candidate} {}, {stable} {}",
                    count(seen.events.candidate, seen.requests.candidate),
                    count(seen.events.stable, seen.requests.stable)
                )
            };
            format!(
                "{} {} ruled out (evidence {} ≥ {}{counts})",
                check.name,
                harm(rule, &step.harm),
                e_value(e),
                e_value(evidence.pass_threshold)
            )
        })
        .collect();
    if each.is_empty() {
        return "no check has a say in this step".to_owned();
    }
    format!("{}; β {}", each.join("; "), percent(analysis.beta))
}

/// What a check calls its two arms: copies are compared with copies that went back to stable.
fn sides(rule: &Rule) -> (&'static str, &'static str) {
    match rule {
        Rule::Divergence(_) => ("candidate", "noise"),
        _ => ("canary", "baseline"),
    }
}

/// The harm that a check rules out in a step that declares `harm`: the same as its test is made for.
fn harm(rule: &Rule, harm: &Harm) -> String {
    let ratio = trimmed(harm.ratio);
    match rule {
        Rule::ErrorRate(ErrorRate { relative: None, absolute: Some(limit) }) => {
            format!("above {}", percent(limit.max))
        }
        Rule::ErrorRate(_) if harm.min_rate > 0.0 => {
            format!("{ratio}× or worse, from {} on,", percent(harm.min_rate))
        }
        Rule::ErrorRate(_) => format!("{ratio}× or worse"),
        Rule::Latency(rule) => match (rule.quantiles.last(), rule.absolute) {
            (None, Some(bound)) => {
                format!("p{} above {}", trimmed(bound.quantile * 100.0), nanos(bound.max_nanos))
            }
            (top, _) => {
                let top = top.map_or_else(String::new, |top| format!(" above p{}", trimmed(top * 100.0)));
                format!("{ratio}× or more{top}")
            }
        },
        Rule::Divergence(rule) => {
            let least = percent(rule.max.unwrap_or(harm.min_rate));
            match rule.noise_control > 0.0 {
                true => format!("{ratio}× the noise and above {least}"),
                false => format!("above {least}"),
            }
        }
        Rule::Prediction(rule) => format!("shifted by {} of ranks", trimmed(2.0 * rule.rank_shift)),
        Rule::Drift(_) => String::new(),
    }
}

/// What a check sees, in words.
pub(super) fn check(state: &CheckState, rule: &Rule) -> String {
    let figures = &state.figures;
    let words = match rule {
        Rule::ErrorRate(_) => {
            let (candidate, stable) = sides(rule);
            format!("{}: {}", state.name, compared(figures, candidate, stable))
        }
        Rule::Latency(rule) => latency(state, rule.signal),
        Rule::Divergence(_) => {
            let coverage =
                figures.coverage.map_or_else(String::new, |c| format!("; coverage {}", percent(c)));
            let (candidate, stable) = sides(rule);
            format!("{}: {}{coverage}", state.name, compared(figures, candidate, stable))
        }
        Rule::Prediction(_) => match figures.mean_rank {
            Some(rank) => format!(
                "{}: P(canary > baseline) = {rank:.3} from {} canary answers",
                state.name,
                grouped(figures.whole.requests.candidate)
            ),
            None => format!("{}: no answers yet", state.name),
        },
        Rule::Drift(_) => {
            let (certain, plain) = figures.drift.unwrap_or_default();
            return format!("{}: PSI at least {certain:.3} (plain {plain:.3})", state.name);
        }
    };
    let withheld = state.parts.iter().find_map(|part| part.withheld);
    match withheld {
        Some(Withheld::LostControls) => format!("{words}; not judged: copies back to stable get lost"),
        Some(Withheld::SharedIncident) => format!("{words}; baseline breaks the limit too"),
        Some(Withheld::SmallEffect | Withheld::NoNoise | Withheld::Noise) | None => words,
    }
}

fn latency(state: &CheckState, signal: Signal) -> String {
    let figures = &state.figures;
    let whole = figures.whole;
    if whole.requests.candidate == 0 {
        return format!("{}: no requests yet", state.name);
    }
    let edge = figures.edge_nanos.map_or_else(String::new, nanos);
    let share = percent(whole.rates().candidate);
    match figures.quantile {
        Some(quantile) => format!(
            "{}: {share} of canary requests had a {} above the baseline's p{} ({edge} with what is tolerated; \
             expected {}), {}",
            state.name,
            signal.words(),
            trimmed(quantile * 100.0),
            percent(1.0 - quantile),
            count(whole.events.candidate, whole.requests.candidate),
        ),
        None => format!(
            "{}: {share} of canary requests had a {} above the limit of {edge}, {}",
            state.name,
            signal.words(),
            count(whole.events.candidate, whole.requests.candidate),
        ),
    }
}

/// Rates, their ratio and its interval, and the late part of it where that says more.
fn compared(figures: &Figures, candidate: &str, stable: &str) -> String {
    let whole = figures.whole;
    if whole.requests.candidate == 0 {
        return "no requests yet".to_owned();
    }
    let mut words = rate_words(&whole, candidate, stable);
    if let (Some(ratio), Some(interval)) = (whole.ratio(), figures.ratio) {
        words = format!("{words}; ratio {ratio:.1}× ({})", interval_words(interval));
    }
    let late = figures.stretch.requests.candidate;
    if late > 0 && late < whole.requests.candidate / 10 * 9 {
        words = format!("{words}; lately {}", rate_words(&figures.stretch, candidate, stable));
    }
    words
}

fn rate_words(tally: &Tally, candidate: &str, stable: &str) -> String {
    let rates = tally.rates();
    format!(
        "{candidate} {} ({}) vs {stable} {} ({})",
        percent(rates.candidate),
        count(tally.events.candidate, tally.requests.candidate),
        percent(rates.stable),
        count(tally.events.stable, tally.requests.stable),
    )
}

fn interval_words(interval: Interval) -> String {
    if interval.high.is_finite() {
        format!("95 % CS {:.1}–{:.1}", interval.low, interval.high)
    } else {
        format!("95 % CS from {:.1}", interval.low)
    }
}

fn count(events: u64, requests: u64) -> String {
    format!("{}/{}", grouped(events), grouped(requests))
}

/// A share in percent, with as many digits as are worth saying.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match percent {
        p if p >= 10.0 => 0,
        p if p >= 1.0 || p == 0.0 => 1,
        p if p >= 0.1 => 2,
        _ => 3,
    };
    format!("{} %", trimmed_text(format!("{percent:.digits$}")))
}

fn trimmed(number: f64) -> String {
    trimmed_text(format!("{number:.3}"))
}

fn trimmed_text(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn e_value(e_value: f64) -> String {
    match e_value {
        e if e >= 1e6 => format!("{e:.0e}"),
        e if e >= 10.0 => grouped(e as u64),
        e => format!("{e:.1}"),
    }
}

fn nanos(nanos: u64) -> String {
    match nanos {
        0..1_000_000 => format!("{} µs", trimmed(nanos as f64 / 1e3)),
        1_000_000..10_000_000_000 => format!("{} ms", trimmed(nanos as f64 / 1e6)),
        _ => format!("{} s", trimmed(nanos as f64 / 1e9)),
    }
}

/// A count with commas between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut words = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::{Divergence, Latency, LatencyBound, Limit, RelativeRate};

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            [0.039, 0.0095, 0.5, 0.0, 0.000_4].map(percent),
            ["3.9 %", "0.95 %", "50 %", "0 %", "0.04 %"]
        );
        assert_eq!([0, 999, 5_890, 1_234_567].map(grouped), ["0", "999", "5,890", "1,234,567"]);
        assert_eq!([144.4, 0.52, 2e9].map(e_value), ["144", "0.5", "2e9"]);
        assert_eq!([500_000_000, 250_000].map(nanos), ["500 ms", "250 µs"]);
    }

    #[test]
    fn each_check_says_which_harm_it_rules_out() {
        let step = Harm { ratio: 2.0, min_rate: 0.005 };
        let errors = |relative, absolute| Rule::ErrorRate(ErrorRate { relative, absolute });
        let divergence =
            |noise_control, max| Rule::Divergence(Divergence { noise_control, max, ..Divergence::default() });
        let latency = |quantiles: &[f64], absolute| {
            let quantiles = quantiles.to_vec();
            Rule::Latency(Latency { quantiles, absolute, ..Latency::default() })
        };
        let bound = LatencyBound { quantile: 0.99, max_nanos: 500_000_000 };
        for (rule, words) in [
            (errors(Some(RelativeRate::default()), None), "2× or worse, from 0.5 % on,"),
            (errors(None, Some(Limit { max: 0.02 })), "above 2 %"),
            (divergence(0.3, Some(0.05)), "2× the noise and above 5 %"),
            (divergence(0.0, Some(0.05)), "above 5 %"),
            (divergence(0.3, None), "2× the noise and above 0.5 %"),
            (latency(&[0.5, 0.99], Some(bound)), "2× or more above p99"),
            (latency(&[], Some(bound)), "p99 above 500 ms"),
        ] {
            assert_eq!(harm(&rule, &step), words, "{rule:?}");
        }
        assert_eq!(sides(&divergence(0.0, Some(0.05))), ("candidate", "noise"));
    }
}
