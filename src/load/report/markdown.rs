//! Markdown for pull requests and chats.

use super::numbers::{about, bytes, duration, grouped, markdown, maybe, observed, percent, range};
use crate::load::result::{Measures, RunResult, Times};

/// The report.
pub(super) fn write(result: &RunResult) -> String {
    let mut text = format!(
        "## Load test {}: {}\n\n{}, {:.1} s measured\n",
        markdown(&result.name),
        result.outcome.word(),
        markdown(&result.load),
        result.seconds
    );
    if let Some(search) = &result.search {
        text.push_str(&format!("\n**{}**\n", markdown(&search.sentence)));
    }
    for remark in &result.remarks {
        text.push_str(&format!("\n> {}\n", markdown(remark)));
    }
    if !result.goals.is_empty() {
        let mut rows = vec![["goal", "measured", "verdict"].map(str::to_owned).to_vec()];
        rows.extend(result.goals.iter().map(|goal| {
            let note = goal.note.as_deref().map(|note| format!(", {note}")).unwrap_or_default();
            vec![
                format!("{}{}", goal.goal, about(goal)),
                format!("{}{note}", observed(goal)),
                goal.verdict.word().to_owned(),
            ]
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    let mut rows = vec![
        ["", "requests", "failed", "good/s", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec(),
    ];
    for target in &result.targets {
        rows.push(row(&target.name, &target.all, &target.all.latency));
        for kind in &target.kinds {
            rows.push(row(
                &format!("{}: {}", target.name, kind.name),
                &kind.measures,
                &kind.measures.latency,
            ));
        }
        for (what, times) in
            [("first token", &target.all.first_token), ("per token", &target.all.inter_token)]
        {
            rows.extend(
                times.iter().map(|times| row(&format!("{}: {what}", target.name), &target.all, times)),
            );
        }
    }
    text.push_str(&format!("\n{}", table(&rows)));
    if !result.comparison.is_empty() {
        let mut rows = vec![["B/A", "A", "B", "ratio"].map(str::to_owned).to_vec()];
        rows.extend(result.comparison.iter().map(|one| {
            let ratio = one.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
            let interval = one.interval.map(|i| range(i, "ratio")).unwrap_or_default();
            vec![one.statistic.clone(), maybe(one.first), maybe(one.second), format!("{ratio} {interval}")]
        }));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    for one in &result.resources {
        text.push_str(&format!(
            "\n- {}: {} CPU, {} memory, {} descriptors\n",
            markdown(&one.name),
            one.cpu.map_or("-".to_owned(), percent),
            one.rss_bytes.map_or("-".to_owned(), bytes),
            one.fds.map_or("-".to_owned(), |fds| format!("{fds:.0}"))
        ));
    }
    text
}

fn row(name: &str, all: &Measures, times: &Times) -> Vec<String> {
    vec![
        name.to_owned(),
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

fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| markdown(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            text.push_str(&format!("|{}\n", " --- |".repeat(row.len())));
        }
    }
    text
}
