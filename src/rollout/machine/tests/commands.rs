//! What people ask for, and what is refused.

use super::world::*;
use crate::rollout::machine::{Command, Input, Refusal, What};
use crate::rollout::policy::{Policy, Step};
use crate::rollout::record::Action;
use crate::rollout::state::{ModelState, Phase};
use crate::rollout::time::Millis;
use crate::rollout::version::Actor;

fn rolled_back(seed: u64) -> World {
    let mut world = World::running(seed, policy());
    world.nature.errors.candidate = 0.4;
    world.until_settled(1_000);
    assert_eq!(world.phase(), &Phase::RolledBack);
    world.nature.errors.candidate = 0.01;
    world
}

#[test]
fn a_latched_candidate_is_refused_until_it_is_cleared() {
    let mut world = rolled_back(1);
    let again = || start("r2", "v2", policy());
    assert!(matches!(world.start(again()), Err(Refusal::Latched { .. })));
    assert!(matches!(world.command(What::Retry { id: "r2".to_owned() }), Err(Refusal::Latched { .. })));
    let mut renamed = again();
    renamed.candidate.name = version("v9").name;
    assert!(matches!(world.start(renamed), Err(Refusal::Latched { .. })), "the digest counts, not the name");
    assert!(matches!(
        world.command(What::Clear { digest: "sha256:v7".to_owned() }),
        Err(Refusal::NotLatched { .. })
    ));
    world.log.clear();
    world.command(What::Clear { digest: "sha256:v2".to_owned() }).unwrap();
    assert_eq!(world.log, ["Persist", "Unlatch", "Notify"]);
    world.start(again()).unwrap();
    assert_eq!(world.rollout().attempt, 2);
}

#[test]
fn a_refusal_changes_nothing() {
    let mut world = World::running(2, policy());
    world.ticks(3, Millis::seconds(1), 100);
    let before: ModelState = world.state.clone();
    let mut bad = start("r2", "v3", policy());
    bad.supersede = true;
    bad.policy.analysis.alpha = 2.0;
    assert!(matches!(world.start(bad), Err(Refusal::Policy(_))));
    assert!(matches!(world.start(start("r2", "v3", policy())), Err(Refusal::Conflict { .. })));
    assert!(matches!(world.start(start("r1", "v2", policy())), Err(Refusal::SameId { .. })));
    assert!(matches!(world.command(What::Resume), Err(Refusal::NotNow { .. })));
    assert!(matches!(world.command(What::Retry { id: "x".to_owned() }), Err(Refusal::NotNow { .. })));
    assert_eq!(world.state, before);
    let mut idle = World::new(2);
    assert!(matches!(idle.command(What::Abort), Err(Refusal::NothingRunning)));
    assert!(matches!(idle.start(start("r1", "v1", policy())), Err(Refusal::SameVersion { .. })));
}

#[test]
fn another_rollout_takes_the_place_of_one_that_runs_only_if_asked_to() {
    let mut world = World::running(3, policy());
    world.ticks(3, Millis::seconds(1), 100);
    let mut next = start("r2", "v3", policy());
    next.supersede = true;
    world.log.clear();
    world.start(next).unwrap();
    assert_eq!(world.log[..5], ["SetLive", "Archive", "Decide", "Persist", "Decide"], "in one write");
    let superseded = world.records.iter().find(|record| record.action == Action::Supersede).unwrap();
    assert_eq!(superseded.rollout, "r1");
    assert_eq!(world.rollout().id, "r2");
    assert_eq!(world.candidate_weight(), weight("10%"));
    let live = world.live.clone().unwrap();
    assert!(live.versions.iter().all(|v| v.version.as_str() != "v2"));
}

#[test]
fn a_command_with_a_key_is_carried_out_once() {
    let mut world = World::running(4, policy());
    let promote = || {
        let by = Actor { name: "ci".to_owned(), key: Some("k1".to_owned()) };
        Input::Command(Command { what: What::Promote { full: false }, by })
    };
    world.handle(promote()).unwrap();
    assert_eq!(world.rollout().step, 1);
    world.handle(promote()).unwrap();
    world.crash();
    world.handle(promote()).unwrap();
    assert_eq!(world.rollout().step, 1);
}

#[test]
fn promotion_by_hand_skips_steps_and_a_full_one_all_of_them() {
    let mut world = World::running(5, policy());
    world.command(What::Promote { full: false }).unwrap();
    assert_eq!(world.candidate_weight(), weight("50%"));
    let mut world = World::running(5, policy());
    world.command(What::Promote { full: true }).unwrap();
    assert_eq!(world.phase(), &Phase::Baking);
    let mut policy: Policy = policy();
    policy.steps.retain(|step| !matches!(step, Step::Bake(_)));
    let mut world = World::running(5, policy);
    world.command(What::Promote { full: true }).unwrap();
    assert_eq!(world.phase(), &Phase::Succeeded);
}

#[test]
fn an_abort_takes_traffic_back_first_and_latches_nothing() {
    let mut world = World::running(6, policy());
    world.log.clear();
    world.command(What::Abort).unwrap();
    assert_eq!(world.log, ["SetLive", "Persist", "Decide", "Notify"]);
    assert_eq!(world.candidate_weight(), weight("0%"));
    world.command(What::Retry { id: "r2".to_owned() }).unwrap();
    assert_eq!(world.phase(), &Phase::Running);
}

#[test]
fn a_pause_stops_the_clock_of_its_step() {
    let mut policy = policy();
    if let Some(Step::SetWeight(step)) = policy.steps.first_mut() {
        step.advance.min_duration = Millis::minutes(30);
    }
    let mut world = World::running(7, policy);
    world.ticks(10, Millis::minutes(1), 300);
    world.command(What::Pause).unwrap();
    world.ticks(10, Millis::hours(1), 300);
    world.command(What::Resume).unwrap();
    world.ticks(19, Millis::minutes(1), 300);
    assert_eq!(world.rollout().step, 0);
    world.ticks(2, Millis::minutes(1), 300);
    assert_eq!(world.rollout().step, 1);
}
