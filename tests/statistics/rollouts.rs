//! Rollouts judged by yes-or-no events: errors, and the divergence of a shadow beside its noise.

use switchback::stats::sequential::{Plan, lower_bound};

use crate::Effort;
use crate::chance::most_by_chance;
use crate::report::{Report, Table, number, percent};
use crate::rules::{ALPHA, Interval, Kayenta, Merged, PeekedZ, Rule, Switchback, Totals, Window};
use crate::stream::{Harm, Scenario, Stream};
use crate::study::{Fired, Outcomes, by_rule, in_parallel};

/// The name under which Switchback's own row stands, also in [`crate::latency`].
pub const OURS: &str = "**Switchback**";

/// A scenario, its name, the limit that the rules with a fixed limit get, and the goals for the
/// median and 95 % of the candidate's requests.
struct Case {
    name: &'static str,
    limit: f64,
    goal: (f64, f64),
    scenario: Scenario,
}

/// Which requests per second a rule's clock knows; none where it looks at requests.
type Row = (String, Option<u64>);

/// One rollout under every rule.
fn rollout(scenario: &Scenario, seed: u64, mut rules: Vec<Box<dyn Rule>>) -> Vec<Option<Fired>> {
    let mut fired: Vec<Option<Fired>> = vec![None; rules.len()];
    let (mut totals, mut before_harm) = (Totals::default(), None);
    let harm_begins = scenario.harm_begins();
    for request in Stream::new(scenario, seed) {
        if request.at >= harm_begins && before_harm.is_none() {
            before_harm = Some(totals);
        }
        let here = |now: &Totals| match before_harm {
            Some(then) => Fired {
                candidate: (now.candidate - then.candidate) as i64,
                requests: (request.at - harm_begins) as i64,
                failed: (now.events.candidate - then.events.candidate) as i64,
            },
            None => Fired { candidate: -1, requests: -1, failed: -1 },
        };
        totals.requests = request.at;
        let open = |f: &Option<Fired>| f.is_none();
        for (rule, fired) in rules.iter_mut().zip(&mut fired).filter(|(_, f)| open(f)) {
            if rule.clock(request.at, &totals) {
                *fired = Some(here(&totals));
            }
        }
        totals.requests += 1;
        totals.candidate += u64::from(request.candidate);
        if request.event {
            let arm =
                if request.candidate { &mut totals.events.candidate } else { &mut totals.events.stable };
            *arm += 1;
        }
        for (rule, fired) in rules.iter_mut().zip(&mut fired).filter(|(_, f)| open(f)) {
            if rule.request(request, &totals) {
                *fired = Some(here(&totals));
            }
        }
        if fired.iter().all(Option::is_some) {
            break;
        }
    }
    fired
}

/// The rules of a table. Where only some of the requests are looked at, the clock of the others
/// runs slower: `share` is that part of the requests.
fn rules(weight: f64, limit: f64, share: f64, effort: &Effort) -> Vec<(Row, Box<dyn Rule>)> {
    let mut rules: Vec<(Row, Box<dyn Rule>)> = Vec::new();
    let looked_at = |rps: u64| (rps as f64 * share) as u64;
    for rps in [100, 1_000] {
        let rate = looked_at(rps);
        let name = |what: &str| (format!("{what}, {rps} rps"), Some(rate));
        rules.push((name("Flagger-like: 1 min, 5 fails"), Box::new(Interval::new(60, rate, limit, 5))));
        if effort.peers {
            rules.push((name("Argo-like: 1 min, limit 3"), Box::new(Interval::new(60, rate, limit, 4))));
            rules.push((name("fastest interval: 10 s, 1 fail"), Box::new(Interval::new(10, rate, limit, 1))));
            if share == 1.0 {
                rules.push((name("Kayenta-like: from 10 min, every 5"), Box::new(Kayenta::new(rate))));
            }
        }
    }
    if effort.peers {
        rules.push((("sliding window of 1,000".into(), None), Box::new(Window::new(limit))));
        rules.push((("z-test, peeked at".into(), None), Box::new(PeekedZ)));
        let second = looked_at(1_000);
        let name = "Switchback, counts merged once a second, 1000 rps".to_owned();
        rules.push(((name, Some(second)), Box::new(Merged::new(weight, second))));
    }
    rules.push(((OURS.into(), None), Box::new(Switchback::new(weight))));
    rules
}

fn study(case: &Case, share: f64, runs: usize, seed: u64, effort: &Effort) -> Vec<(Row, Outcomes)> {
    let make = || rules(case.scenario.weight, case.limit, share, effort);
    let rollouts = in_parallel(runs, |run| {
        let rules = make().into_iter().map(|(_, rule)| rule).collect();
        rollout(&case.scenario, seed * 1_000_000 + run, rules)
    });
    make().into_iter().map(|(row, _)| row).zip(by_rule(rollouts)).collect()
}

/// Errors of the canary: how often a rollback is false, and how many of its requests a harm takes.
pub fn errors(effort: &Effort, report: &mut Report) {
    let steady = Scenario::steady(0.01);
    let cycle = Scenario { cycle: 0.5, ..steady };
    let incident = Scenario { incident: Some((0.4, 0.45, 10.0)), ..cycle };
    let null = |name, limit, scenario| Case { name, limit, goal: (0.0, 0.0), scenario };
    let nulls = [
        null("steady, limit 1.5 %", 0.015, steady),
        null("daily cycle ±50 %, limit 1.5 %", 0.015, cycle),
        null("daily cycle ±50 %, limit 3 %", 0.03, cycle),
        null("cycle and shared incident ×10, limit 3 %", 0.03, incident),
    ];
    let with = |name, rate: f64, harm, limit, goal| Case {
        name,
        limit,
        goal,
        scenario: Scenario { harm, ..Scenario::steady(rate) },
    };
    let harms = [
        with("0.1 → 0.5 %", 0.001, Harm::Always(5.0), 0.003, (1_700.0, 4_400.0)),
        with("1 → 2 %", 0.01, Harm::Always(2.0), 0.015, (1_650.0, 4_100.0)),
        with("1 → 5 %", 0.01, Harm::Always(5.0), 0.03, (175.0, 420.0)),
        with("1 → 100 %", 0.01, Harm::Always(100.0), 0.5, (4.0, 5.0)),
        with("1 → 5 % from the middle", 0.01, Harm::From(5.0, 0.5), 0.03, (475.0, 1_000.0)),
        with("slow leak 1 → 5 %", 0.01, Harm::Leak(5.0, 0.5), 0.03, (8_000.0, 10_000.0)),
    ];
    let nulls: Vec<_> =
        nulls.iter().zip(1..).map(|(c, seed)| (c, study(c, 1.0, effort.nulls, seed, effort))).collect();
    let harms: Vec<_> =
        harms.iter().zip(11..).map(|(c, seed)| (c, study(c, 1.0, effort.harms, seed, effort))).collect();
    false_rollbacks(report, "Errors: false rollbacks", &nulls);
    if effort.peers {
        no_more_often(report, &nulls);
    }
    delays(report, effort, "Errors: how long a harm lasts", &harms, &[0, 1, 2, 3]);
    eight_times_faster(report, &harms);
}

/// Divergence of a shadow: one in ten requests is mirrored, three in ten of the copies go back to
/// stable and show its noise.
pub fn divergence(effort: &Effort, report: &mut Report) {
    let base = Scenario { weight: 0.7, requests: 100_000, ..Scenario::steady(0.02) };
    let null = Case {
        name: "noise 2 %, daily cycle ±50 %, limit 3 %",
        limit: 0.03,
        goal: (0.0, 0.0),
        scenario: Scenario { cycle: 0.5, ..base },
    };
    let with = |name, ratio, limit, goal| Case {
        name,
        limit,
        goal,
        scenario: Scenario { harm: Harm::Always(ratio), ..base },
    };
    let harms = [with("2 → 4 %", 2.0, 0.03, (2_800.0, 6_400.0)), with("2 → 10 %", 5.0, 0.06, (375.0, 750.0))];
    let nulls = [(&null, study(&null, 0.1, effort.nulls, 21, effort))];
    let harms: Vec<_> =
        harms.iter().zip(31..).map(|(c, seed)| (c, study(c, 0.1, effort.harms, seed, effort))).collect();
    false_rollbacks(report, "Divergence: false rollbacks", &nulls);
    delays(report, effort, "Divergence: compared copies until a harm is found", &harms, &[]);
    for (case, rows) in &harms {
        let (_, ours) = rows.last().unwrap();
        let bound = bound(&case.scenario).unwrap();
        let what = format!("{}: mean number of compared copies over the bound of any test", case.name);
        let (mean, error) = ours.mean();
        report.at_most(what, (mean - effort.errors * error) / bound, 1.4);
    }
}

fn bound(scenario: &Scenario) -> Option<f64> {
    let Harm::Always(ratio) = scenario.harm else { return None };
    let plan = Plan { stable_rate: scenario.rate, weight: scenario.weight, alpha: ALPHA, tolerance: 1.0 };
    lower_bound(&plan, scenario.rate * ratio)
}

type Studied<'a> = (&'a Case, Vec<(Row, Outcomes)>);

fn false_rollbacks(report: &mut Report, title: &str, nulls: &[Studied<'_>]) {
    let runs = nulls[0].1[0].1.0.len();
    let head = ["rule".to_owned()].into_iter().chain(nulls.iter().map(|(c, _)| c.name.to_owned())).collect();
    let row = |at: usize, name: &str| {
        let cells = nulls.iter().map(|(_, rows)| percent(rows[at].1.fired()));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    let rows = nulls[0].1.iter().enumerate().map(|(at, ((name, _), _))| row(at, name)).collect();
    report.tables.push(Table {
        title: title.into(),
        words: format!("{runs} rollouts without any harm to the candidate, each as long as it may be."),
        head,
        rows,
    });
    for (case, rows) in nulls {
        let (_, ours) = rows.last().unwrap();
        report.at_most(format!("{title}, {}", case.name), ours.fired(), most_by_chance(runs, ALPHA));
    }
}

fn delays(report: &mut Report, effort: &Effort, title: &str, harms: &[Studied<'_>], bounded: &[usize]) {
    let runs = harms[0].1[0].1.0.len();
    let head = ["rule".to_owned()].into_iter().chain(harms.iter().map(|(c, _)| c.name.to_owned())).collect();
    let row = |at: usize, (name, rps): &Row| {
        let cells = harms.iter().map(|(_, rows)| cell(&rows[at].1, *rps));
        [name.clone()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let mut rows: Vec<_> = harms[0].1.iter().enumerate().map(|(at, (name, _))| row(at, name)).collect();
    let bounds = harms.iter().map(|(case, _)| bound(&case.scenario).map_or("".into(), number));
    rows.push(["*least mean of any test*".to_owned()].into_iter().chain(bounds).collect());
    report.tables.push(Table {
        title: title.into(),
        words: format!(
            "{runs} rollouts. The candidate's requests since the harm began, median / 95 %; in \
             brackets the median in seconds, for rules without a clock only the requests are given \
             (divide by weight × requests per second). \"Early\" is the share of rollouts in which the \
             rule had fired before there was any harm."
        ),
        head,
        rows,
    });
    for (case, rows) in harms {
        let (_, ours) = rows.last().unwrap();
        let (median, p95) = case.goal;
        for (what, q, goal) in [("median", 0.5, median), ("95 %", 0.95, p95)] {
            let (low, _) = ours.between(q, effort.errors, |f| f.candidate);
            report.at_most(format!("{title}, {}: {what}", case.name), low, goal);
        }
        report.at_most(format!("{title}, {}: missed", case.name), ours.missed(), 0.0);
    }
    for (case, rows) in bounded.iter().filter_map(|at| harms.get(*at)) {
        let (_, ours) = rows.last().unwrap();
        let failed = ours.quantile(0.5, |f| f.failed);
        report.tables.last_mut().unwrap().words +=
            &format!(" {}: Switchback let {} failed requests through.", case.name, number(failed));
    }
}

fn cell(outcomes: &Outcomes, rps: Option<u64>) -> String {
    if outcomes.early() > 0.5 {
        return "early".into();
    }
    let mut text = format!("{} / {}", number(outcomes.median()), number(outcomes.p95()));
    if let Some(rps) = rps {
        let seconds = outcomes.quantile(0.5, |f| f.requests) / rps as f64;
        text += &format!(" ({} s)", number(seconds));
    }
    for (what, share) in [("missed", outcomes.missed()), ("early", outcomes.early())] {
        if share >= 0.005 {
            text += &format!(", {what} {}", percent(share));
        }
    }
    text
}

/// The rule that five fails of a minute make, at a rate of requests where its limit can be held.
fn flagger(rows: &[(Row, Outcomes)]) -> &Outcomes {
    let row = rows.iter().find(|((name, _), _)| name.starts_with("Flagger") && name.ends_with("1000 rps"));
    &row.unwrap().1
}

/// At least eight times sooner than the Flagger-like rule.
fn eight_times_faster(report: &mut Report, harms: &[Studied<'_>]) {
    for (case, rows) in harms.iter().filter(|(case, _)| bound(&case.scenario).is_some()) {
        let (_, ours) = rows.last().unwrap();
        let what = format!("{}: share of the Flagger-like rule's requests at 1000 rps", case.name);
        report.at_most(what, ours.median() / flagger(rows).median(), 1.0 / 8.0);
    }
}

/// And no more often without a reason. A limit that somebody has placed well away from what a day
/// brings is never crossed at this rate, which a bet that may be wrong once in a hundred can't match.
fn no_more_often(report: &mut Report, nulls: &[Studied<'_>]) {
    for (case, rows) in nulls {
        let (_, ours) = rows.last().unwrap();
        let theirs = flagger(rows).fired();
        let what =
            format!("{}: false rollbacks beyond those of the Flagger-like rule at 1000 rps", case.name);
        if theirs > 0.0 {
            report.at_most(what, ours.fired() - theirs, 0.0);
        } else {
            let why = "with 50 requests of the candidate a second and a limit placed by somebody who knows the \
                       harm, five bad minutes don't happen; α is what it is";
            report.falls_short(what, ours.fired() - theirs, 0.0, most_by_chance(ours.0.len(), ALPHA), why);
        }
    }
}
