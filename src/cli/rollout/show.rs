//! A rollout in words, for a terminal.

use std::time::{Duration, UNIX_EPOCH};

use crate::control::rollouts::RolloutView;
use crate::rollout::evidence::Evidence;
use crate::telemetry::rfc3339;

use super::super::format::table;
use super::super::numbers::{evidence, grouped, percent, ratio};
use super::progress::taken;

/// How it stands.
pub(super) fn text(view: &RolloutView) -> String {
    let mut text = format!("{}: {} from {} to {}\n", view.id, view.model, view.stable, view.candidate);
    let reason = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
    text.push_str(&format!("  {}{reason}\n", view.phase));
    // The verdict that ended it has said why.
    if view.sentence != view.reason {
        text.push_str(&format!("  verdict {}: {}\n", view.verdict, view.sentence));
    }
    let steps = view.steps.iter().enumerate().map(|(place, step)| match place.cmp(&view.step) {
        std::cmp::Ordering::Less => format!("✓ {step}"),
        std::cmp::Ordering::Equal if view.phase == "Succeeded" => format!("✓ {step}"),
        std::cmp::Ordering::Equal if view.ended => format!("✗ {step}"),
        std::cmp::Ordering::Equal => format!("▸ {step}"),
        _ => format!("· {step}"),
    });
    text.push_str(&format!("  steps   {}\n", steps.collect::<Vec<_>>().join("   ")));
    let versions: Vec<_> =
        view.versions.iter().map(|v| format!("{} {} {}", v.version, v.role.as_str(), v.weight)).collect();
    text.push_str(&format!("  traffic {}\n", versions.join(", ")));
    text.push_str(&format!(
        "  started {} by {}, try {} of {}\n",
        moment(view.started_ms),
        view.by.name,
        view.attempt,
        view.digest
    ));
    if let (Some(ended), Some(taken)) = (view.ended_ms, taken(view)) {
        text.push_str(&format!("  ended   {} after {taken}\n", moment(ended)));
    }
    let rows = checks(&view.evidence);
    if rows.len() > 1 {
        text.push('\n');
        for line in table(&rows).lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// The numbers of each check, below their head.
pub(super) fn checks(seen: &Evidence) -> Vec<Vec<String>> {
    let head = ["check", "says", "worse", "no harm", "candidate", "stable", "ratio (95%)"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for check in &seen.checks {
        let tally = check.figures.whole;
        let arm = |events: u64, requests: u64| match requests {
            0 => "-".to_owned(),
            requests => format!(
                "{} of {} ({})",
                grouped(events),
                grouped(requests),
                percent(events as f64 / requests as f64)
            ),
        };
        let no_harm = check
            .ruled_out
            .map_or("-".to_owned(), |e| format!("{} of {}", evidence(e), evidence(seen.pass_threshold)));
        rows.push(vec![
            check.name.clone(),
            check.verdict.as_str().to_owned(),
            format!("{} of {}", evidence(check.e_value), evidence(check.threshold)),
            no_harm,
            arm(tally.events.candidate, tally.requests.candidate),
            arm(tally.events.stable, tally.requests.stable),
            check.figures.ratio.map_or("-".to_owned(), ratio),
        ]);
    }
    rows
}

/// A moment in milliseconds since 1970 as text.
pub(super) fn moment(millis: u64) -> String {
    // Beyond the year 9999 nobody looks.
    rfc3339(UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_999)))
}

/// Rollouts in a table.
pub(super) fn rows(views: &[RolloutView]) -> Vec<Vec<String>> {
    let head = ["id", "model", "from", "to", "phase", "weight", "started", "by", "why"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for view in views {
        rows.push(vec![
            view.id.clone(),
            view.model.clone(),
            view.stable.clone(),
            view.candidate.clone(),
            view.phase.clone(),
            view.weight.clone(),
            moment(view.started_ms),
            view.by.name.clone(),
            view.reason.clone(),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    #[test]
    fn a_rollout_is_shown_with_its_place_its_traffic_and_its_numbers() {
        let text = text(&view("Running"));
        for part in [
            "fraud-1: fraud from v1 to v2\n",
            "verdict hold: HOLD: evidence 4.2 of 100; most from error-rate",
            "✓ shadow 100%   ▸ setWeight 5%   · bake 24 h",
            "traffic v1 stable 95%, v2 canary 5%",
            "started 1970-01-01T00:00:01.000Z by local, try 1 of sha256:ab",
            "error-rate  inconclusive  4.2 of 200  2.5 of 20  31 of 60 (52%)  12 of 1,140 (1.1%)  -\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let ended = super::text(&view("RolledBack"));
        assert!(ended.contains("ended   1970-01-01T00:01:31.000Z after 90 s"), "{ended}");
        assert!(ended.contains("✓ shadow 100%   ✗ setWeight 5%   · bake 24 h"), "{ended}");
        let done = super::text(&view("Succeeded"));
        assert!(done.contains("✓ shadow 100%   ✓ setWeight 5%   · bake 24 h"), "{done}");
    }
}
