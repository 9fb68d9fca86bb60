//! Gates: who is asked, what the answers mean, and answers that come late.

use super::world::*;
use crate::rollout::effect::EventKind;
use crate::rollout::machine::{GateAnswer, Input, What};
use crate::rollout::policy::{Gate, GateKind, Policy};
use crate::rollout::record::Action;
use crate::rollout::state::Phase;
use crate::rollout::time::Millis;
use crate::rollout::version::By;

fn gated(gates: &[(&str, GateKind)]) -> Policy {
    let mut policy = policy();
    policy.gates = gates.iter().map(|(name, kind)| Gate::new(name, *kind)).collect();
    policy
}

#[test]
fn the_candidate_gets_nothing_before_all_first_gates_are_open() {
    let policy = gated(&[
        ("golden", GateKind::Golden),
        ("smoke", GateKind::PreRollout),
        ("boss", GateKind::ConfirmRollout),
    ]);
    let mut world = World::new(1);
    world.silent = ["golden", "smoke", "boss", "load"].map(str::to_owned).to_vec();
    world.start(start("r1", "v2", policy)).unwrap();
    for (run, name) in [(1, "boss"), (2, "load"), (3, "smoke"), (4, "golden")] {
        world.tick(Millis::seconds(1), 100);
        assert!(matches!(world.phase(), Phase::Pending(_)), "before {name}");
        assert_eq!(world.candidate_weight(), weight("0%"));
        world.handle(Input::Gate(GateAnswer { run, passed: true, detail: String::new() })).unwrap();
    }
    assert_eq!(world.phase(), &Phase::Running);
    assert_eq!(world.candidate_weight(), weight("10%"));
    assert_eq!(world.records.last().unwrap().by, By::Gate("golden".to_owned()));
}

#[test]
fn a_confirmation_that_says_no_is_asked_again_and_told_once() {
    let mut world = World::new(2);
    world.closed.push("boss".to_owned());
    world.start(start("r1", "v2", gated(&[("boss", GateKind::ConfirmRollout)]))).unwrap();
    world.ticks(60, Millis::seconds(1), 0);
    assert!(matches!(world.phase(), Phase::Pending(_)));
    let asked = world.log.iter().filter(|name| *name == "RunGate").count();
    assert_eq!(asked, 7, "at once and every 10 s");
    assert_eq!(world.kinds(), [EventKind::Started, EventKind::GateClosed]);
    world.closed.clear();
    world.ticks(11, Millis::seconds(1), 0);
    assert_eq!(world.phase(), &Phase::Running);
}

#[test]
fn a_candidate_that_fails_its_examples_never_gets_traffic_and_is_latched() {
    for kind in [GateKind::Golden, GateKind::PreRollout] {
        let mut world = World::new(3);
        world.closed.push("check".to_owned());
        world.start(start("r1", "v2", gated(&[("check", kind)]))).unwrap();
        assert_eq!(world.phase(), &Phase::RolledBack);
        assert!(world.state.latches.contains_key("sha256:v2"));
        assert!(world.last_sentence().contains("said no"), "{}", world.last_sentence());
    }
}

#[test]
fn a_candidate_that_does_not_load_ends_the_rollout_without_a_latch() {
    let mut world = World::new(4);
    world.closed.push("load".to_owned());
    world.start(start("r1", "v2", policy())).unwrap();
    assert_eq!(world.phase(), &Phase::Aborted);
    assert!(world.state.latches.is_empty());
    world.closed.clear();
    world.command(What::Retry { id: "r2".to_owned() }).unwrap();
    assert_eq!(world.phase(), &Phase::Running);
    assert_eq!(world.rollout().attempt, 2);
}

#[test]
fn a_gate_that_never_answers_counts_as_a_no() {
    let mut world = World::new(5);
    world.silent.push("golden".to_owned());
    world.start(start("r1", "v2", gated(&[("golden", GateKind::Golden)]))).unwrap();
    world.ticks(34, Millis::seconds(1), 0);
    assert!(matches!(world.phase(), Phase::Pending(_)));
    world.ticks(3, Millis::seconds(1), 0);
    assert_eq!(world.phase(), &Phase::RolledBack);
    world.handle(Input::Gate(GateAnswer { run: 2, passed: true, detail: String::new() })).unwrap();
    assert_eq!(world.phase(), &Phase::RolledBack, "an answer that comes too late changes nothing");
}

#[test]
fn weight_rises_and_promotion_wait_for_their_gates_while_checks_go_on() {
    let policy = gated(&[("more", GateKind::ConfirmTrafficIncrease), ("all", GateKind::ConfirmPromotion)]);
    let mut world = World::running(6, policy);
    world.closed = vec!["more".to_owned(), "all".to_owned()];
    world.ticks(2_000, Millis::seconds(1), 100);
    assert!(matches!(world.phase(), Phase::Confirming(_)));
    assert_eq!(world.candidate_weight(), weight("10%"));
    let mut harmed = world.clone();
    harmed.nature.errors.candidate = 0.2;
    harmed.ticks(300, Millis::seconds(1), 100);
    assert_eq!(harmed.phase(), &Phase::RolledBack);
    world.closed.remove(0);
    world.ticks(2_000, Millis::seconds(1), 100);
    assert!(matches!(world.phase(), Phase::Confirming(_)));
    assert_eq!(world.candidate_weight(), weight("50%"));
    world.command(What::Promote { full: false }).unwrap();
    assert_eq!(world.phase(), &Phase::Baking);
}

#[test]
fn a_rollback_gate_may_ask_for_it_at_any_time() {
    let mut world =
        World::running(7, gated(&[("alarm", GateKind::Rollback), ("clean", GateKind::PostRollout)]));
    world.ticks(30, Millis::seconds(1), 10);
    assert_eq!(world.phase(), &Phase::Running);
    world.closed.push("alarm".to_owned());
    world.ticks(12, Millis::seconds(1), 10);
    assert_eq!(world.phase(), &Phase::RolledBack);
    let record = world.records.last().unwrap();
    assert_eq!((record.action, &record.by), (Action::Rollback, &By::Gate("alarm".to_owned())));
    assert_eq!(world.log.last().unwrap(), "RunGate", "whoever cleans up is told");
}

#[test]
fn the_end_of_one_and_the_beginning_of_the_next_last_together_before_any_gate_is_asked() {
    let mut world = World::running(8, gated(&[("clean", GateKind::PostRollout)]));
    world.log.clear();
    let mut next = start("r2", "v3", policy());
    next.supersede = true;
    world.start(next).unwrap();
    let place = |effect: &str| world.log.iter().position(|known| known == effect).unwrap();
    assert!(place("Persist") < place("RunGate"), "{:?}", world.log);
}
