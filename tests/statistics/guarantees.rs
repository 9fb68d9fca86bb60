//! What is promised of the tests themselves, apart from other rules: the error bounds, the distance
//! to the best possible, and what switching, segments and replicas are for.

use switchback::stats::sequential::{
    AdvanceTest, ArmTest, Arms, Plan, RateTest, lower_bound, rate_interval, requests_for_power, with_segments,
};

use crate::Effort;
use crate::chance::{most_by_chance, upper_limit};
use crate::endless::{EndlessRateTest, endless_threshold};
use crate::random::Draws;
use crate::report::{Report, Table, number, percent};
use crate::rules::{ALPHA, Rule, Switchback, Totals};
use crate::stream::{Harm, Scenario, Stream};
use crate::study::{Fired, Outcomes, in_parallel};

const BETA: f64 = 0.05;

/// With fewer of the candidate's events than this at the bound of any test, the bound says little:
/// evidence comes in whole events.
const EVENTS_TO_JUDGE_BY: f64 = 5.0;

fn one(candidate: bool) -> Arms<u64> {
    Arms::new(u64::from(!candidate), u64::from(candidate))
}

/// False rollbacks where the null holds exactly, the worst case: with every event a coin.
pub fn exact_null(effort: &Effort, report: &mut Report) {
    let (runs, events) = (effort.exact_nulls, effort.exact_null_events);
    let mut rows = Vec::new();
    for (weight, seed) in [0.01, 0.05, 0.2, 0.5].into_iter().zip(61..) {
        let fired = in_parallel(runs, |run| {
            let mut draws = Draws::new(seed * 1_000_000 + run);
            let mut test = ArmTest::new(1.0);
            (0..events).any(|_| test.observe(weight, one(draws.chance(weight))) >= 1.0 / ALPHA)
        });
        let hits = fired.iter().filter(|f| **f).count();
        let (share, upper) = (hits as f64 / runs as f64, upper_limit(hits, runs));
        rows.push(vec![percent(weight), percent2(share), percent2(upper)]);
        let name = format!("arm test at weight {}, exact null", percent(weight));
        if effort.peers {
            report.at_most(format!("{name}: 95 % upper limit of false rollbacks"), upper, ALPHA);
        } else {
            // Too few to prove the goal; enough to disprove it.
            report.at_most(format!("{name}: false rollbacks"), share, most_by_chance(runs, ALPHA));
        }
    }
    report.tables.push(Table {
        title: "False rollbacks where the null holds exactly".into(),
        words: format!(
            "{} rollouts of {} events each, looked at after each one.",
            number(runs as f64),
            number(events as f64)
        ),
        head: vec!["weight".into(), "false rollbacks".into(), "95 % upper limit".into()],
        rows,
    });
}

fn percent2(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// How near the arm test comes to what no test can beat, and the plan's formula to what happens.
pub fn power(effort: &Effort, report: &mut Report) {
    let mut rows = Vec::new();
    for ((p0, p1), seed) in
        [(0.001, 0.005), (0.01, 0.015), (0.01, 0.02), (0.01, 0.05), (0.01, 0.1)].into_iter().zip(71..)
    {
        let scenario = Scenario { harm: Harm::Always(p1 / p0), ..Scenario::steady(p0) };
        let outcomes = Outcomes(in_parallel(effort.powers, |run| {
            let mut rule = Switchback::new(scenario.weight);
            let mut candidate = 0;
            for request in Stream::new(&scenario, seed * 1_000_000 + run) {
                candidate += i64::from(request.candidate);
                if rule.request(request, &Totals::default()) {
                    return Some(Fired { candidate, requests: request.at as i64, failed: 0 });
                }
            }
            None
        }));
        let plan = Plan { stable_rate: p0, weight: scenario.weight, alpha: ALPHA, tolerance: 1.0 };
        let (bound, (mean, error)) = (lower_bound(&plan, p1).unwrap(), outcomes.mean());
        let mut row = vec![
            format!("{} → {}", percent(p0), percent(p1)),
            number(bound),
            number(mean),
            number(mean / bound),
        ];
        for power in [0.5, 0.8, 0.95] {
            let planned = requests_for_power(&plan, p1, power).unwrap();
            let simulated = outcomes.quantile(power, |f| f.candidate);
            row.push(format!("{} / {}", number(planned), number(simulated)));
            if power > 0.5 {
                let (low, high) = outcomes.between(power, effort.errors, |f| f.candidate);
                let off = (planned / high - 1.0).max(1.0 - planned / low).max(0.0);
                let what = format!("{} at {}: plan's distance to simulation", row[0], percent(power));
                report.at_most(what, off, 0.06);
            }
        }
        let what = format!("{}: mean over the bound of any test", row[0]);
        let over = (mean - effort.errors * error) / bound;
        if bound * p1 >= EVENTS_TO_JUDGE_BY {
            report.at_most(what, over, 1.5);
        } else {
            let why = "so few events decide that the last of them jumps over the bar; and where one request in \
                       ten fails, those that do not fail tell something too, at which the arm test doesn't look";
            report.falls_short(what, over, 1.5, 1.6, why);
        }
        rows.push(row);
    }
    let head = [
        "errors",
        "least mean of any test",
        "mean",
        "ratio",
        "planned / simulated at 50 %",
        "at 80 %",
        "at 95 %",
    ];
    report.tables.push(Table {
        title: "How near to the best possible".into(),
        words: format!("{} rollouts; the candidate's requests.", number(effort.powers as f64)),
        head: head.map(str::to_owned).into(),
        rows,
    });
}

/// Ruling out a harm: how long it takes when there is none, and how often it goes wrong.
pub fn advance(effort: &Effort, report: &mut Report) {
    let mut rows = Vec::new();
    let cases = [(0.01, 1.0, 2.0), (0.01, 1.0, 1.5), (0.001, 1.0, 5.0), (0.01, 2.0, 2.0), (0.001, 5.0, 5.0)];
    for ((rate, ratio, harm), seed) in cases.into_iter().zip(81..) {
        let scenario = Scenario { harm: Harm::Always(ratio), ..Scenario::steady(rate) };
        let harmed = ratio >= harm;
        let runs = if harmed { effort.advances } else { effort.harms };
        let outcomes = Outcomes(in_parallel(runs, |run| {
            let mut test = AdvanceTest::new(harm);
            let mut candidate = 0;
            for request in Stream::new(&scenario, seed * 1_000_000 + run) {
                candidate += i64::from(request.candidate);
                if request.event && test.observe(scenario.weight, one(request.candidate), 0) >= 1.0 / BETA {
                    return Some(Fired { candidate, requests: request.at as i64, failed: 0 });
                }
                if harmed && test.e_value() < 1e-9 {
                    return None;
                }
            }
            None
        }));
        let name = format!("{} errors, {harm}× to be ruled out", percent(rate));
        if harmed {
            // Ville's bound is nearly met, so half of all samples lie above it by chance.
            let most = most_by_chance(runs, BETA);
            report.at_most(format!("{name}, and there: wrongly advanced"), outcomes.fired(), most);
        }
        let cell = |x: f64| if harmed { "".into() } else { number(x) };
        rows.push(vec![
            name,
            number(ratio),
            percent(outcomes.fired()),
            cell(outcomes.median()),
            cell(outcomes.p95()),
        ]);
    }
    report.tables.push(Table {
        title: "Advance: a harm ruled out".into(),
        words: "At β = 5 %. The candidate's requests.".into(),
        head: ["harm", "true ratio", "advanced", "median", "95 %"].map(str::to_owned).into(),
        rows,
    });
}

/// One segment of twenty is harmed.
pub fn segments(effort: &Effort, report: &mut Report) {
    const SEGMENTS: usize = 20;
    let mut rows = Vec::new();
    for (ratio, seed) in [5.0, 10.0].into_iter().zip(91..) {
        let mean_ratio = (SEGMENTS as f64 - 1.0 + ratio) / SEGMENTS as f64;
        let scenario = Scenario { harm: Harm::Always(mean_ratio), ..Scenario::steady(0.01) };
        let runs = in_parallel(effort.segments, |run| {
            let (mut candidate, mut found) = (0, [None, None]);
            let mut draws = Draws::new(run + 7);
            let (mut overall, mut each) = (ArmTest::new(1.0), vec![ArmTest::new(1.0); SEGMENTS]);
            for request in Stream::new(&scenario, seed * 1_000_000 + run) {
                candidate += i64::from(request.candidate);
                if !request.event {
                    continue;
                }
                let harmed = request.candidate && draws.chance(ratio / (SEGMENTS as f64 - 1.0 + ratio));
                let others = if request.candidate { SEGMENTS - 1 } else { SEGMENTS };
                let segment = if harmed { SEGMENTS - 1 } else { (draws.uniform() * others as f64) as usize };
                overall.observe(scenario.weight, one(request.candidate));
                each[segment].observe(scenario.weight, one(request.candidate));
                let both = with_segments(overall.e_value(), each.iter().map(ArmTest::e_value), SEGMENTS);
                for (found, e_value) in found.iter_mut().zip([overall.e_value(), both]) {
                    if found.is_none() && e_value >= 1.0 / ALPHA {
                        *found = Some(Fired { candidate, requests: 0, failed: 0 });
                    }
                }
                if found[1].is_some() {
                    // The other is at its own pace; what it would need is shown, so it goes on.
                    if found[0].is_some() {
                        break;
                    }
                }
            }
            found.to_vec()
        });
        let outcomes = crate::study::by_rule(runs);
        for (name, o) in ["overall alone", "half overall, half segments"].into_iter().zip(&outcomes) {
            rows.push(vec![
                format!("{ratio}× in one of twenty"),
                name.into(),
                number(o.median()),
                number(o.p95()),
                percent(o.missed()),
            ]);
        }
        report.at_most(format!("{ratio}× in one of twenty segments: missed"), outcomes[1].missed(), 0.0);
    }
    report.tables.push(Table {
        title: "A harm to one segment".into(),
        words: format!("{} rollouts; the candidate's requests, of 50,000.", effort.segments),
        head: ["harm", "test", "median", "95 %", "missed"].map(str::to_owned).into(),
        rows,
    });
}

/// After promotion: the rate triples after a long good time.
pub fn bake(effort: &Effort, report: &mut Report) {
    const GOOD: u64 = 300_000;
    const TICK: u64 = 20;
    // What 100,000 requests of the version before have shown.
    let max = rate_interval(1_000, 100_000, 0.05).high;
    let bar = endless_threshold(100_000, ALPHA);
    let study = |harmed: f64, requests: u64, seed: u64| {
        let runs = in_parallel(effort.bakes, |run| {
            let mut draws = Draws::new(seed * 1_000_000 + run);
            let (mut finite, mut endless) = (RateTest::new(max), EndlessRateTest::new(max));
            let mut found = [None, None];
            for at in (TICK..=requests).step_by(TICK as usize) {
                let rate = if at > GOOD { harmed } else { 0.01 };
                let events = (0..TICK).filter(|_| draws.chance(rate)).count() as u64;
                let values = [
                    finite.observe(events, TICK - events) >= 1.0 / ALPHA,
                    endless.observe(events, TICK - events) >= bar,
                ];
                for (found, alarm) in found.iter_mut().zip(values) {
                    if alarm && found.is_none() {
                        *found = Some(Fired {
                            candidate: at as i64 - GOOD as i64,
                            requests: at as i64,
                            failed: 0,
                        });
                    }
                }
                if found.iter().all(Option::is_some) {
                    break;
                }
            }
            found.to_vec()
        });
        crate::study::by_rule(runs)
    };
    let (nulls, harms) = (study(0.01, effort.bake_requests, 95), study(0.03, GOOD + 100_000, 96));
    let names = ["e-process with switching (finite bake)", "Shiryaev–Roberts (endless)"];
    // The endless watch promises so many alarms in so many requests, not one chance over all of them.
    let promises = [ALPHA, effort.bake_requests as f64 / bar];
    let rows = names.into_iter().zip(promises).zip(nulls.iter().zip(&harms));
    let rows = rows.map(|((name, promise), (null, harm))| {
        report.at_most(
            format!("bake, {name}: false alarms"),
            null.fired(),
            most_by_chance(effort.bakes, promise),
        );
        report.at_most(format!("bake, {name}: missed"), harm.missed(), 0.0);
        vec![
            name.into(),
            percent(null.fired()),
            number(harm.median()),
            number(harm.p95()),
            percent(harm.early()),
        ]
    });
    let rows = rows.collect();
    report.tables.push(Table {
        title: "Bake without a holdback: 1 → 3 % after 300,000 good requests".into(),
        words: format!(
            "{} rollouts. The bound is the upper end of what 100,000 requests before showed, {}. Requests since \
             the rate rose.",
            effort.bakes,
            percent2(max)
        ),
        head: ["test", "false alarms", "median", "95 %", "early"].map(str::to_owned).into(),
        rows,
    });
}
