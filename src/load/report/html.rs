//! One HTML file that needs nothing else: numbers, plots and the data they were made from.

use super::ReportError;
use super::numbers::{about, bytes, duration, grouped, maybe, moment, observed, range, xml};
use super::plots::{Line, Plot};
use crate::load::result::{Measures, Outcome, RunResult, SliceResult, Times};
use crate::load::verdict::Verdict;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}\
h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}table{border-collapse:collapse;margin:.6em 0}\
th,td{text-align:right;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}\
th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}\
.v{display:inline-block;padding:.1em .6em;border-radius:.3em;color:#fff;background:#777}\
.pass{background:#0a7d4f}.fail{background:#b3261e}.inconclusive{background:#a56a00}.invalid{background:#7a2fa0}\
.note{color:#666}pre{overflow:auto;max-height:24em;background:#f6f6f6;padding:1em}";

/// The report.
pub(super) fn write(result: &RunResult) -> Result<String, ReportError> {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{name}: {word}</title>\n<style>{STYLE}</style></head><body>\n<h1>{name} <span class=\"v {class}\">{word}</span></h1>\n<p>{load}. {seconds:.1} s measured from {moment}, seed {seed}.</p>\n",
        name = xml(&result.name),
        word = result.outcome.word(),
        class = class(result.outcome),
        load = xml(&result.load),
        seconds = result.seconds,
        moment = moment(result.began_ms),
        seed = result.seed,
    );
    for remark in &result.remarks {
        text.push_str(&format!("<p><strong>{}</strong></p>\n", xml(remark)));
    }
    goals(result, &mut text);
    search(result, &mut text)?;
    numbers(result, &mut text);
    plots(result, &mut text)?;
    comparison(result, &mut text);
    resources(result, &mut text)?;
    let json = serde_json::to_string_pretty(result).map_err(ReportError::of)?;
    text.push_str(&format!(
        "<h2>All of it</h2>\n<details><summary>The result as JSON</summary><pre>{}</pre></details>\n</body></html>\n",
        xml(&json)
    ));
    Ok(text)
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Interrupted => "inconclusive",
        other => other.word(),
    }
}

fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::from("<table>\n");
    for (at, row) in rows.iter().enumerate() {
        let tag = if at == 0 { "th" } else { "td" };
        text.push_str("<tr>");
        row.iter().for_each(|cell| text.push_str(&format!("<{tag}>{cell}</{tag}>")));
        text.push_str("</tr>\n");
    }
    text + "</table>\n"
}

fn head<const N: usize>(names: [&str; N]) -> Vec<Vec<String>> {
    vec![names.map(str::to_owned).to_vec()]
}

fn goals(result: &RunResult, text: &mut String) {
    if result.goals.is_empty() {
        return;
    }
    let mut rows = head(["goal", "measured", "verdict"]);
    rows.extend(result.goals.iter().map(|goal| {
        let note =
            goal.note.as_deref().map(|n| format!(" <span class=note>{}</span>", xml(n))).unwrap_or_default();
        let class = match goal.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        };
        vec![
            xml(&format!("{}{}", goal.goal, about(goal))),
            xml(&observed(goal)) + &note,
            format!("<span class=\"v {class}\">{}</span>", goal.verdict.word()),
        ]
    }));
    text.push_str(&format!("<h2>Goals</h2>\n{}", table(&rows)));
}

fn search(result: &RunResult, text: &mut String) -> Result<(), ReportError> {
    let Some(search) = &result.search else { return Ok(()) };
    text.push_str(&format!("<h2>Highest rate</h2>\n<p>{}.</p>\n", xml(&search.sentence)));
    let mut rows = head(["rate", "p99", "errors", "outcome"]);
    rows.extend(search.tries.iter().map(|one| {
        vec![
            format!("{:.1}/s{}", one.rate, if one.confirms { " (again)" } else { "" }),
            maybe(one.p99),
            super::numbers::percent(one.errors),
            one.outcome.word().to_owned(),
        ]
    }));
    text.push_str(&table(&rows));
    let mut points: Vec<(f64, Option<f64>)> = search.tries.iter().map(|one| (one.rate, one.p99)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lines = vec![Line { name: "p99".to_owned(), points }];
    let plot = Plot { title: "p99 by rate", x: "requests/s", lines, durations: true, nines: false };
    text.push_str(&plot.svg()?);
    Ok(())
}

fn row(name: &str, all: &Measures, times: &Times) -> Vec<String> {
    vec![
        xml(name),
        grouped(all.requests),
        grouped(all.failed),
        format!("{:.1}", all.throughput),
        maybe(times.p50),
        maybe(times.p90),
        maybe(times.p99),
        maybe(times.p999),
        times.max.map_or("-".to_owned(), duration),
    ]
}

fn numbers(result: &RunResult, text: &mut String) {
    let mut rows = head(["", "requests", "failed", "good/s", "p50", "p90", "p99", "p99.9", "max"]);
    for target in &result.targets {
        rows.push(row(&format!("{} latency", target.name), &target.all, &target.all.latency));
        rows.push(row(&format!("{} service", target.name), &target.all, &target.all.service));
        for (what, times) in
            [("first token", &target.all.first_token), ("per token", &target.all.inter_token)]
        {
            rows.extend(
                times.iter().map(|times| row(&format!("{} {what}", target.name), &target.all, times)),
            );
        }
        for kind in &target.kinds {
            rows.push(row(&format!("{} {}", target.name, kind.name), &kind.measures, &kind.measures.latency));
        }
    }
    text.push_str(&format!("<h2>Numbers</h2>\n{}", table(&rows)));
    for target in result.targets.iter().filter(|target| !target.all.failures.is_empty()) {
        let failures: Vec<String> = target
            .all
            .failures
            .iter()
            .map(|(failure, n)| format!("{} {}", grouped(*n), xml(failure)))
            .collect();
        text.push_str(&format!("<p>{} failed: {}.</p>\n", xml(&target.name), failures.join(", ")));
    }
    text.push_str(
        "<p class=note>Latency is counted from when a request was meant to leave, service time from when it \
         left. Failed requests are slower than all others.</p>\n",
    );
}

fn plots(result: &RunResult, text: &mut String) -> Result<(), ReportError> {
    text.push_str("<h2>Plots</h2>\n");
    let over_time = |what: &str, of: &dyn Fn(&SliceResult) -> Option<f64>| -> Vec<Line> {
        let line = |target: &crate::load::result::TargetResult| Line {
            name: if result.targets.len() > 1 { format!("{} {what}", target.name) } else { what.to_owned() },
            points: target.slices.iter().map(|slice| (slice.at, of(slice))).collect(),
        };
        result.targets.iter().map(line).collect()
    };
    let mut latency = over_time("p50", &|slice| slice.p50);
    latency.extend(over_time("p99", &|slice| slice.p99));
    latency.extend(over_time("max", &|slice| slice.max));
    let mut rates = over_time("requests/s", &|slice| Some(slice.rate));
    rates.extend(over_time("failed/s", &|slice| Some(slice.failed)));
    let curves = result.targets.iter().map(|target| Line {
        name: target.name.clone(),
        points: target
            .curve
            .iter()
            .filter(|(q, _)| *q < 1.0)
            .map(|(q, y)| (-(1.0 - q).log10(), *y))
            .collect(),
    });
    let seconds = "seconds";
    for plot in [
        Plot { title: "Latency over time", x: seconds, lines: latency, durations: true, nines: false },
        Plot {
            title: "Latency by quantile",
            x: "quantile",
            lines: curves.collect(),
            durations: true,
            nines: true,
        },
        Plot { title: "Rate and failures", x: seconds, lines: rates, durations: false, nines: false },
    ] {
        text.push_str(&plot.svg()?);
        text.push('\n');
    }
    Ok(())
}

fn comparison(result: &RunResult, text: &mut String) {
    if result.comparison.is_empty() {
        return;
    }
    let mut rows = head(["B/A", "A", "B", "ratio"]);
    rows.extend(result.comparison.iter().map(|one| {
        let ratio = one.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let interval = one.interval.map(|i| range(i, "ratio")).unwrap_or_default();
        vec![xml(&one.statistic), maybe(one.first), maybe(one.second), format!("{ratio} {interval}")]
    }));
    text.push_str(&format!("<h2>Comparison</h2>\n{}", table(&rows)));
}

fn resources(result: &RunResult, text: &mut String) -> Result<(), ReportError> {
    if result.resources.is_empty() {
        return Ok(());
    }
    let mut rows = head(["process", "cpu", "memory", "descriptors"]);
    rows.extend(result.resources.iter().map(|one| {
        let dash = || "-".to_owned();
        vec![
            xml(&one.name),
            one.cpu.map_or_else(dash, |cpu| format!("{:.1}%", cpu * 100.0)),
            one.rss_bytes.map_or_else(dash, bytes),
            one.fds.map_or_else(dash, |fds| format!("{fds:.0}")),
        ]
    }));
    text.push_str(&format!("<h2>Processes</h2>\n{}", table(&rows)));
    let lines = result.resources.iter().map(|one| Line {
        name: one.name.clone(),
        points: one.samples.iter().map(|sample| (sample.at, Some(sample.cpu * 100.0))).collect(),
    });
    let plot = Plot {
        title: "CPU, % of a core",
        x: "seconds",
        lines: lines.collect(),
        durations: false,
        nines: false,
    };
    text.push_str(&plot.svg()?);
    Ok(())
}
