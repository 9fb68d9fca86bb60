//! The evidence while it grows: one line that is drawn again and again on a terminal, and a line at
//! each change where nobody sees it move.
//!
//! Bars are logarithmic, because evidence grows exponentially: half a bar towards 100 is 10.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use crate::control::rollouts::RolloutView;
use crate::rollout::time::Millis;

use super::super::numbers::{evidence, grouped};
use super::super::say;

/// Cells of a bar.
const CELLS: usize = 10;
/// How often a log is told of evidence that grows without anything else happening.
const EVERY: Duration = Duration::from_secs(10);

/// Shows a rollout that is watched, on standard error.
pub(super) struct Progress {
    terminal: bool,
    /// Whether there is a line that the next one is drawn over.
    drawn: bool,
    last: Option<(String, String)>,
    at: Option<Instant>,
}

impl Progress {
    /// For the standard error of this process.
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), drawn: false, last: None, at: None }
    }

    /// Shows how it stands.
    pub(super) fn show(&mut self, view: &RolloutView) {
        let (change, line) = (change(view), line(view));
        let is_change = self.last.as_ref().is_none_or(|(last, _)| *last != change);
        if is_change {
            self.clear();
            say::note(&change);
        }
        if self.terminal && !view.ended {
            // A line that is cut off at the edge is redrawn; one that wraps would leave itself behind.
            say::draw(&format!("\r\u{1b}[?7l{line}\u{1b}[K\u{1b}[?7h"));
            self.drawn = true;
        } else if !self.terminal {
            let grew = self.last.as_ref().is_none_or(|(_, last)| *last != line);
            let due = self.at.is_none_or(|at| at.elapsed() >= EVERY);
            if is_change || (grew && due) {
                say::note(&line);
                self.at = Some(Instant::now());
                self.last = Some((change, line));
            }
            return;
        }
        self.last = Some((change, line));
    }

    /// Says something beside it.
    pub(super) fn note(&mut self, text: &str) {
        self.clear();
        say::note(&text);
    }

    /// Takes the moving line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            say::draw("\r\u{1b}[K");
        }
    }
}

/// What makes a line of its own: everything but the evidence.
fn change(view: &RolloutView) -> String {
    let reason = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
    let place = match view.steps.get(view.step) {
        Some(step) if !view.ended => format!(", step {} of {} ({step})", view.step + 1, view.steps.len()),
        _ => String::new(),
    };
    format!("{} {} → {} {}{place}{reason}", view.id, view.stable, view.candidate, view.phase)
}

/// The evidence in one line.
fn line(view: &RolloutView) -> String {
    let seen = &view.evidence;
    let mut parts = vec![
        format!("  {} at {}", view.candidate, view.weight),
        format!("worse {} of {}", gauge(seen.e_value, seen.threshold), evidence(seen.threshold)),
    ];
    // All checks that have a say must rule the harm out: the slowest of them counts.
    let slowest = seen.checks.iter().filter_map(|check| check.ruled_out).min_by(f64::total_cmp);
    if let Some(slowest) = slowest {
        parts.push(format!(
            "no harm {} of {}",
            gauge(slowest, seen.pass_threshold),
            evidence(seen.pass_threshold)
        ));
    }
    let copies = seen.checks.iter().map(|check| check.figures.step.requests.candidate).max().unwrap_or(0);
    parts.push(match view.steps.get(view.step) {
        Some(step) if step.starts_with("shadow") => format!("{} copies", grouped(copies)),
        _ => format!("{} requests", grouped(seen.step_requests.candidate)),
    });
    if let Some(coverage) = seen.checks.iter().find_map(|check| check.figures.coverage) {
        parts.push(format!("coverage {:.0}%", coverage * 100.0));
    }
    if seen.warming {
        parts.push("warming up".to_owned());
    }
    parts.push(view.verdict.clone());
    parts.join(" · ")
}

/// A bar and the number that it shows: how far `value` is on its way from 1 to `threshold`.
fn gauge(value: f64, threshold: f64) -> String {
    let way = (value.max(1.0).ln() / threshold.max(1.0 + f64::EPSILON).ln()).clamp(0.0, 1.0);
    let full = ((way * CELLS as f64) as usize).min(CELLS);
    format!("{}{} {}", "█".repeat(full), "░".repeat(CELLS.saturating_sub(full)), evidence(value))
}

/// How long the rollout has taken, or took.
pub(super) fn taken(view: &RolloutView) -> Option<Millis> {
    view.ended_ms.map(|ended| Millis(ended.saturating_sub(view.started_ms)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::view;
    use super::*;

    #[test]
    fn a_bar_is_full_at_the_threshold_and_half_full_at_its_root() {
        assert_eq!(gauge(1.0, 100.0), "░░░░░░░░░░ 1");
        assert_eq!(gauge(0.0, 100.0), "░░░░░░░░░░ 0");
        assert_eq!(gauge(10.0, 100.0), "█████░░░░░ 10");
        assert_eq!(gauge(5e9, 100.0), "██████████ 5.0e9");
        // Whatever a sidecar says.
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            for threshold in [f64::NAN, 0.0, 1.0, f64::INFINITY] {
                assert!(gauge(value, threshold).chars().filter(|c| "█░".contains(*c)).count() == CELLS);
            }
        }
    }

    #[test]
    fn the_line_shows_both_kinds_of_evidence_and_what_it_rests_on() {
        let line = line(&view("Running"));
        assert_eq!(
            line,
            "  v2 at 5% · worse ███░░░░░░░ 4.2 of 100 · no harm ███░░░░░░░ 2.5 of 20 · 60 requests · hold"
        );
        let mut shadow = view("Running");
        shadow.step = 0;
        assert!(super::line(&shadow).ends_with(" · 60 copies · hold"));
        assert_eq!(change(&view("Running")), "fraud-1 v1 → v2 Running, step 2 of 3 (setWeight 5%)");
        let mut ended = view("RolledBack");
        ended.reason = "ROLLBACK v2 → v1: errors".to_owned();
        assert_eq!(change(&ended), "fraud-1 v1 → v2 RolledBack: ROLLBACK v2 → v1: errors");
        assert_eq!(taken(&ended), Some(Millis::seconds(90)));
    }
}
