//! The part of the metrics page about rollouts: how each model's latest one stands, the evidence
//! beside its thresholds, how fast decisions are carried out, and how the store is doing.

use super::document::Document;
use crate::base::Weight;
use crate::control::rollouts::{ModelView, RolloutView, Rollouts, Views};
use crate::rollout::evidence::{CheckState, CheckVerdict};
use crate::telemetry::catalog::{self, Metric};

/// Every phase, as [`RolloutView::phase`] says it.
const PHASES: [&str; 11] = [
    "Pending",
    "Running",
    "Confirming",
    "Paused",
    "WaitingForPromotion",
    "Baking",
    "RollingBack",
    "Succeeded",
    "RolledBack",
    "Aborted",
    "Superseded",
];

/// Every verdict, as [`RolloutView::verdict`] says it.
const VERDICTS: [&str; 6] =
    ["hold", "advance", "rollback", "incident", "inconclusive", "brokenRandomisation"];

/// Every verdict of a check.
const CHECK_VERDICTS: [CheckVerdict; 4] =
    [CheckVerdict::Pass, CheckVerdict::Fail, CheckVerdict::Inconclusive, CheckVerdict::Incident];

type OfModel = fn(&ModelView) -> f64;
type OfRollout = fn(&RolloutView) -> f64;
type OfCheck = fn(&CheckState) -> Option<f64>;

/// Writes that part.
pub(super) fn write(page: &mut Document, rollouts: &Rollouts) {
    let views = rollouts.views();
    standing(page, &views);
    evidence(page, &views);
    pace(page, rollouts);
    store(page, rollouts);
}

fn each(views: &Views) -> impl Iterator<Item = (&str, &RolloutView)> {
    views.iter().filter_map(|(name, view)| Some((name.as_str(), view.rollout.as_ref()?)))
}

fn standing(page: &mut Document, views: &Views) {
    let mut phases = page.family(&catalog::ROLLOUT_PHASE);
    for (model, rollout) in each(views) {
        for phase in PHASES {
            phases.sample(&[model, phase], u8::from(rollout.phase == phase));
        }
    }
    let numbers: [(&Metric, OfRollout); 4] = [
        (&catalog::ROLLOUT_STEP, |r| r.step as f64),
        (&catalog::ROLLOUT_STEPS, |r| r.steps.len() as f64),
        (&catalog::ROLLOUT_WEIGHT, |r| r.weight.parse::<Weight>().unwrap_or_default().fraction()),
        (&catalog::ROLLOUT_ATTEMPT, |r| f64::from(r.attempt)),
    ];
    of_rollouts(page, views, &numbers);
    let mut verdicts = page.family(&catalog::ROLLOUT_VERDICT);
    for (model, rollout) in each(views) {
        for verdict in VERDICTS {
            verdicts.sample(&[model, verdict], u8::from(rollout.verdict == verdict));
        }
    }
    let numbers: [(&Metric, OfModel); 2] = [
        (&catalog::ROLLOUT_DIFFERENCES, |view| view.differences.len() as f64),
        (&catalog::LATCHED, |view| view.latches.len() as f64),
    ];
    for (metric, number) in numbers {
        let mut family = page.family(metric);
        for (model, view) in views {
            family.sample(&[model], number(view));
        }
    }
}

fn evidence(page: &mut Document, views: &Views) {
    let numbers: [(&Metric, OfRollout); 3] = [
        (&catalog::ROLLOUT_EVIDENCE, |r| r.evidence.e_value),
        (&catalog::ROLLOUT_THRESHOLD, |r| r.evidence.threshold),
        (&catalog::ROLLOUT_PASS_THRESHOLD, |r| r.evidence.pass_threshold),
    ];
    of_rollouts(page, views, &numbers);
    let checks = || each(views).flat_map(|(model, r)| r.evidence.checks.iter().map(move |c| (model, c)));
    let numbers: [(&Metric, OfCheck); 3] = [
        (&catalog::CHECK_EVIDENCE, |check| Some(check.e_value)),
        (&catalog::CHECK_THRESHOLD, |check| Some(check.threshold)),
        (&catalog::CHECK_PASS_EVIDENCE, |check| check.ruled_out),
    ];
    for (metric, number) in numbers {
        let mut family = page.family(metric);
        for (model, check) in checks() {
            if let Some(number) = number(check) {
                family.sample(&[model, &check.name], number);
            }
        }
    }
    let mut verdicts = page.family(&catalog::CHECK_VERDICT);
    for (model, check) in checks() {
        for verdict in CHECK_VERDICTS {
            verdicts.sample(&[model, &check.name, verdict.as_str()], u8::from(check.verdict == verdict));
        }
    }
}

fn of_rollouts(page: &mut Document, views: &Views, numbers: &[(&Metric, OfRollout)]) {
    for (metric, number) in numbers {
        let mut family = page.family(metric);
        for (model, rollout) in each(views) {
            family.sample(&[model], number(rollout));
        }
    }
}

fn pace(page: &mut Document, rollouts: &Rollouts) {
    let pace = rollouts.pace();
    let mut decisions = page.family(&catalog::DECISIONS);
    for (action, count) in pace.decisions() {
        decisions.sample(&[action.as_str()], count);
    }
    page.family(&catalog::DECISION_DURATION).histogram(&[], &pace.decision());
    page.family(&catalog::SWAP_DURATION).histogram(&[], &pace.swap());
}

fn store(page: &mut Document, rollouts: &Rollouts) {
    let store = rollouts.store();
    let health = &store.health;
    let well = store.refused.is_none() && health.last_error.is_none();
    page.single(&catalog::STORE_WELL, u8::from(well));
    page.single(&catalog::STORE_DURABLE, u8::from(health.path.is_some()));
    page.single(&catalog::STORE_FAILURES, health.failures);
    page.single(&catalog::STORE_LOST, store.lost);
    let mut size = page.family(&catalog::STORE_SIZE);
    size.sample(&["file"], health.file_bytes);
    size.sample(&["log"], health.wal_bytes);
    page.single(&catalog::NOTICES_WAITING, health.outbox.notices);
    page.single(&catalog::NOTICES_REFUSED, health.notices_refused);
    let mut notified = page.family(&catalog::NOTIFICATIONS);
    for (name, sink) in rollouts.told().sinks().iter() {
        let counts = [
            ("sent", sink.sent()),
            ("retried", sink.retried()),
            ("failed", sink.failed()),
            ("dropped", sink.dropped()),
        ];
        for (result, count) in counts {
            notified.sample(&[name, result], count);
        }
    }
    page.single(&catalog::NOTICES_DISCARDED, rollouts.told().discarded());
}
