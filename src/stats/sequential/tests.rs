//! What holds for all tests: golden figures, validity by enumeration, counts in bulk, restoring.

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

const GOLDEN: &str = include_str!("../../../tests/fixtures/statistics/golden.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Golden {
    arm: GoldenArm,
    rate: GoldenRate,
    rate_intervals: Vec<GoldenRateInterval>,
    ratio_intervals: Vec<GoldenRatioInterval>,
    factors: GoldenFactors,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoldenArm {
    weight: f64,
    tolerance: f64,
    candidate: Vec<u64>,
    e_values: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoldenRate {
    max: f64,
    events: Vec<u64>,
    e_values: Vec<f64>,
}

#[derive(Deserialize)]
struct GoldenRateInterval {
    events: u64,
    requests: u64,
    alpha: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct GoldenRatioInterval {
    candidate: u64,
    stable: u64,
    weight: f64,
    alpha: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoldenFactors {
    weight: f64,
    rate_max: f64,
    arm: Vec<Arms<f64>>,
    rate: Vec<GoldenEvent>,
    tail: Vec<GoldenQuantile>,
}

#[derive(Deserialize)]
struct GoldenEvent {
    event: f64,
    other: f64,
}

#[derive(Deserialize)]
struct GoldenQuantile {
    quantile: f64,
    odds: Vec<GoldenOdds>,
}

#[derive(Deserialize)]
struct GoldenOdds {
    above: Arms<f64>,
    below: Arms<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).unwrap()
}

fn near(got: f64, expected: f64, relative: f64) {
    assert!((got - expected).abs() <= relative * expected.abs(), "{got} for {expected}");
}

fn one(candidate: bool) -> Arms<u64> {
    Arms::new(u64::from(!candidate), u64::from(candidate))
}

#[test]
fn events_one_by_one_give_the_golden_evidence() {
    let golden = golden().arm;
    let mut test = ArmTest::new(golden.tolerance);
    for (candidate, expected) in golden.candidate.iter().zip(&golden.e_values) {
        near(test.observe(golden.weight, one(*candidate == 1)), *expected, 1e-12);
    }
    assert_eq!(test.events(), 40);
}

#[test]
fn requests_one_by_one_give_the_golden_evidence_against_a_bound() {
    let golden = golden().rate;
    let mut test = RateTest::new(golden.max);
    for (event, expected) in golden.events.iter().zip(&golden.e_values) {
        near(test.observe(*event, 1 - *event), *expected, 1e-12);
    }
    assert_eq!(test.requests(), 40);
}

#[test]
fn factors_are_the_golden_ones() {
    let golden = golden().factors;
    let (stable, candidate) = arm::factors(golden.weight, 1.0, &RATIOS);
    assert_eq!(golden.arm.len(), RATIOS.len());
    for (k, expected) in golden.arm.iter().enumerate() {
        near(stable[k], expected.stable, 1e-14);
        near(candidate[k], expected.candidate, 1e-14);
    }
    let (event, other) = rate::factors(golden.rate_max).unwrap();
    assert_eq!(golden.rate.len(), RATIOS.len());
    for (k, expected) in golden.rate.iter().enumerate() {
        near(event[k], expected.event, 1e-14);
        near(other[k], expected.other, 1e-14);
    }
    assert_eq!(golden.tail.len(), 3);
    let of_each = Exceedance { above: Arms::new(1, 1), below: Arms::new(1, 1) };
    for row in &golden.tail {
        let [slow_stable, slow_candidate, fast_stable, fast_candidate] =
            tail::factors(golden.weight, row.quantile, of_each);
        assert_eq!(row.odds.len(), ODDS.len());
        for (k, expected) in row.odds.iter().enumerate() {
            near(slow_stable[k], expected.above.stable, 1e-12);
            near(slow_candidate[k], expected.above.candidate, 1e-12);
            near(fast_stable[k], expected.below.stable, 1e-12);
            near(fast_candidate[k], expected.below.candidate, 1e-12);
        }
    }
}

#[test]
fn intervals_are_the_golden_ones() {
    for case in golden().rate_intervals {
        let got = rate_interval(case.events, case.requests, case.alpha);
        assert!((got.low - case.low).abs() < 1e-11 && (got.high - case.high).abs() < 1e-11, "{got:?}");
    }
    for case in golden().ratio_intervals {
        let events = Arms::new(case.stable, case.candidate);
        let got = ratio_interval(&[WeightStep { weight: case.weight, events }], case.alpha);
        near(got.low, case.low, 1e-9);
        near(got.high, case.high, 1e-9);
    }
}

/// Weights and rates over which expectations are enumerated.
const WEIGHTS: [f64; 7] = [0.0001, 0.01, 0.05, 0.3, 0.5, 0.9, 0.999];
const RATES: [f64; 6] = [0.0001, 0.01, 0.1, 0.5, 0.9, 0.9999];

/// Something that may be seen: how probable it is, and the observation.
type Case<'a, T> = (f64, &'a dyn Fn(&mut T) -> f64);

/// What a test is expected to have after one step, over everything that may be seen.
fn expected<T: Clone>(fresh: &T, cases: &[Case<'_, T>]) -> f64 {
    let total: f64 = cases.iter().map(|(p, _)| p).sum();
    assert!((total - 1.0).abs() < 1e-9, "the cases are all there are: {total}");
    cases.iter().map(|(p, observe)| p * observe(&mut fresh.clone())).sum()
}

#[test]
fn no_step_is_expected_to_gain_while_the_null_is_true() {
    const FAIR: f64 = 1.0 + 1e-12;
    for w in WEIGHTS {
        for tolerance in [0.5, 1.0, 1.2, 5.0] {
            // The boundary, and a candidate that is better than it must be.
            for ratio in [tolerance, 0.9 * tolerance, 0.0] {
                let q = ratio * w / (ratio * w + 1.0 - w);
                let at = |c: bool| move |t: &mut ArmTest| t.observe(w, one(c));
                let e = expected(&ArmTest::new(tolerance), &[(q, &at(true)), (1.0 - q, &at(false))]);
                assert!(e <= FAIR, "arm: {e} at weight {w}, ratio {ratio}");
            }
        }
        for harm in [1.5, 2.0, 10.0] {
            for ratio in [harm, 3.0 * harm] {
                let q = ratio * w / (ratio * w + 1.0 - w);
                let at = |c: bool| move |t: &mut AdvanceTest| t.observe(w, one(c), 0);
                let e = expected(&AdvanceTest::new(harm), &[(q, &at(true)), (1.0 - q, &at(false))]);
                assert!(e <= FAIR, "advance: {e} at weight {w}, ratio {ratio}");
            }
        }
        let at = |c: bool| move |t: &mut SampleRatioTest| t.observe(w, one(c));
        let e = expected(&SampleRatioTest::new(), &[(w, &at(true)), (1.0 - w, &at(false))]);
        assert!(e <= FAIR, "sample ratio: {e} at weight {w}");
        for quantile in [0.5, 0.9, 0.99] {
            // Whatever the threshold is really exceeded by; the candidate exceeds it less or as much.
            for stable in RATES {
                for candidate in [stable, 0.5 * stable] {
                    let at = |above: bool, c: bool| {
                        let (hit, miss) = (one(c), Arms::default());
                        let counts = if above {
                            Exceedance { above: hit, below: miss }
                        } else {
                            Exceedance { above: miss, below: hit }
                        };
                        move |t: &mut TailTest| t.observe(w, 0, counts)
                    };
                    let e = expected(
                        &TailTest::new(&[quantile]),
                        &[
                            (w * candidate, &at(true, true)),
                            (w * (1.0 - candidate), &at(false, true)),
                            ((1.0 - w) * stable, &at(true, false)),
                            ((1.0 - w) * (1.0 - stable), &at(false, false)),
                        ],
                    );
                    assert!(e <= FAIR, "tail: {e} at weight {w}, {stable} above p{quantile}");
                }
            }
        }
        for margin in [0.0, 0.02, 0.5] {
            for p in RATES.into_iter().filter(|p| p + margin <= 1.0) {
                for (side, candidate) in
                    [(Side::Higher, p + margin), (Side::Lower, (p - margin).max(0.0)), (Side::Both, p)]
                {
                    let at = |x: f64, c: bool| {
                        move |t: &mut DifferenceTest| t.observe_values(w, [(x, one(c))].into_iter())
                    };
                    let mut fresh = DifferenceTest::new(margin, side);
                    // A centre other than one half.
                    fresh.observe_values(w, [(0.2, Arms::new(3, 2))].into_iter());
                    let before = fresh.e_value();
                    let e = expected(
                        &fresh,
                        &[
                            (w * candidate, &at(1.0, true)),
                            (w * (1.0 - candidate), &at(0.0, true)),
                            ((1.0 - w) * p, &at(1.0, false)),
                            ((1.0 - w) * (1.0 - p), &at(0.0, false)),
                        ],
                    );
                    assert!(
                        e <= before * FAIR,
                        "difference: {e} of {before} at weight {w}, {p} and {candidate}"
                    );
                }
            }
        }
        for bin in 0..RANK_BINS {
            let at = |c: bool| {
                let mut bins = [Arms::default(); RANK_BINS];
                bins[bin] = one(c);
                move |t: &mut TiltTest| t.observe(w, &bins)
            };
            let e = expected(&TiltTest::new(), &[(w, &at(true)), (1.0 - w, &at(false))]);
            assert!((e - 1.0).abs() < 1e-12, "tilt: {e} at weight {w}, bin {bin}");
        }
    }
    for max in RATES.into_iter().chain([0.0, 0.5]) {
        for p in [max, 0.5 * max, 0.0] {
            let at = |event: u64| move |t: &mut RateTest| t.observe(event, 1 - event);
            let e = expected(&RateTest::new(max), &[(p, &at(1)), (1.0 - p, &at(0))]);
            assert!(e <= FAIR, "rate: {e} for {p} where {max} is allowed");
        }
    }
    for min_rate in RATES {
        for p in [min_rate, f64::midpoint(1.0, min_rate)] {
            // The stable arm has no events, so all of it is the second half.
            let at = |event: u64| move |t: &mut AdvanceTest| t.observe(1.0, Arms::new(0, event), 1 - event);
            let e = expected(&AdvanceTest::with_min_rate(2.0, min_rate), &[(p, &at(1)), (1.0 - p, &at(0))]);
            assert!(e <= FAIR, "least rate: {e} for {p} where {min_rate} is the harm");
        }
    }
}

/// Evidence that is told apart from equal evidence only by rounding.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-12)
}

proptest! {
    /// Between investments, which depend on when they are made, a delta is the product of its parts.
    #[test]
    fn a_delta_in_bulk_is_worth_its_events_one_by_one(
        w in 0.001..0.999f64, tolerance in 0.5..3.0f64, stable in 0..400u64, candidate in 0..400u64,
    ) {
        let mut bulk = wealth::Wealth::<7>::switching();
        let mut single = bulk.clone();
        let (s, c) = arm::factors(w, tolerance, &RATIOS);
        bulk.settle(&[wealth::Outcome { factors: &s, count: stable }, wealth::Outcome { factors: &c, count: candidate }]);
        for (factors, count) in [(&s, stable), (&c, candidate)] {
            (0..count).for_each(|_| { single.settle(&[wealth::Outcome { factors, count: 1 }]); });
        }
        prop_assert!(same(bulk.total(), single.total()), "{} and {}", bulk.total(), single.total());
    }

    #[test]
    fn investing_keeps_the_sum_and_in_bulk_comes_to_the_same(done in 0..100_000u64, steps in 0..3_000u64) {
        for pace in [wealth::Pace::Events, wealth::Pace::Requests] {
            let mut start = wealth::Wealth::<3>::switching();
            start.invest(done, pace);
            let (mut bulk, mut single) = (start.clone(), start);
            bulk.invest(steps, pace);
            (0..steps).for_each(|_| single.invest(1, pace));
            prop_assert!((bulk.total() - 1.0).abs() < 1e-12);
            prop_assert!((bulk.cash() / single.cash() - 1.0).abs() < 1e-11, "{} {}", bulk.cash(), single.cash());
        }
    }

    #[test]
    fn nothing_that_can_be_handed_over_panics_or_leaves_the_numbers(
        w in any::<f64>(), t in any::<f64>(), u in -0.5..1.5f64, v in -0.5..1.5f64,
        counts in prop::array::uniform4(prop_oneof![any::<u64>(), 0..3u64]),
    ) {
        for (w, t) in [(w, t), (u, t), (w, v), (u, v), (u, f64::NAN), (f64::NAN, v), (0.5, 0.5)] {
            let [a, b, c, d] = counts;
            let (arms, more) = (Arms::new(a, b), Arms::new(c, d));
            let bins = [arms, more, Arms::default()];
            let mut values = Vec::new();
            for _ in 0..3 {
                values.push(check(&mut ArmTest::new(t), |x| x.observe(w, arms)));
                values.push(check(&mut RateTest::new(t), |x| x.observe(a, b)));
                values.push(check(&mut TailTest::new(&[t, 0.5, v]), |x| {
                    x.observe(w, 9, Exceedance::default());
                    (0..3).for_each(|j| { x.observe(w, j, Exceedance { above: arms, below: more }); });
                    x.e_value()
                }));
                values.push(check(&mut DifferenceTest::new(t, Side::Both), |x| x.observe(w, &bins)));
                values.push(check(&mut DifferenceTest::new(0.0, Side::Higher), |x| {
                    x.observe_values(w, [(t, arms), (v, more)].into_iter())
                }));
                values.push(check(&mut TiltTest::new(), |x| x.observe(w, &bins)));
                values.push(check(&mut AdvanceTest::with_min_rate(t, v), |x| x.observe(w, arms, c)));
                values.push(check(&mut SampleRatioTest::new(), |x| x.observe(w, arms)));
            }
            prop_assert!(values.iter().all(|e| e.is_finite() && *e >= 0.0), "{values:?}");
        }
    }
}

/// Observes twice and restores in between, which must change no bit.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    test: &mut T,
    observe: impl Fn(&mut T) -> f64,
) -> f64 {
    observe(test);
    // A parameter that is no number has no JSON, and the policy refuses it long before.
    let Ok(mut restored) = serde_json::from_str::<T>(&serde_json::to_string(test).unwrap()) else {
        return observe(test);
    };
    assert_eq!(&restored, test);
    let (left, right) = (observe(&mut restored), observe(test));
    assert_eq!(left.to_bits(), right.to_bits());
    right
}

/// A stream of deltas as a decider sees it, from a generator that is the same everywhere.
fn deltas(n: usize) -> impl Iterator<Item = (f64, [Arms<u64>; 4])> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..n).map(move |at| {
        let weight = [0.01, 0.05, 0.25][at * 3 / n];
        (weight, std::array::from_fn(|_| Arms::new(next() % 40, next() % 4)))
    })
}

/// If this fails after a change to a grid, a prior or the order of the arithmetic, then records made
/// before can no longer be recomputed: give [`GRIDS`] another name.
#[test]
fn the_same_deltas_give_the_same_bits_as_when_the_grids_were_named() {
    let (mut arm, mut rate, mut tail) = (ArmTest::new(1.0), RateTest::new(0.1), TailTest::standard());
    let (mut difference, mut tilt) = (DifferenceTest::new(0.02, Side::Both), TiltTest::new());
    let (mut advance, mut ratio) = (AdvanceTest::with_min_rate(2.0, 0.01), SampleRatioTest::new());
    for (weight, counts) in deltas(60) {
        arm.observe(weight, counts[0]);
        rate.observe(counts[0].candidate, counts[1].stable);
        (0..3).for_each(|j| {
            tail.observe(weight, j, Exceedance { above: counts[j], below: counts[j + 1] });
        });
        difference.observe(weight, &counts);
        tilt.observe(weight, &counts);
        advance.observe(weight, counts[0], counts[1].stable);
        ratio.observe(weight, counts[2]);
    }
    let intervals = (rate_interval(25, 812, 0.05), psi_lower_bound(&[0.25; 4], &[400, 20, 3, 90], 0.05));
    let got = [
        arm.e_value(),
        rate.e_value(),
        tail.e_value(),
        difference.e_value(),
        tilt.e_value(),
        advance.e_value(),
        ratio.e_value(),
        intervals.0.low,
        intervals.0.high,
        intervals.1,
    ];
    assert_eq!(GRIDS, "1");
    assert_eq!(got.map(f64::to_bits), PINNED, "{got:?}");
}

const PINNED: [u64; 10] = [
    0x3fae_be26_f3cf_1e45,
    0x3fc0_dadb_0b06_1f9e,
    0x4002_eb75_c026_17e3,
    0x3fde_e270_8cf2_5b94,
    0x40a8_3bbc_2135_4e14,
    0x4571_1953_8735_6161,
    0x4287_e4b2_7539_b093,
    0x3f8e_1441_815f_499a,
    0x3fac_0002_938d_c38e,
    0x3ff2_a28e_3f26_8d69,
];

#[test]
fn an_amount_that_no_test_can_hold_is_refused_when_it_is_read() {
    let good = serde_json::to_string(&ArmTest::new(1.0)).unwrap();
    assert!(serde_json::from_str::<ArmTest>(&good).is_ok());
    let short = good.replacen("0.07142857142857142,", "", 1);
    assert_ne!(short, good, "{good}");
    for bad in [short, good.replace("0.5", "-0.5"), good.replace("0.5", "1e301"), good.replace("0.5", "null")]
    {
        assert!(serde_json::from_str::<ArmTest>(&bad).is_err(), "{bad}");
    }
}

/// The counts of a long good time and then a harm, in deltas of a tick.
#[test]
fn a_late_harm_is_found_almost_as_fast_as_an_early_one() {
    let events_until_found = |good: u64| {
        let mut test = ArmTest::new(1.0);
        test.observe(0.05, Arms::new(95 * good, 5 * good));
        (1..10_000).find(|_| test.observe(0.05, Arms::new(4, 1)) >= 100.0).unwrap()
    };
    let (early, late) = (events_until_found(0), events_until_found(1_000));
    assert!(late <= 4 * early, "{early} and {late} ticks");
}
