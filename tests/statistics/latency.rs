//! Rollouts judged by latency. The distribution has a heavy tail: a log-normal body, and one request
//! in twenty from a Pareto tail of infinite variance. p50 41 ms, p90 65 ms, p99 185 ms, p99.9 660 ms.

use std::f64::consts::TAU;

use switchback::rollout::counts::Durations;
use switchback::stats::sequential::{Arms, Exceedance, TailTest};
use switchback::stats::{Histogram, Snapshot};

use crate::Effort;
use crate::chance::most_by_chance;
use crate::mann_whitney::clearly_higher;
use crate::random::Draws;
use crate::report::{Report, Table, number, percent};
use crate::rollouts::OURS;
use crate::rules::ALPHA;
use crate::study::{Fired, Outcomes, by_rule, in_parallel};

const WEIGHT: f64 = 0.05;
const REQUESTS: u64 = 1_000_000;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const P90_MS: f64 = 64.5;
const P99_MS: f64 = 184.9;
/// Requests between two looks of the decider: 20 ms at 1000 rps.
const TICK: u64 = 20;
/// Requests after which thresholds are taken anew, from those requests.
const BLOCK: u64 = 10_000;

/// How much slower the candidate is.
#[derive(Debug, Clone, Copy)]
enum Slower {
    Not,
    /// What lies beyond p90 is stretched away from it, so that p99 is this many times as long. The
    /// requests below are as they were.
    Tail(f64),
    /// All requests, by this factor.
    All(f64),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    slower: Slower,
    cycle: f64,
    /// An incident makes both arms this much slower for a twentieth of the rollout.
    incident: f64,
    /// What the fixed limit is, in multiples of p99.
    limit: f64,
    goal: (f64, f64),
}

impl Case {
    fn milliseconds(&self, draws: &mut Draws, candidate: bool, x: f64) -> f64 {
        let moment =
            (1.0 + self.cycle * (TAU * x).sin()) * if (0.4..0.45).contains(&x) { self.incident } else { 1.0 };
        let one = if draws.chance(0.05) {
            76.0 * (1.0 - draws.uniform()).powf(-1.0 / 1.81)
        } else {
            39.7 * (0.3 * draws.normal()).exp()
        };
        let one = match self.slower {
            Slower::All(factor) if candidate => factor * one,
            Slower::Tail(factor) if candidate && one > P90_MS => {
                P90_MS + (one - P90_MS) * (factor * P99_MS - P90_MS) / (P99_MS - P90_MS)
            }
            _ => one,
        };
        one * moment
    }
}

/// A rule that looks at the latencies of an interval.
struct Clocked {
    step: u64,
    next: u64,
    last: Arms<Snapshot>,
    judge: Judge,
}

enum Judge {
    /// So many intervals in all with p99 above the limit.
    Fails { left: u32, limit_ms: f64 },
    /// Points of a minute, compared.
    Kayenta(Arms<Vec<f64>>),
}

impl Clocked {
    fn new(seconds: u64, rps: u64, judge: Judge) -> Self {
        Self { step: seconds * rps, next: seconds * rps, last: Arms::default(), judge }
    }

    fn clock(&mut self, at: u64, histograms: &Arms<Histogram>) -> bool {
        if at < self.next {
            return false;
        }
        self.next += self.step;
        let now = Arms::new(histograms.stable.snapshot(), histograms.candidate.snapshot());
        let p99 = |now: &Snapshot, last: &Snapshot| now.since(last).quantile(0.99).unwrap_or(0) as f64 / 1e6;
        let candidate = p99(&now.candidate, &self.last.candidate);
        let rolls_back = match &mut self.judge {
            Judge::Fails { left, limit_ms } => {
                *left -= u32::from(candidate > *limit_ms);
                *left == 0
            }
            Judge::Kayenta(points) => {
                points.stable.push(p99(&now.stable, &self.last.stable));
                points.candidate.push(candidate);
                let minutes = points.stable.len();
                minutes >= 10
                    && minutes.is_multiple_of(5)
                    && clearly_higher(&points.stable, &points.candidate)
            }
        };
        self.last = now;
        rolls_back
    }
}

/// The tail test with thresholds from the block before.
struct Ours {
    test: TailTest,
    /// Beyond which a request is slow, at each quantile.
    thresholds: [Option<u64>; 3],
    block: Snapshot,
    counts: [Exceedance; 3],
}

impl Ours {
    fn new(draws: &mut Draws, case: &Case) -> Self {
        // Stable served alone before.
        let before = Histogram::default();
        (0..BLOCK).for_each(|_| before.record(nanos(case.milliseconds(draws, false, 0.0))));
        let mut new = Self {
            test: TailTest::standard(),
            thresholds: [None; 3],
            block: Snapshot::default(),
            counts: Default::default(),
        };
        new.thresholds = edges(&before.snapshot());
        new
    }

    fn request(&mut self, nanos: u64, candidate: bool) {
        for (counts, edge) in self.counts.iter_mut().zip(self.thresholds) {
            let Some(edge) = edge else { continue };
            let slow = nanos > edge;
            let arms = if slow { &mut counts.above } else { &mut counts.below };
            *(if candidate { &mut arms.candidate } else { &mut arms.stable }) += 1;
        }
    }

    fn tick(&mut self) -> bool {
        for (at, counts) in self.counts.iter_mut().enumerate() {
            self.test.observe(WEIGHT, at, std::mem::take(counts));
        }
        self.test.e_value() >= 1.0 / ALPHA
    }

    fn next_block(&mut self, stable: &Histogram) {
        let now = stable.snapshot();
        self.thresholds = edges(&now.since(&self.block));
        self.block = now;
    }
}

/// The quantiles as the decider takes them, without a tolerance.
fn edges(stable: &Snapshot) -> [Option<u64>; 3] {
    let durations = Durations::from(stable);
    QUANTILES.map(|quantile| durations.quantile(quantile))
}

fn nanos(milliseconds: f64) -> u64 {
    (milliseconds * 1e6) as u64
}

fn rollout(case: &Case, seed: u64, requests: u64, rules: Vec<Clocked>) -> Vec<Option<Fired>> {
    let mut draws = Draws::new(seed);
    let mut ours = Ours::new(&mut draws, case);
    let mut rules = rules;
    let mut fired: Vec<Option<Fired>> = vec![None; rules.len() + 1];
    let histograms = Arms::<Histogram>::default();
    let mut candidates = 0;
    for at in 1..=requests {
        let candidate = draws.chance(WEIGHT);
        let took = nanos(case.milliseconds(&mut draws, candidate, at as f64 / requests as f64));
        candidates += i64::from(candidate);
        (if candidate { &histograms.candidate } else { &histograms.stable }).record(took);
        ours.request(took, candidate);
        if !at.is_multiple_of(TICK) {
            continue;
        }
        let here = Some(Fired { candidate: candidates, requests: at as i64, failed: 0 });
        let (last, others) = fired.split_last_mut().unwrap();
        if last.is_none() && ours.tick() {
            *last = here;
        }
        for (rule, fired) in rules.iter_mut().zip(others).filter(|(_, f)| f.is_none()) {
            if rule.clock(at, &histograms) {
                *fired = here;
            }
        }
        if at.is_multiple_of(BLOCK) {
            ours.next_block(&histograms.stable);
        }
        if fired.iter().all(Option::is_some) {
            break;
        }
    }
    fired
}

fn rules(case: &Case, effort: &Effort) -> Vec<(String, u64, Clocked)> {
    let limit_ms = case.limit * P99_MS;
    let mut rules = Vec::new();
    for rps in [100, 1_000].into_iter().filter(|_| effort.peers) {
        let mut add =
            |name: &str, judge| rules.push((format!("{name}, {rps} rps"), rps, Clocked::new(60, rps, judge)));
        add("Flagger-like: 1 min, 5 fails", Judge::Fails { left: 5, limit_ms });
        add("Argo-like: 1 min, limit 3", Judge::Fails { left: 4, limit_ms });
        add("Kayenta-like: from 10 min, every 5", Judge::Kayenta(Arms::default()));
    }
    rules
}

type Studied = (Case, Vec<(String, Option<u64>, Outcomes)>);

fn study(case: Case, runs: usize, requests: u64, seed: u64, effort: &Effort) -> Studied {
    let rollouts = in_parallel(runs, |run| {
        let rules = rules(&case, effort).into_iter().map(|(_, _, rule)| rule).collect();
        rollout(&case, seed * 1_000_000 + run, requests, rules)
    });
    let names = rules(&case, effort).into_iter().map(|(name, rps, _)| (name, Some(rps)));
    let names = names.chain([(OURS.to_owned(), None)]);
    (case, names.zip(by_rule(rollouts)).map(|((name, rps), outcomes)| (name, rps, outcomes)).collect())
}

/// The tail test beside fixed limits and Kayenta's way.
pub fn latency(effort: &Effort, report: &mut Report) {
    let healthy = Case {
        name: "steady, limit 1.1 × p99",
        slower: Slower::Not,
        cycle: 0.0,
        incident: 1.0,
        limit: 1.1,
        goal: (0.0, 0.0),
    };
    let nulls = [
        healthy,
        Case { name: "daily cycle ±20 %, limit 1.25 × p99", cycle: 0.2, limit: 1.25, ..healthy },
        Case {
            name: "cycle and shared incident ×3, limit 1.5 × p99",
            cycle: 0.2,
            incident: 3.0,
            limit: 1.5,
            ..healthy
        },
    ];
    let with = |name, slower, limit, goal| Case { name, slower, limit, goal, ..healthy };
    let mut harms = vec![
        with("all +20 %", Slower::All(1.2), 1.1, (110.0, 200.0)),
        with("p99 ×2, tail only", Slower::Tail(2.0), 1.5, (1_200.0, 2_400.0)),
    ];
    if effort.peers {
        harms.push(with("p99 +50 %, tail only", Slower::Tail(1.5), 1.25, (3_000.0, 6_700.0)));
        harms.push(with("p99 +20 %, tail only", Slower::Tail(1.2), 1.1, (14_000.0, 30_000.0)));
    }
    let requests = effort.latency_null_requests;
    let nulls: Vec<_> = nulls
        .into_iter()
        .zip(41..)
        .map(|(c, seed)| study(c, effort.latency_nulls, requests, seed, effort))
        .collect();
    let harms: Vec<_> = harms
        .into_iter()
        .zip(51..)
        .map(|(c, seed)| study(c, effort.latency_harms, REQUESTS, seed, effort))
        .collect();

    let table = |studied: &[Studied],
                 cell: &dyn Fn(&Outcomes, Option<u64>) -> String|
     -> (Vec<String>, Vec<Vec<String>>) {
        let head =
            ["rule".to_owned()].into_iter().chain(studied.iter().map(|(c, _)| c.name.to_owned())).collect();
        let row = |at: usize, name: &String| {
            let cells = studied.iter().map(|(_, rows)| cell(&rows[at].2, rows[at].1));
            [name.clone()].into_iter().chain(cells).collect()
        };
        (head, studied[0].1.iter().enumerate().map(|(at, (name, ..))| row(at, name)).collect())
    };
    let (head, rows) = table(&nulls, &|outcomes, _| percent(outcomes.fired()));
    report.tables.push(Table {
        title: "Latency: false rollbacks".into(),
        words: format!("{} rollouts of {} requests.", effort.latency_nulls, number(requests as f64)),
        head,
        rows,
    });
    let (head, rows) = table(&harms, &|outcomes, rps| {
        let mut text = format!("{} / {}", number(outcomes.median()), number(outcomes.p95()));
        if let Some(rps) = rps {
            text += &format!(" ({} s)", number(outcomes.quantile(0.5, |f| f.requests) / rps as f64));
        }
        if outcomes.missed() > 0.0 {
            text += &format!(", missed {}", percent(outcomes.missed()));
        }
        text
    });
    report.tables.push(Table {
        title: "Latency: how long a harm lasts".into(),
        words: format!(
            "{} rollouts; the candidate's requests, median / 95 %. \"Tail only\" stretches what lies beyond \
             p90, so that p99 is as much longer. p50, p90 and p99 in one test, thresholds \
             from the histogram of the {} requests before, looked at every {TICK} requests.",
            effort.latency_harms,
            number(BLOCK as f64)
        ),
        head,
        rows,
    });
    for (case, rows) in &nulls {
        let (.., ours) = rows.last().unwrap();
        let what = format!("Latency: false rollbacks, {}", case.name);
        report.at_most(what, ours.fired(), most_by_chance(effort.latency_nulls, ALPHA));
    }
    for (case, rows) in &harms {
        let (.., ours) = rows.last().unwrap();
        for (what, q, goal) in [("median", 0.5, case.goal.0), ("95 %", 0.95, case.goal.1)] {
            let (low, _) = ours.between(q, effort.errors, |f| f.candidate);
            report.at_most(format!("Latency, {}: {what}", case.name), low, goal);
        }
        report.at_most(format!("Latency, {}: missed", case.name), ours.missed(), 0.0);
    }
}
