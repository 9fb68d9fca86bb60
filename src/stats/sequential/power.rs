//! How much traffic a verdict takes, before the first request: for plans and for what is said about
//! an inconclusive step.
//!
//! The log-wealth of the best bet on the grid is a random walk; it has crossed its bar after `n`
//! candidate requests with the asked probability where `n·μ − z·σ·√n` meets it. What the grid costs
//! is about repaid by the bets beside the best. Within some 6 % of simulation at 80 to 95 %.

use super::arm::{RATIOS, factors, inside};
use super::special::{bisect, ln, normal_quantile};

/// What is assumed of a comparison of two event rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Probability of an event in the stable arm.
    pub stable_rate: f64,
    /// The candidate's share of the draws between the arms.
    pub weight: f64,
    /// Probability of a wrong verdict that this test may spend: `α` times its share.
    pub alpha: f64,
    /// The tolerated ratio; 1 is "no worse".
    pub tolerance: f64,
}

/// After how many candidate requests [`ArmTest`](super::ArmTest) has found a candidate with this
/// event rate, with probability `power`. Nothing where it never does, or where a number is out of
/// its range.
pub fn requests_for_power(plan: &Plan, candidate_rate: f64, power: f64) -> Option<f64> {
    if plan.tolerance.is_nan() || plan.tolerance <= 0.0 {
        return None;
    }
    let (stable, candidate) = factors(plan.weight, plan.tolerance, &RATIOS);
    // Half of the wealth was in the bets.
    let bar = ln(1.0 / plan.alpha) + ln(2.0);
    crossing(plan, candidate_rate, power, bar, stable.iter().zip(&candidate))
}

/// After how many candidate requests [`AdvanceTest`](super::AdvanceTest) has ruled out `harm_ratio`
/// for a candidate with this event rate, with probability `power`, where `plan.alpha` is the `β` that
/// may be spent.
pub fn requests_to_rule_out(plan: &Plan, candidate_rate: f64, harm_ratio: f64, power: f64) -> Option<f64> {
    if harm_ratio.is_nan() || harm_ratio <= 1.0 {
        return None;
    }
    let ratios = [0.5, 1.0, harm_ratio.sqrt()].map(|r| r / harm_ratio);
    let (stable, candidate) = factors(plan.weight, harm_ratio, &ratios);
    let bar = ln(1.0 / plan.alpha) + ln(2.0);
    crossing(plan, candidate_rate, power, bar, stable.iter().zip(&candidate))
}

/// The smallest harm, as a ratio of event rates, that the arm test would have found by now with
/// probability `power`, after this many candidate requests. Nothing where even a candidate that
/// always fails would not have been.
pub fn smallest_harm(plan: &Plan, candidate_requests: u64, power: f64) -> Option<f64> {
    if !inside(plan.stable_rate) {
        return None;
    }
    let found = |ratio: f64| {
        let needed = requests_for_power(plan, (ratio * plan.stable_rate).min(1.0), power);
        needed.is_some_and(|needed| needed <= candidate_requests as f64)
    };
    let most = 1.0 / plan.stable_rate;
    found(most).then(|| bisect(plan.tolerance.min(most), most, |ratio| !found(ratio)))
}

/// The least mean number of candidate requests that any test with this error bound and certain
/// detection needs: Wald's `ln(1/α)` over the divergence of the arms from what they would share.
pub fn lower_bound(plan: &Plan, candidate_rate: f64) -> Option<f64> {
    let (w, p0, p1) = (plan.weight, plan.stable_rate, candidate_rate);
    let shared = w * p1 + (1.0 - w) * p0;
    let information = divergence(p1, shared) + (1.0 - w) / w * divergence(p0, shared);
    let requests = ln(1.0 / plan.alpha) / information;
    (inside(w) && requests.is_finite() && requests > 0.0).then_some(requests)
}

/// Kullback–Leibler divergence of two yes-or-no variables, in nats.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * ln(p / q) } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// The least `n`, over the bets, at which the walk meets the bar.
fn crossing<'a>(
    plan: &Plan,
    candidate_rate: f64,
    power: f64,
    bar: f64,
    bets: impl Iterator<Item = (&'a f64, &'a f64)>,
) -> Option<f64> {
    let rates = 0.0..=1.0;
    let sound = inside(plan.weight) && inside(plan.alpha) && inside(power);
    if !sound || !rates.contains(&plan.stable_rate) || !rates.contains(&candidate_rate) {
        return None;
    }
    let z = normal_quantile(power);
    // Stable requests per candidate request.
    let beside = (1.0 - plan.weight) / plan.weight;
    let needed = bets.filter_map(|(stable, candidate)| {
        let (lose, win) = (ln(*stable), ln(*candidate));
        let mean = candidate_rate * win + beside * plan.stable_rate * lose;
        let square = candidate_rate * win * win + beside * plan.stable_rate * lose * lose;
        let root = (z * square.sqrt() + (z * z * square + 4.0 * mean * bar).sqrt()) / (2.0 * mean);
        (mean > 0.0 && root.is_finite()).then_some(root * root)
    });
    needed.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { stable_rate: 0.01, weight: 0.05, alpha: 0.01, tolerance: 1.0 };

    fn about(got: Option<f64>, expected: f64, relative: f64) {
        let got = got.unwrap();
        assert!((got / expected - 1.0).abs() < relative, "{got} for {expected}");
    }

    /// The figures are of an independent implementation of the same formula.
    #[test]
    fn the_traffic_that_a_harm_takes_is_the_known_one() {
        for (power, expected) in [(0.5, 144.31), (0.8, 262.30), (0.9, 331.31), (0.95, 399.19)] {
            about(requests_for_power(&PLAN, 0.05, power), expected, 1e-3);
        }
        for (power, expected) in [(0.5, 1464.83), (0.8, 2568.26), (0.95, 3688.26)] {
            about(requests_for_power(&PLAN, 0.02, power), expected, 1e-3);
        }
        let rare = Plan { stable_rate: 0.001, ..PLAN };
        about(requests_for_power(&rare, 0.005, 0.8), 2622.98, 1e-3);
        about(requests_for_power(&PLAN, 0.1, 0.8), 81.18, 1e-3);
        about(requests_for_power(&Plan { tolerance: 1.2, ..PLAN }, 0.02, 0.8), 1.65 * 2568.0, 0.03);
    }

    #[test]
    fn no_test_beats_the_bound() {
        about(lower_bound(&PLAN, 0.05), 122.83, 1e-3);
        about(lower_bound(&PLAN, 0.02), 1256.47, 1e-3);
        about(lower_bound(&Plan { stable_rate: 0.001, ..PLAN }, 0.005), 1251.71, 1e-3);
        for rate in [0.02, 0.03, 0.05, 0.1] {
            assert!(requests_for_power(&PLAN, rate, 0.5).unwrap() > lower_bound(&PLAN, rate).unwrap());
        }
    }

    #[test]
    fn the_smallest_harm_shrinks_with_traffic() {
        about(smallest_harm(&PLAN, 100, 0.8), 8.7, 0.01);
        about(smallest_harm(&PLAN, 1_000, 0.8), 2.7, 0.02);
        about(smallest_harm(&PLAN, 10_000, 0.8), 1.5, 0.03);
        assert_eq!(smallest_harm(&PLAN, 0, 0.8), None);
        assert_eq!(smallest_harm(&PLAN, 1, 0.8), None, "not even one that always fails");
    }

    #[test]
    fn a_healthy_candidate_rules_out_a_large_harm_sooner_than_a_small_one() {
        let plan = Plan { alpha: 0.05, ..PLAN };
        let at = |ratio| requests_to_rule_out(&plan, 0.01, ratio, 0.8).unwrap();
        assert!(at(5.0) < at(2.0) && at(2.0) < at(1.5));
        assert_eq!(requests_to_rule_out(&plan, 0.02, 1.5, 0.8), None, "the harm is there");
    }

    #[test]
    fn numbers_out_of_their_range_have_no_answer() {
        for bad in [
            Plan { weight: 0.0, ..PLAN },
            Plan { weight: 1.0, ..PLAN },
            Plan { alpha: 0.0, ..PLAN },
            Plan { stable_rate: f64::NAN, ..PLAN },
            Plan { tolerance: 0.0, ..PLAN },
        ] {
            assert_eq!(requests_for_power(&bad, 0.05, 0.8), None, "{bad:?}");
            assert_eq!(smallest_harm(&bad, 1_000, 0.8), None, "{bad:?}");
        }
        assert_eq!(requests_for_power(&PLAN, 0.01, 0.8), None, "no harm");
        assert_eq!(requests_for_power(&PLAN, 1.5, 0.8), None);
        assert_eq!(lower_bound(&PLAN, 0.01), None);
    }
}
