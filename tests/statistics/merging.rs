//! Workers and replicas count, one decider adds up and bets. It doesn't see the order of the events
//! within a period: how much later does it decide than one that sees each event?

use crate::Effort;
use crate::report::{Report, Table, number, percent};
use crate::rules::{Merged, Rule, Switchback, Totals};
use crate::stream::{Harm, Request, Scenario, Stream};
use crate::study::{Fired, Outcomes, in_parallel};

/// Periods at 1000 requests a second, in requests: the decider's own, and a slow one.
const PERIODS: [(&str, u64); 2] = [("20 ms", 20), ("1 s", 1_000)];

/// How many periods later the merged counts decide, in one rollout; and whether they do at all.
fn later(scenario: &Scenario, period: u64, seed: u64) -> Option<f64> {
    let mut each = Switchback::new(scenario.weight);
    let mut merged = Merged::new(scenario.weight, period);
    let (mut totals, mut first, mut last) = (Totals::default(), None, None);
    let mut before = 0;
    // Behind the last request, so that its period ends as well.
    let end = Request { at: scenario.requests, candidate: false, event: false };
    for request in Stream::new(scenario, seed).chain([end]) {
        totals.requests = request.at;
        if last.is_none() && merged.clock(request.at, &totals) {
            // Nothing has happened since the request before, so it was the end of that one's period.
            last = Some((before / period + 1) * period);
        }
        before = request.at;
        totals.requests += 1;
        if request.event {
            let arm =
                if request.candidate { &mut totals.events.candidate } else { &mut totals.events.stable };
            *arm += 1;
        }
        if first.is_none() && each.request(request, &totals) {
            first = Some(request.at);
        }
        if let (Some(first), Some(last)) = (first, last) {
            return Some((last as f64 - first as f64) / period as f64);
        }
    }
    None
}

/// The decision is at most one period late, where the harm is clear; otherwise as a rule.
pub fn merging(effort: &Effort, report: &mut Report) {
    let steady = Scenario::steady(0.01);
    let harms = [
        ("0.1 → 0.5 %", Scenario { harm: Harm::Always(5.0), ..Scenario::steady(0.001) }),
        ("1 → 2 %", Scenario { harm: Harm::Always(2.0), ..steady }),
        ("1 → 5 %", Scenario { harm: Harm::Always(5.0), ..steady }),
        ("1 → 100 %", Scenario { harm: Harm::Always(100.0), ..steady }),
    ];
    let mut rows = Vec::new();
    for ((name, scenario), seed) in harms.into_iter().zip(101..) {
        for (period, requests) in PERIODS {
            let runs = in_parallel(effort.merges, |run| later(&scenario, requests, seed * 1_000_000 + run));
            // In thousandths, for the quantiles are of whole numbers.
            let thousandths = |later: f64| Fired { candidate: 0, requests: (1e3 * later) as i64, failed: 0 };
            let runs = Outcomes(runs.into_iter().map(|run| run.map(thousandths)).collect());
            let at = |q| runs.quantile(q, |f| f.requests) / 1e3;
            let late = runs.0.iter().filter(|f| f.is_none_or(|f| f.requests > 1_000)).count();
            let late = late as f64 / runs.0.len() as f64;
            rows.push(vec![
                name.into(),
                period.into(),
                number(at(0.5)),
                number(at(0.8)),
                number(at(0.95)),
                percent(late),
            ]);
            let name = format!("{name}, merged every {period}");
            let (low, _) = runs.between(0.5, effort.errors, |f| f.requests);
            report.at_most(format!("{name}: periods later, median"), low / 1e3, 1.0);
            if effort.peers {
                let why = "the evidence reaches the bar at an event and falls below it again before the period \
                           ends; it decides when it is there at an end";
                report.falls_short(
                    format!("{name}: rollouts decided more than a period later"),
                    late,
                    0.0,
                    0.5,
                    why,
                );
            }
            report.at_most(format!("{name}: missed"), runs.missed(), 0.0);
        }
    }
    let head =
        ["harm", "period", "periods later, median", "80 %", "95 %", "more than one"].map(str::to_owned);
    report.tables.push(Table {
        title: "Counts added up, one decider".into(),
        words: format!(
            "{} rollouts at 1000 requests a second, each decided twice: by a test that is handed every event, and \
             by one that is handed what was counted in a period.",
            number(effort.merges as f64)
        ),
        head: head.into(),
        rows,
    });
}
