//! A good candidate's way, and what each turn asks for.

use super::world::*;
use crate::base::Role;
use crate::rollout::effect::{Effect, EventKind};
use crate::rollout::machine::{Input, What};
use crate::rollout::policy::{Pause, Step};
use crate::rollout::record::Action;
use crate::rollout::state::{PauseReason, Pausing, Phase};
use crate::rollout::time::Millis;
use crate::rollout::verdict::Verdict;

#[test]
fn a_good_candidate_goes_through_all_steps_and_becomes_stable() {
    let mut world = World::running(1, shadow_first(policy()));
    assert!(world.live.as_ref().unwrap().mirror.is_some());
    let mut weights = Vec::new();
    for _ in 0..5_000 {
        world.tick(Millis::seconds(1), 100);
        let weight = world.candidate_weight();
        if weights.last() != Some(&weight) {
            weights.push(weight);
        }
        if world.phase().is_terminal() {
            break;
        }
    }
    assert_eq!(world.phase(), &Phase::Succeeded, "{}", world.last_sentence());
    assert_eq!(weights, ["0%", "10%", "50%", "90%", "100%"].map(weight));
    assert_eq!(world.state.stable, version("v2"));
    let actions: Vec<_> = world.records.iter().map(|record| record.action).collect();
    use Action::{Advance, Promote, Start, Succeed};
    assert_eq!(actions, [Start, Advance, Advance, Advance, Promote, Succeed]);
    let numbers: Vec<_> = world.records.iter().map(|record| record.number).collect();
    assert_eq!(numbers, (0..6).collect::<Vec<_>>());
    let live = world.live.as_ref().unwrap();
    assert_eq!(live.versions[0].role, Role::Retired);
    assert_eq!(live.versions[1].role, Role::Stable);
    assert!(
        world.records[2]
            .sentence
            .starts_with("ADVANCE shadow → 10%: divergence 3× the noise and above 5 % ruled out (evidence "),
        "{}",
        world.records[2].sentence
    );
    assert!(
        world.records[3]
            .sentence
            .starts_with("ADVANCE 10% → 50%: error-rate 4× or worse, from 0.5 % on, ruled out (evidence "),
        "{}",
        world.records[3].sentence
    );
    // The next rollout begins from there.
    world.start(start("r2", "v3", policy())).unwrap();
    assert_eq!(world.rollout().stable, version("v2"));
}

#[test]
fn records_make_one_chain() {
    let mut world = World::running(2, policy());
    world.until_settled(5_000);
    for pair in world.records.windows(2) {
        let mut end = pair[0].base.clone();
        pair[0].entries.iter().for_each(|entry| entry.apply(&mut end, &pair[0].analysis));
        assert_eq!(end, pair[1].base, "the next record begins where this one ended");
    }
}

#[test]
fn a_way_forward_is_kept_and_written_down_before_traffic_moves() {
    let mut world = World::running(3, policy());
    world.log.clear();
    while world.rollout().step == 0 {
        world.log.clear();
        world.tick(Millis::seconds(1), 100);
    }
    assert_eq!(world.log, ["Persist", "Decide", "SetLive", "Notify"]);
}

#[test]
fn a_rollback_moves_traffic_in_its_own_turn_and_writes_afterwards() {
    let mut world = World::running(4, policy());
    world.nature.errors.candidate = 0.3;
    let mut turns = Vec::new();
    while !world.phase().is_terminal() {
        world.now = world.now.plus(Millis(20));
        let mut copy = world.clone();
        copy.tick(Millis(20), 20);
        let counts = copy.counts.clone();
        let effects = world.state.handle(Input::Observed(counts.clone()), copy.now).unwrap();
        world.counts = counts;
        world.rng = copy.rng;
        let rolling = matches!(world.phase(), Phase::RollingBack(_)) || world.phase() == &Phase::RolledBack;
        if rolling {
            turns.push(
                effects
                    .iter()
                    .map(|e| format!("{e:?}").split(['(', ' ']).next().unwrap().to_owned())
                    .collect::<Vec<_>>(),
            );
        }
        effects.into_iter().for_each(|effect| world.carry_out(effect));
    }
    assert_eq!(turns[0], ["SetLive"]);
    assert_eq!(turns[1], ["Persist", "Decide", "Notify", "Latch"]);
    assert!(world.state.latches.contains_key("sha256:v2"));
    assert!(matches!(world.records.last().unwrap().verdict, Verdict::Rollback(_)));
    let sentence = world.last_sentence();
    assert!(sentence.starts_with("ROLLBACK v2 → v1 at canary request "), "{sentence}");
    assert!(
        sentence.contains("circuit breaker") || sentence.contains("at most 1 of 100 rollouts"),
        "{sentence}"
    );
}

#[test]
fn pauses_end_by_time_or_by_hand() {
    let mut policy = policy();
    policy.steps.insert(1, Step::Pause(Pause { duration: Some(Millis::minutes(5)) }));
    policy.steps.insert(2, Step::Pause(Pause { duration: None }));
    let mut world = World::running(5, policy);
    while world.rollout().step == 0 {
        world.tick(Millis::seconds(1), 100);
    }
    assert_eq!(world.phase(), &Phase::Paused(Pausing { why: PauseReason::Step, baking: false }));
    world.ticks(299, Millis::seconds(1), 10);
    assert_eq!(world.rollout().step, 1);
    world.tick(Millis::seconds(2), 10);
    assert_eq!(world.phase(), &Phase::WaitingForPromotion);
    world.ticks(100, Millis::minutes(10), 10);
    assert_eq!(world.phase(), &Phase::WaitingForPromotion);
    assert_eq!(world.candidate_weight(), weight("10%"));
    world.command(What::Promote { full: false }).unwrap();
    assert_eq!(world.candidate_weight(), weight("50%"));
}

#[test]
fn harm_is_found_while_the_rollout_is_paused() {
    let mut world = World::running(6, policy());
    world.command(What::Pause).unwrap();
    world.nature.errors.candidate = 0.2;
    world.ticks(600, Millis::seconds(1), 100);
    assert_eq!(world.phase(), &Phase::RolledBack);
}

#[test]
fn evidence_is_kept_every_few_seconds_and_not_at_every_look() {
    let mut world = World::running(7, policy());
    world.log.clear();
    world.ticks(100, Millis(100), 5);
    let kept = world.log.iter().filter(|name| *name == "Persist").count();
    assert_eq!(kept, 2, "{:?}", world.log);
}

#[test]
fn a_clock_that_is_set_back_stops_time_and_nothing_else() {
    let mut world = World::running(8, policy());
    world.ticks(5, Millis::seconds(1), 100);
    let before = world.now;
    world.now = crate::rollout::time::Timestamp(5);
    world.ticks(20, Millis::seconds(1), 100);
    assert!(world.state.clock >= before);
    world.now = before;
    world.until_settled(5_000);
    assert_eq!(world.phase(), &Phase::Succeeded);
}

#[test]
fn a_state_that_is_read_back_midway_goes_on_identically() {
    let mut world = World::running(9, shadow_first(policy()));
    world.nature.diverge = Arms::new(0.01, 0.012);
    let mut other = world.clone();
    for n in 0..1_500 {
        world.tick(Millis::seconds(1), 60);
        if n % 7 == 0 {
            let text = serde_json::to_string(&other.state).unwrap();
            other.state = serde_json::from_str(&text).unwrap();
        }
        other.tick(Millis::seconds(1), 60);
        let plain = |state: &crate::rollout::state::ModelState| serde_json::to_string(state).unwrap();
        assert_eq!(plain(&world.state), plain(&other.state), "tick {n}");
        assert_eq!(world.log, other.log);
    }
    assert!(world.records.len() > 3);
    let verdicts = |world: &World| {
        world.records.iter().map(|r| (r.evidence.clone(), r.sentence.clone())).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&world), verdicts(&other));
}

#[test]
fn effects_survive_json() {
    let mut world = World::new(10);
    let effects = world.state.handle(Input::Start(Box::new(start("r", "v2", policy()))), world.now).unwrap();
    for effect in effects {
        let read: Effect = serde_json::from_str(&serde_json::to_string(&effect).unwrap()).unwrap();
        assert_eq!(read, effect);
    }
    assert!(world.kinds().iter().all(|kind| *kind == EventKind::Started));
}

use crate::stats::sequential::Arms;
