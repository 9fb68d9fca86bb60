//! The report for people.

use crate::rollout::version::By;

use super::super::super::format::{markdown, markdown_table};
use super::super::show::{checks, moment};
use super::Report;

/// The report.
pub(super) fn write(report: &Report) -> String {
    let view = &report.rollout;
    let mut text = format!(
        "# {}: {} from {} to {}\n\n",
        markdown(&report.outcome.to_uppercase()),
        markdown(&view.model),
        markdown(&view.stable),
        markdown(&view.candidate)
    );
    let sentence = if view.reason.is_empty() { &view.sentence } else { &view.reason };
    text.push_str(&format!("**{}**\n\n", markdown(sentence)));
    let mut facts = vec![
        ("rollout", view.id.clone()),
        ("phase", view.phase.clone()),
        ("candidate", format!("{} (try {}), {}", view.candidate, view.attempt, view.digest)),
        ("weight", view.weight.clone()),
        ("steps", view.steps.join(", ")),
        ("started", format!("{} by {}", moment(view.started_ms), view.by.name)),
        ("configuration", view.config_hash.clone()),
    ];
    if let Some(ended) = view.ended_ms {
        facts.insert(6, ("ended", moment(ended)));
    }
    let head = vec!["what".to_owned(), String::new()];
    let rows = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    text.push_str(&markdown_table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    text.push_str("\n## Evidence\n\n");
    let rows = checks(&view.evidence);
    match rows.len() {
        0 | 1 => text.push_str("No check looks at anything.\n"),
        _ => text.push_str(&markdown_table(&rows)),
    }
    for check in &view.evidence.checks {
        // The sentence begins with the check's name.
        text.push_str(&format!("\n- {}", markdown(&check.sentence)));
    }
    if !view.evidence.checks.is_empty() {
        text.push('\n');
    }
    text.push_str("\n## Decisions\n");
    for record in &report.decisions {
        text.push_str(&format!(
            "\n### {}. {} ({})\n\n{}\n\n{}, step {} after {}, weight {} → {}, by {}.\n",
            record.number,
            record.action.as_str(),
            record.verdict.as_str(),
            markdown(&record.sentence),
            moment(record.at.0),
            record.step + 1,
            record.elapsed,
            record.weight_before,
            record.weight_after,
            markdown(&who(&record.by)),
        ));
        let rows = checks(&record.evidence);
        if rows.len() > 1 {
            text.push_str(&format!("\n{}", markdown_table(&rows)));
        }
    }
    text.push_str(&format!(
        "\n## To look further\n\n    switchback rollout report {id} --output json | switchback rollout verify -\n    switchback rollout pairs {model} --worst\n",
        id = view.id,
        model = view.model
    ));
    text
}

fn who(by: &By) -> String {
    match by {
        By::Verdict => "the verdict".to_owned(),
        By::Policy => "the policy".to_owned(),
        By::Gate(name) => format!("gate {name}"),
        By::Actor(actor) => actor.name.clone(),
    }
}
