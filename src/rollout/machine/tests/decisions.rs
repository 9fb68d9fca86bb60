//! Each harm is found, and what is no harm is not taken for one.

use super::world::*;
use crate::rollout::checks::Withheld;
use crate::rollout::effect::EventKind;
use crate::rollout::machine::What;
use crate::rollout::policy::{
    CheckSpec, Divergence, Drift, ErrorRate, Latency, LatencyBound, Limit, Metric, OnInconclusive, Profile,
    Rule, Segments, Signal, Step, Threshold,
};
use crate::rollout::record::{Action, Mismatch, verify};
use crate::rollout::state::{PauseReason, Pausing, Phase};
use crate::rollout::time::Millis;
use crate::rollout::verdict::{Cause, Verdict};
use crate::rollout::version::By;
use crate::stats::sequential::Arms;

const INCONCLUSIVE: Phase = Phase::Paused(Pausing { why: PauseReason::Inconclusive, baking: false });

fn cause(world: &World) -> String {
    assert_eq!(world.phase(), &Phase::RolledBack, "{}", world.last_sentence());
    let record = world.records.last().unwrap();
    match &record.verdict {
        Verdict::Rollback(Cause::Check(place)) => record.analysis.checks[usize::from(*place)].name.clone(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_rise_of_errors_is_found_within_a_few_hundred_requests() {
    let mut requests = Vec::new();
    for seed in 0..40 {
        let mut world = World::running(seed, errors_only(ErrorRate::default()));
        world.nature.errors.candidate = 0.05;
        world.until_settled(5_000);
        assert_eq!(cause(&world), "error-rate");
        requests.push(world.records.last().unwrap().evidence.requests.candidate);
    }
    requests.sort_unstable();
    assert!(requests[20] < 260, "{requests:?}");
}

#[test]
fn slowness_is_found() {
    for seed in 0..10 {
        let mut world = World::running(seed, policy());
        // Enough of the stable arm to know what is slow.
        world.ticks(5, Millis::seconds(1), 100);
        world.nature.latency_ms.candidate = 80.0;
        world.until_settled(3_000);
        assert_eq!(cause(&world), "latency");
        assert!(world.last_sentence().contains("above the baseline's p"), "{}", world.last_sentence());
    }
}

#[test]
fn a_slow_tail_is_found() {
    let mut world = World::running(3, policy());
    world.nature.slow.candidate = 0.12;
    world.until_settled(5_000);
    assert_eq!(cause(&world), "latency");
}

#[test]
fn a_deterministic_model_is_judged_by_the_limit() {
    let mut world = World::running(1, shadow_first(policy()));
    world.nature.diverge.candidate = 0.2;
    world.until_settled(3_000);
    assert_eq!(cause(&world), "divergence");
    // What differs less than the limit passes, though the stable version never differs from itself.
    let mut world = World::running(1, shadow_first(policy()));
    world.nature.diverge.candidate = 0.01;
    world.until_settled(3_000);
    assert!(world.rollout().step > 0, "{}", world.last_sentence());
}

#[test]
fn a_noisy_model_is_judged_by_what_is_beyond_its_noise() {
    let mut world = World::running(2, shadow_first(policy()));
    world.nature.diverge = Arms::new(0.3, 0.3);
    world.until_settled(3_000);
    assert!(world.rollout().step > 0, "noise alone is no harm: {}", world.last_sentence());
    let mut world = World::running(2, shadow_first(policy()));
    world.nature.diverge = Arms::new(0.3, 0.6);
    world.until_settled(3_000);
    assert_eq!(cause(&world), "divergence");
}

#[test]
fn a_lost_pair_never_looks_like_agreement() {
    let mut world = World::running(3, shadow_first(policy()));
    world.nature.lost = Arms::new(0.2, 0.2);
    world.until_settled(5_000);
    assert_eq!(world.phase(), &INCONCLUSIVE);
    assert!(world.last_sentence().contains("coverage"), "{}", world.last_sentence());
}

#[test]
fn copies_back_to_stable_that_get_lost_are_no_evidence_against_the_candidate() {
    let mut policy = shadow_first(policy());
    for check in &mut policy.analysis.checks {
        if let Rule::Divergence(rule) = &mut check.rule {
            *rule = Divergence { max: None, ..rule.clone() };
        }
    }
    let mut world = World::running(4, policy);
    world.nature.diverge = Arms::new(0.1, 0.1);
    world.nature.lost = Arms::new(0.6, 0.0);
    world.until_settled(5_000);
    assert_eq!(world.phase(), &INCONCLUSIVE, "{}", world.last_sentence());
    let record = world.records.last().unwrap();
    let parts = &record.evidence.checks.last().unwrap().parts;
    assert_eq!(parts[0].withheld, Some(Withheld::LostControls));
}

#[test]
fn harm_to_one_segment_is_found_and_named() {
    let mut policy = errors_only(ErrorRate::default());
    policy.analysis.segments = Some(Segments { by: vec!["region".to_owned()], max: 10 });
    let mut world = World::running(5, policy);
    world.nature.segments = 10;
    world.nature.only_segment = Some(7);
    world.nature.errors.candidate = 0.2;
    world.until_settled(5_000);
    assert_eq!(cause(&world), "error-rate");
    let record = world.records.last().unwrap();
    let named = &record.evidence.checks[0].figures.segments;
    let names: Vec<_> = named.iter().map(|place| record.segments[usize::from(*place)].as_str()).collect();
    assert_eq!(names, ["region=7"]);
}

#[test]
fn harm_that_begins_late_is_found() {
    let mut policy = errors_only(ErrorRate::default());
    if let Some(Step::SetWeight(step)) = policy.steps.first_mut() {
        step.advance.min_duration = Millis::hours(2);
        step.advance.max_duration = None;
    }
    let mut world = World::running(6, policy);
    world.ticks(600, Millis::seconds(10), 300);
    assert_eq!(world.phase(), &Phase::Running);
    world.nature.errors.candidate = 0.05;
    world.ticks(100, Millis::seconds(10), 300);
    assert_eq!(cause(&world), "error-rate");
    assert!(world.last_sentence().contains("lately"), "{}", world.last_sentence());
}

#[test]
fn no_traffic_is_inconclusive() {
    let mut world = World::running(7, policy());
    world.ticks(59, Millis::minutes(1), 0);
    assert_eq!(world.phase(), &Phase::Running);
    world.ticks(2, Millis::minutes(1), 0);
    assert_eq!(world.phase(), &INCONCLUSIVE);
    assert!(
        world.last_sentence().starts_with("INCONCLUSIVE after 60 min: 0 canary requests"),
        "{}",
        world.last_sentence()
    );
    assert_eq!(world.records.last().unwrap().by, By::Policy);
}

#[test]
fn twenty_requests_with_one_error_are_inconclusive() {
    let mut world = World::running(8, policy());
    let live = world.live.clone().unwrap();
    let trial = world.counts.trials.iter_mut().find(|trial| trial.trial == live.trial).unwrap();
    trial.arms.candidate.requests = 20;
    trial.arms.candidate.assigned = 20;
    trial.arms.candidate.errors = 1;
    trial.arms.stable.requests = 180;
    trial.arms.stable.assigned = 180;
    world.ticks(62, Millis::minutes(1), 0);
    assert_eq!(world.phase(), &INCONCLUSIVE);
}

#[test]
fn an_inconclusive_step_does_what_the_policy_says() {
    for (what, phase, action) in [
        (OnInconclusive::Rollback, "RolledBack", Action::Rollback),
        (OnInconclusive::Advance, "Running", Action::Advance),
    ] {
        let mut policy = policy();
        if let Some(Step::SetWeight(step)) = policy.steps.first_mut() {
            step.advance.max_requests = Some(20);
            step.advance.on_inconclusive = what;
        }
        let mut world = World::running(9, policy);
        world.ticks(12, Millis::seconds(1), 30);
        assert_eq!(world.phase().as_str(), phase);
        assert_eq!(world.records.last().unwrap().action, action);
        assert_eq!(world.records.last().unwrap().by, By::Policy);
    }
}

#[test]
fn an_inconclusive_step_that_is_resumed_keeps_its_evidence() {
    let mut policy = policy();
    if let Some(Step::SetWeight(step)) = policy.steps.first_mut() {
        step.advance.max_requests = Some(40);
    }
    let mut world = World::running(10, policy);
    for _ in 0..60 {
        world.until_settled(1_000);
        if world.rollout().step > 0 || world.phase() != &INCONCLUSIVE {
            break;
        }
        world.command(What::Resume).unwrap();
    }
    assert!(world.rollout().step > 0, "{}", world.last_sentence());
}

#[test]
fn a_shared_incident_holds_and_is_told_once() {
    let mut policy = errors_only(ErrorRate { relative: None, absolute: Some(Limit { max: 0.05 }) });
    policy.analysis.circuit_breaker = None;
    let mut world = World::running(11, policy);
    world.ticks(5, Millis::seconds(1), 100);
    world.nature.errors = Arms::new(0.4, 0.4);
    world.ticks(200, Millis::seconds(1), 100);
    assert_eq!(world.phase(), &Phase::Running, "{}", world.last_sentence());
    let incidents = world.alerts.iter().filter(|alert| alert.kind == EventKind::Incident).count();
    assert_eq!(incidents, 1);
    assert!(world.last_sentence().contains("on canary AND baseline"), "{}", world.last_sentence());
    world.nature.errors = Arms::new(0.01, 0.01);
    world.ticks(3_000, Millis::seconds(1), 100);
    assert_ne!(world.phase(), &Phase::RolledBack, "the incident's evidence strikes afterwards");
}

#[test]
fn drift_is_told_when_it_begins_and_when_no_feature_is_beyond_a_level_any_more() {
    let profile = |feature: &str| Profile { feature: feature.to_owned(), shares: vec![0.5, 0.5] };
    let drift = |feature| Drift { profiles: vec![profile(feature)], warn: 0.1, alert: 5.0 };
    let mut policy = errors_only(ErrorRate::default());
    for feature in ["age", "income"] {
        policy.analysis.checks.push(CheckSpec::new(feature, 0.0, Rule::Drift(drift(feature))));
    }
    let mut world = World::running(21, policy);
    let mut seen = |age: [u64; 2], income: [u64; 2]| {
        let counts = world.counts.trials.last_mut().unwrap();
        counts.inputs.insert("age".to_owned(), age.to_vec());
        counts.inputs.insert("income".to_owned(), income.to_vec());
        world.tick(Millis::seconds(1), 10);
        let ends = world.events.iter().filter(|event| event.kind == EventKind::DriftEnded).count();
        (world.alerts.len(), ends)
    };
    assert_eq!(seen([600, 0], [600, 0]), (2, 0));
    assert_eq!(seen([700, 0], [700, 0]), (2, 0), "told once");
    assert_eq!(seen([90_000, 90_000], [800, 0]), (2, 0), "one of two is not enough");
    assert_eq!(seen([90_000, 90_000], [90_000, 90_000]), (2, 1));
    assert_eq!(seen([95_000, 95_000], [120_000, 120_000]), (2, 1), "told once");
    assert_eq!(seen([95_000, 95_000], [900_000, 120_000]), (3, 1), "and again when it comes back");
    assert!(world.events.last().unwrap().sentence.starts_with("DRIFT ENDED"));
}

#[test]
fn a_limit_that_only_the_candidate_breaks_rolls_back() {
    let mut world =
        World::running(12, errors_only(ErrorRate { relative: None, absolute: Some(Limit { max: 0.05 }) }));
    world.nature.errors.candidate = 0.2;
    world.until_settled(2_000);
    assert_eq!(cause(&world), "error-rate");
    let mut policy = policy();
    policy.analysis.checks.truncate(1);
    policy.analysis.checks[0].rule = Rule::Latency(Latency {
        quantiles: Vec::new(),
        absolute: Some(LatencyBound { quantile: 0.9, max_nanos: 100_000_000 }),
        ..Latency::default()
    });
    let mut world = World::running(12, policy);
    world.nature.latency_ms.candidate = 200.0;
    world.until_settled(2_000);
    assert_eq!(cause(&world), "error-rate", "the check's name");
    assert!(world.last_sentence().contains("above the limit"), "{}", world.last_sentence());
}

#[test]
fn a_candidate_that_always_fails_is_stopped_within_a_handful_of_requests() {
    let mut world = World::running(13, policy());
    world.nature.errors.candidate = 1.0;
    for _ in 0..1_000 {
        if world.phase().is_terminal() {
            break;
        }
        world.tick(Millis(20), 2);
    }
    assert_eq!(world.phase(), &Phase::RolledBack);
    let requests = world.records.last().unwrap().evidence.requests.candidate;
    assert!(requests <= 12, "{requests}");
}

#[test]
fn the_circuit_breaker_watches_during_the_warm_up() {
    let mut policy = policy();
    policy.analysis.warmup.requests = 1_000_000;
    let mut world = World::running(14, policy);
    world.nature.errors.candidate = 1.0;
    world.until_settled(100);
    assert_eq!(cause(&world), "Rollback(CircuitBreaker)");
    assert!(world.records.last().unwrap().evidence.warming);
}

#[test]
fn both_arms_failing_does_not_open_the_circuit_breaker() {
    let mut world = World::running(15, policy());
    world.nature.errors = Arms::new(1.0, 1.0);
    world.ticks(50, Millis::seconds(1), 100);
    assert_eq!(world.phase(), &Phase::Running);
    assert_eq!(world.alerts.len(), 1);
}

#[test]
fn a_plain_threshold_does_what_everybody_expects() {
    let mut policy = policy();
    policy.analysis.checks.clear();
    policy.analysis.thresholds = vec![Threshold {
        name: "p90".to_owned(),
        metric: Metric::Quantile { signal: Signal::Latency, quantile: 0.9 },
        max: Some(0.1),
        min: None,
        window: Millis::minutes(1),
        min_requests: 50,
    }];
    let mut world = World::running(16, policy.clone());
    world.until_settled(20_000);
    assert_eq!(world.phase(), &Phase::Succeeded);
    let mut world = World::running(16, policy);
    world.nature.slow.candidate = 0.3;
    world.until_settled(100);
    assert_eq!(cause(&world), "Rollback(Threshold(0))");
    assert!(world.last_sentence().contains("threshold p90 broken"), "{}", world.last_sentence());
}

#[test]
fn broken_randomisation_stops_all_decisions_and_says_so() {
    let mut world = World::running(17, policy());
    world.nature.skew = 0.5;
    world.until_settled(5_000);
    let paused = Phase::Paused(Pausing { why: PauseReason::BrokenRandomisation, baking: false });
    assert_eq!(world.phase(), &paused);
    assert_eq!(world.alerts.len(), 1);
    world.nature.errors.candidate = 0.2;
    world.ticks(100, Millis::seconds(1), 100);
    assert_eq!(world.phase(), &paused);
    assert!(world.last_sentence().contains("do not fall on the versions as drawn"));
}

#[test]
fn a_record_that_was_touched_is_found_out() {
    let mut world = World::running(18, policy());
    world.nature.errors.candidate = 0.1;
    world.until_settled(5_000);
    let record = world.records.last().unwrap();
    assert!(verify(record).is_ok());
    let mut touched = record.clone();
    touched.evidence.checks[0].e_value *= 1.000_000_000_000_001;
    assert!(matches!(verify(&touched), Err(Mismatch::Evidence { .. })));
    let mut touched = record.clone();
    touched.entries.pop();
    assert!(verify(&touched).is_err());
    let mut touched = record.clone();
    touched.verdict = Verdict::Advance;
    assert!(matches!(verify(&touched), Err(Mismatch::Verdict { .. })));
    let mut touched = record.clone();
    touched.action = Action::Advance;
    assert!(matches!(verify(&touched), Err(Mismatch::Action { .. })));
    let mut touched = record.clone();
    touched.evidence.grids = "0".to_owned();
    assert!(matches!(verify(&touched), Err(Mismatch::Format { .. })));
}
