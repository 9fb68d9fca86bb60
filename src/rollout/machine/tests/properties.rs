//! What holds whatever happens: seeded worlds in which anything may happen at any time.

use super::world::*;
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Command, GateAnswer, Input, What};
use crate::rollout::policy::{ErrorRate, Gate, GateKind, Pause, Step};
use crate::rollout::state::{ModelState, Phase};
use crate::rollout::time::{Millis, Timestamp};
use crate::stats::sequential::Arms;

/// Seeds of the wild simulator; `ROLLOUT_SEED` replays one.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("ROLLOUT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

fn random_policy(rng: &mut Rng) -> crate::rollout::policy::Policy {
    let mut made = policy();
    if rng.chance(0.5) {
        made = shadow_first(made);
    }
    if rng.chance(0.3) {
        let duration = rng.chance(0.5).then_some(Millis::seconds(30));
        made.steps.insert(1, Step::Pause(Pause { duration }));
    }
    if rng.chance(0.3) {
        made.steps.pop();
    }
    for (name, kind) in [
        ("boss", GateKind::ConfirmRollout),
        ("golden", GateKind::Golden),
        ("more", GateKind::ConfirmTrafficIncrease),
        ("all", GateKind::ConfirmPromotion),
        ("alarm", GateKind::Rollback),
        ("clean", GateKind::PostRollout),
    ] {
        if rng.chance(0.25) {
            made.gates.push(Gate::new(name, kind));
        }
    }
    made
}

fn random_command(rng: &mut Rng, world: &World) -> What {
    match rng.below(7) {
        0 | 1 => What::Promote { full: rng.chance(0.3) },
        2 => What::Pause,
        3 => What::Resume,
        4 => What::Abort,
        5 => What::Retry { id: format!("retry-{}", rng.next()) },
        _ => {
            let latched = world.state.latches.keys().next().cloned();
            What::Clear { digest: latched.unwrap_or_else(|| "sha256:none".to_owned()) }
        }
    }
}

#[test]
fn whatever_happens_weights_sum_roles_hold_and_rollbacks_absorb() {
    for seed in seeds(1_500) {
        let mut rng = Rng(seed ^ 0x5eed);
        let mut world = World::new(seed);
        let mut ended: Option<(String, String)> = None;
        for n in 0..rng.below(60) + 20 {
            match rng.below(12) {
                0 => {
                    let mut begin =
                        start(&format!("r{n}"), &format!("v{}", 2 + rng.below(4)), random_policy(&mut rng));
                    begin.supersede = rng.chance(0.3);
                    let _ = world.start(begin);
                }
                1 => {
                    let what = random_command(&mut rng, &world);
                    let _ = world.command(what);
                }
                2 => world.crash(),
                3 => {
                    let (run, passed) = (u32::try_from(rng.below(9)).unwrap(), rng.chance(0.7));
                    world.handle(Input::Gate(GateAnswer { run, passed, detail: String::new() })).unwrap();
                }
                4 => {
                    world.closed.clear();
                    for gate in ["boss", "golden", "more", "all", "alarm", "load"] {
                        if rng.chance(0.1) {
                            world.closed.push(gate.to_owned());
                        }
                    }
                }
                5 => {
                    let harm = if rng.chance(0.3) { 0.3 } else { 0.01 };
                    world.nature.errors = Arms::new(0.01, harm);
                    world.nature.diverge.candidate = if rng.chance(0.2) { 0.4 } else { 0.0 };
                }
                6 => world.now = Timestamp(world.now.0 - rng.below(5_000)),
                _ => world.tick(Millis(1_000 * rng.below(60)), rng.below(200)),
            }
            let Some(rollout) = &world.state.rollout else { continue };
            if let Some((id, phase)) = &ended
                && *id == rollout.id
            {
                assert_eq!(rollout.phase.as_str(), phase, "seed {seed} step {n}: an end is an end");
            }
            ended =
                rollout.phase.is_terminal().then(|| (rollout.id.clone(), rollout.phase.as_str().to_owned()));
            if let Some(live) = &world.live {
                check_live(live, &world.state);
                assert_eq!(
                    live,
                    &world.state.live().unwrap(),
                    "seed {seed} step {n}: what is live is what is known"
                );
            }
        }
    }
}

/// At each effect the process may die. It comes back with what lasts, and a candidate whose rollback
/// was kept never gets traffic again.
#[test]
fn a_crash_at_any_effect_comes_back_whole() {
    for seed in seeds(60) {
        let mut world = World::running(seed, shadow_first(policy()));
        world.nature.errors.candidate = if seed % 2 == 0 { 0.3 } else { 0.01 };
        for _ in 0..400 {
            let Some(rollout) = &world.state.rollout else { break };
            if rollout.phase.is_terminal() {
                break;
            }
            let mut probe = world.clone();
            probe.tick(Millis::seconds(1), 100);
            let counts = probe.counts.clone();
            let before = world.state.clone();
            let effects = world.state.handle(Input::Observed(counts.clone()), probe.now).unwrap();
            if effects.len() > 1 {
                for died_at in 0..=effects.len() {
                    let mut dying = world.clone();
                    dying.state = world.state.clone();
                    effects.iter().take(died_at).cloned().for_each(|effect| dying.carry_out(effect));
                    let kept: ModelState = serde_json::from_str(&dying.disk).unwrap();
                    let told = effects.iter().take(died_at).any(|e| matches!(e, Effect::Notify(_)));
                    dying.crash();
                    let back = dying.state.rollout.as_ref().unwrap();
                    let was = kept.rollout.as_ref().unwrap();
                    assert_eq!(back.step, was.step, "seed {seed}");
                    assert_eq!(
                        dying.live,
                        kept.live()
                            .map(|live| crate::rollout::live::Live { trial: dying.state.trial, ..live })
                    );
                    if told {
                        assert_eq!(
                            dying.state.live().unwrap().versions,
                            world.state.live().unwrap().versions,
                            "what was announced lasts"
                        );
                    }
                }
            }
            world.state = before;
            let now = probe.now;
            world.counts = counts.clone();
            world.rng = probe.rng;
            world.now = now;
            world.handle(Input::Observed(counts)).unwrap();
        }
    }
}

/// Identical versions, many rollouts: the share that is rolled back stays below `alpha`.
#[test]
fn identical_versions_are_not_rolled_back_more_often_than_promised() {
    let (mut rolled_back, rollouts) = (0, 400);
    for seed in 0..rollouts {
        let mut world = World::running(seed + 1_000, policy());
        world.nature.errors = Arms::new(0.03, 0.03);
        for _ in 0..200 {
            if world.phase().is_terminal() {
                break;
            }
            world.tick(Millis::seconds(10), 200);
        }
        rolled_back += u64::from(world.phase() == &Phase::RolledBack);
    }
    // α is 1 %: with 400 rollouts more than 10 would appear once in 400.
    assert!(rolled_back <= 10, "{rolled_back} of {rollouts}");
}

#[test]
fn clear_harm_is_never_missed() {
    for seed in 0..100 {
        let mut world = World::running(seed, errors_only(ErrorRate::default()));
        world.nature.errors = Arms::new(0.01, 0.08);
        world.until_settled(3_600);
        assert_eq!(world.phase(), &Phase::RolledBack, "seed {seed}: {}", world.last_sentence());
    }
}

#[test]
fn nothing_that_is_handed_in_panics() {
    let mut rng = Rng(7);
    let mut world = World::running(7, shadow_first(policy()));
    for _ in 0..2_000 {
        let mut counts = world.counts.clone();
        for trial in &mut counts.trials {
            trial.trial = rng.next() as u32 % 12;
            trial.weight_bp = rng.next() as u16;
            trial.coin_bp = rng.next() as u16;
            trial.arms.candidate.requests = rng.next() >> rng.below(64);
            trial.arms.candidate.errors = rng.next() >> rng.below(64);
            trial.arms.stable.errors = rng.next();
            trial.pairs.candidate.compared = rng.next() >> rng.below(64);
            trial.pairs.candidate.diverged = rng.next();
            trial.pairs.stable.sampled = rng.next();
        }
        counts.epoch = rng.below(3);
        let now = Timestamp(rng.next() >> rng.below(64));
        let _ = world.state.handle(Input::Observed(counts), now);
        let what = random_command(&mut rng, &world);
        let _ = world.state.handle(Input::Command(Command { what, by: actor("x") }), now);
    }
}
