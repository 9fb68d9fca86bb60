//! The intervals that stand beside a verdict: for one arm's rate, and for the ratio of two.
//!
//! Both are *confidence sequences*: with the stated confidence they hold at all times at once, so
//! they may be read whenever somebody looks. When the truth moves, a rate's interval is that of its
//! mean so far, and of a ratio's interval one reads "its lower end was exceeded at some time".
//! They are two-sided at a level of their own and can be a little wider than a one-sided verdict.

use serde::{Deserialize, Deserializer, Serialize};

use super::arms::Arms;
use super::special::{bisect, exp, ln, ln_1p, ln_beta};

/// Odds ratios whose logarithms are bet on for a rate, towards either side.
const GRID: [f64; 11] = [1.02, 1.05, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0];
/// Rates nearer to 0 or 1 than this are not told apart from them.
const LEAST: f64 = 1e-12;
/// The ratios that are looked at.
const RATIO_RANGE: (f64, f64) = (1e-3, 1e4);
/// Pseudo-events that the bets on a ratio begin with.
const PRIOR_EVENTS: f64 = 1.0;

/// An interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end; infinity, which JSON has as `null`, where the data set none.
    #[serde(deserialize_with = "read_end")]
    pub high: f64,
}

fn read_end<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::INFINITY))
}

/// Events of both arms at one weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightStep {
    /// The candidate's share of the draws between the arms, strictly between 0 and 1.
    pub weight: f64,
    /// What was counted meanwhile.
    pub events: Arms<u64>,
}

/// The interval of one arm's event probability, at confidence `1 − alpha`.
///
/// `exp(λx − n ln(1 − p + p·e^λ))` is, for any λ, below a martingale if `p` was the mean
/// probability, and also when it moved, because the logarithm is concave in `p`. The interval holds
/// every `p` that the mixture over λ does not refute. Takes some 0.1 ms.
pub fn rate_interval(events: u64, requests: u64, alpha: f64) -> Interval {
    if requests == 0 || !(alpha > 0.0 && alpha < 1.0) {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (x, n) = (events.min(requests) as f64, requests as f64);
    let bar = ln(2.0 / alpha);
    let logs = GRID.map(ln);
    let refuted = |p: f64, upwards: bool| {
        let mut exponents = [0.0; GRID.len()];
        for ((exponent, odds), log) in exponents.iter_mut().zip(GRID).zip(logs) {
            let (log, step) = if upwards { (log, odds - 1.0) } else { (-log, 1.0 / odds - 1.0) };
            *exponent = log * x - n * ln_1p(p * step);
        }
        let highest = exponents.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let mean = exponents.iter().map(|e| exp(e - highest)).sum::<f64>() / GRID.len() as f64;
        highest + ln(mean) > bar
    };
    let seen = (x / n).clamp(LEAST, 1.0 - LEAST);
    let low = if refuted(LEAST, true) { bisect(LEAST, seen, |p| refuted(p, true)) } else { 0.0 };
    let high =
        if refuted(1.0 - LEAST, false) { bisect(seen, 1.0 - LEAST, |p| !refuted(p, false)) } else { 1.0 };
    Interval { low, high }
}

/// The interval of the ratio of the candidate's event rate to the stable one's, at confidence
/// `1 − alpha`, from the events at each weight.
///
/// Holds every ratio that a two-sided bet on the arms of the events does not refute: at each weight
/// a Beta mixture with its mean at what the ratio would give. Ratios are looked at from 0.001 to
/// 10 000; an end beyond is 0 or infinity. Takes some 0.2 ms for each weight.
pub fn ratio_interval(steps: &[WeightStep], alpha: f64) -> Interval {
    let steps: Vec<WeightStep> =
        steps.iter().copied().filter(|s| s.weight > 0.0 && s.weight < 1.0 && s.events.total() > 0).collect();
    let sum = steps.iter().fold(Arms::default(), |sum: Arms<u64>, step| sum.plus(step.events));
    let nothing = Interval { low: 0.0, high: f64::INFINITY };
    if sum.total() == 0 || !(alpha > 0.0 && alpha < 1.0) {
        return nothing;
    }
    let bar = ln(1.0 / alpha);
    let evidence = |log_ratio: f64| steps.iter().map(|step| against(*step, exp(log_ratio))).sum::<f64>();
    let (least, most) = (ln(RATIO_RANGE.0), ln(RATIO_RANGE.1));
    let best = lowest(least, most, &evidence);
    let low = if sum.candidate > 0 && evidence(least) > bar {
        exp(bisect(least, best, |r| evidence(r) > bar))
    } else {
        nothing.low
    };
    let high = if sum.stable > 0 && evidence(most) > bar {
        exp(bisect(best, most, |r| evidence(r) <= bar))
    } else {
        nothing.high
    };
    Interval { low, high }
}

/// The logarithm of the evidence that a step has against a ratio.
fn against(step: WeightStep, ratio: f64) -> f64 {
    let share = ratio * step.weight / (ratio * step.weight + 1.0 - step.weight);
    let prior = Arms::new(PRIOR_EVENTS * (1.0 - share), PRIOR_EVENTS * share);
    let (stable, candidate) = (step.events.stable as f64, step.events.candidate as f64);
    ln_beta(prior.candidate + candidate, prior.stable + stable)
        - ln_beta(prior.candidate, prior.stable)
        - candidate * ln(share)
        - stable * ln_1p(-share)
}

/// Where a function with one valley is lowest, by golden section.
fn lowest(mut from: f64, mut to: f64, f: &impl Fn(f64) -> f64) -> f64 {
    let golden = 0.5 * (5.0_f64.sqrt() - 1.0);
    let (mut left, mut right) = (to - golden * (to - from), from + golden * (to - from));
    let (mut at_left, mut at_right) = (f(left), f(right));
    for _ in 0..60 {
        if at_left < at_right {
            to = right;
            (right, at_right) = (left, at_left);
            left = to - golden * (to - from);
            at_left = f(left);
        } else {
            from = left;
            (left, at_left) = (right, at_right);
            right = from + golden * (to - from);
            at_right = f(right);
        }
    }
    0.5 * (from + to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_rate_lies_in_its_interval_which_narrows_with_data(events in 0..500u64, others in 0..5_000u64) {
            let requests = events + others;
            let interval = rate_interval(events, requests, 0.05);
            prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
            if requests > 0 {
                let rate = events as f64 / requests as f64;
                prop_assert!(interval.low <= rate && rate <= interval.high, "{interval:?}");
                let more = rate_interval(100 * events, 100 * requests, 0.05);
                prop_assert!(more.high - more.low <= interval.high - interval.low);
                let surer = rate_interval(events, requests, 0.001);
                prop_assert!(surer.low <= interval.low && interval.high <= surer.high);
            }
        }

        #[test]
        fn a_ratio_lies_in_its_interval_and_weights_are_allowed_for(
            stable in 1..2_000u64, candidate in 1..2_000u64, weight in 0.01..0.99f64,
        ) {
            let interval = ratio_interval(&[WeightStep { weight, events: Arms::new(stable, candidate) }], 0.05);
            let ratio = (candidate as f64 / weight) / (stable as f64 / (1.0 - weight));
            prop_assume!((0.002..5_000.0).contains(&ratio));
            prop_assert!(interval.low <= ratio && ratio <= interval.high, "{ratio} in {interval:?}");
        }
    }

    #[test]
    fn the_same_ratio_at_two_weights_is_known_better_than_at_one() {
        let one = WeightStep { weight: 0.05, events: Arms::new(190, 20) };
        let other = WeightStep { weight: 0.5, events: Arms::new(100, 200) };
        let (alone, both) = (ratio_interval(&[one], 0.05), ratio_interval(&[one, other], 0.05));
        assert!(alone.low < both.low && both.high < alone.high, "{alone:?} {both:?}");
        assert!(both.low < 2.0 && 2.0 < both.high, "{both:?}");
    }

    #[test]
    fn without_data_everything_is_possible() {
        let all = Interval { low: 0.0, high: 1.0 };
        assert_eq!(rate_interval(0, 0, 0.05), all);
        assert_eq!(rate_interval(1, 5, f64::NAN), all);
        assert_eq!(ratio_interval(&[], 0.05), Interval { low: 0.0, high: f64::INFINITY });
        let useless = WeightStep { weight: 1.0, events: Arms::new(0, 10) };
        assert_eq!(ratio_interval(&[useless], 0.05), Interval { low: 0.0, high: f64::INFINITY });
        let all_failed = rate_interval(u64::MAX, 50, 0.05);
        assert!(
            all_failed.low > 0.8 && all_failed.high == 1.0,
            "more events than requests are all: {all_failed:?}"
        );
    }

    #[test]
    fn an_end_at_infinity_survives_json() {
        let interval = ratio_interval(&[WeightStep { weight: 0.05, events: Arms::new(0, 9) }], 0.05);
        assert_eq!(interval.high, f64::INFINITY);
        let json = serde_json::to_string(&interval).unwrap();
        assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), interval, "{json}");
    }

    /// Seeded, so the number below is what it is; it must be under the 5 % that are promised.
    #[test]
    fn the_truth_leaves_an_interval_at_no_time_in_most_runs() {
        let mut state = 7_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (weight, rates, runs) = (0.2, Arms::new(0.2, 0.4), 100);
        let mut left = (0, 0);
        for _ in 0..runs {
            let (mut events, mut requests) = (Arms::<u64>::default(), Arms::<u64>::default());
            let mut out = (false, false);
            for n in 1..=400 {
                let (candidate, event) = (draw() < weight, draw());
                let (one, rate) = if candidate {
                    (Arms::new(0, 1), rates.candidate)
                } else {
                    (Arms::new(1, 0), rates.stable)
                };
                requests = requests.plus(one);
                if event < rate {
                    events = events.plus(one);
                }
                if n % 40 == 0 {
                    let rate = rate_interval(events.stable, requests.stable, 0.05);
                    out.0 |= !(rate.low..=rate.high).contains(&rates.stable);
                    let ratio = ratio_interval(&[WeightStep { weight, events }], 0.05);
                    out.1 |= !(ratio.low..=ratio.high).contains(&2.0);
                }
            }
            left.0 += u32::from(out.0);
            left.1 += u32::from(out.1);
        }
        assert!(left.0 <= 5 && left.1 <= 5, "{left:?} of {runs}");
    }
}
