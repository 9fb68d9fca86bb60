//! Text for people: one line while a run goes on, and the summary at its end.

use super::numbers::{about, bytes, duration, grouped, maybe, observed, percent, range, table};
use crate::load::drive::Moment;
use crate::load::result::{Measures, Outcome, RunResult, Times, TryResult};

/// One line about a run under way; `before` is the moment shown before, from which rates are taken.
pub fn live(now: &Moment, before: Option<&Moment>) -> String {
    let share = now.elapsed.as_secs_f64() / now.duration.as_secs_f64().max(1e-9);
    let filled = (share.clamp(0.0, 1.0) * 20.0).round() as usize;
    let bar: String = (0..20).map(|at| if at < filled { '█' } else { '░' }).collect();
    let (elapsed, done) = match before {
        Some(before) => (
            now.elapsed.saturating_sub(before.elapsed),
            (now.ok + now.failed).saturating_sub(before.ok + before.failed),
        ),
        None => (now.elapsed, now.ok + now.failed),
    };
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let quantile =
        |q: f64| now.latency.quantile(q).map_or("-".to_owned(), |nanos| duration(nanos as f64 * 1e-9));
    let warming = if now.warming { "  warming up" } else { "" };
    let late = if now.late > 0 { format!("  late {}", grouped(now.late)) } else { String::new() };
    format!(
        "{bar} {:>5.1}/{:.0} s  {rate:>8.0}/s  p50 {}  p99 {}  failed {}  under way {}{late}{warming}",
        now.elapsed.as_secs_f64(),
        now.duration.as_secs_f64(),
        quantile(0.5),
        quantile(0.99),
        grouped(now.failed),
        now.under_way,
    )
}

/// One line about a try of a search.
pub fn tried(number: usize, one: &TryResult) -> String {
    let what = if one.confirms { " (again)" } else { "" };
    format!(
        "{number:>3}  {:>10.1}/s{what:<8}  p99 {:>8}  errors {:>7}  {}",
        one.rate,
        maybe(one.p99),
        percent(one.errors),
        one.outcome.word()
    )
}

/// The summary.
pub(super) fn summary(result: &RunResult) -> String {
    let mut text = format!("{}: {}\n", result.name, result.load);
    if let Some(search) = &result.search {
        text.push('\n');
        for (at, one) in search.tries.iter().enumerate() {
            text.push_str(&tried(at + 1, one));
            text.push('\n');
        }
        text.push_str(&format!("\n  {}\n", search.sentence));
    }
    for target in &result.targets {
        text.push_str(&format!("\n{}\n", heading(&target.name, &target.url, result.targets.len())));
        text.push_str(&measures(&target.all, result.seconds));
        for kind in &target.kinds {
            text.push_str(&format!("\n  {}\n", kind.name));
            text.push_str(&measures(&kind.measures, result.seconds));
        }
    }
    if !result.comparison.is_empty() {
        let names: Vec<&str> = result.targets.iter().map(|target| target.name.as_str()).collect();
        let (a, b) = (names.first().copied().unwrap_or("A"), names.get(1).copied().unwrap_or("B"));
        let mut rows = vec![vec![format!("{b}/{a}"), a.to_owned(), b.to_owned(), "ratio".to_owned()]];
        rows.extend(result.comparison.iter().map(|one| {
            let ratio = one.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            let interval = one.interval.map(|i| range(i, "ratio")).unwrap_or_default();
            vec![one.statistic.clone(), maybe(one.first), maybe(one.second), format!("{ratio} {interval}")]
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    if !result.resources.is_empty() {
        let mut rows = vec![["process", "cpu", "memory", "descriptors"].map(str::to_owned).to_vec()];
        rows.extend(result.resources.iter().map(|one| {
            let dash = || "-".to_owned();
            vec![
                one.name.clone(),
                one.cpu.map_or_else(dash, |cpu| format!("{:.1}%", cpu * 100.0)),
                one.rss_bytes.map_or_else(dash, bytes),
                one.fds.map_or_else(dash, |fds| format!("{fds:.0}")),
            ]
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    text.push_str(&format!("\n{}", generator(result)));
    if !result.goals.is_empty() {
        let rows: Vec<Vec<String>> = result
            .goals
            .iter()
            .map(|goal| {
                let note = goal.note.as_deref().map(|note| format!("  {note}")).unwrap_or_default();
                vec![
                    goal.verdict.word().to_uppercase(),
                    format!("{}{}", goal.goal, about(goal)),
                    format!("{}{note}", observed(goal)),
                ]
            })
            .collect();
        text.push_str(&format!("\n{}", table(&rows)));
    }
    for remark in &result.remarks {
        text.push_str(&format!("\n  {remark}\n"));
    }
    text.push_str(&format!("\n{}\n", verdict(result)));
    text
}

/// The last line.
fn verdict(result: &RunResult) -> String {
    let why = match result.outcome {
        Outcome::Pass if result.goals.is_empty() => "no goal was set",
        Outcome::Pass => "every goal holds",
        Outcome::Fail if result.goals.is_empty() => "nothing works",
        Outcome::Fail => "a goal does not hold",
        Outcome::Inconclusive => "too little data to say: test for longer",
        Outcome::Invalid => "nothing is known of the server",
        Outcome::Interrupted => "a part of the test",
    };
    format!("{}: {why}", result.outcome.word().to_uppercase())
}

fn heading(name: &str, url: &str, targets: usize) -> String {
    if targets > 1 { format!("{name}: {url}") } else { url.to_owned() }
}

fn measures(all: &Measures, seconds: f64) -> String {
    let failures: Vec<String> =
        all.failures.iter().map(|(failure, count)| format!("{failure}: {}", grouped(*count))).collect();
    let failures = if failures.is_empty() { String::new() } else { format!(" ({})", failures.join(", ")) };
    let mut text = format!(
        "  requests    {} in {seconds:.1} s, {} good, {} failed{failures}\n  throughput  {:.1}/s good, {}/s\n",
        grouped(all.requests),
        grouped(all.ok),
        grouped(all.failed),
        all.throughput,
        bytes(all.bytes_per_second),
    );
    if let Some(tokens) = all.tokens_per_second {
        text.push_str(&format!("  tokens      {tokens:.1}/s\n"));
    }
    let head = ["", "p50", "p90", "p95", "p99", "p99.9", "max"].map(str::to_owned).to_vec();
    let row = |name: &str, times: &Times| {
        let values = [times.p50, times.p90, times.p95, times.p99, times.p999].map(maybe);
        let max = times.max.map_or("-".to_owned(), duration);
        std::iter::once(name.to_owned()).chain(values).chain([max]).collect::<Vec<_>>()
    };
    let mut rows = vec![head, row("latency", &all.latency), row("service", &all.service)];
    rows.extend(all.first_token.iter().map(|times| row("first token", times)));
    rows.extend(all.inter_token.iter().map(|times| row("per token", times)));
    text + &table(&rows)
}

fn generator(result: &RunResult) -> String {
    let generator = &result.generator;
    let cpu = generator
        .cpu_micros_per_request
        .map_or(String::new(), |cpu| format!(", {cpu:.1} µs CPU per request"));
    let lag = generator.lag_p99.map_or(String::new(), |lag| format!(", 99% left within {}", duration(lag)));
    format!(
        "  generator   {} thread{}, {} connections{lag}{cpu}, seed {}\n",
        generator.threads,
        if generator.threads == 1 { "" } else { "s" },
        grouped(generator.connections),
        result.seed
    )
}
