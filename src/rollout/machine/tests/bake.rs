//! The time after promotion.

use super::world::*;
use crate::rollout::machine::What;
use crate::rollout::policy::{Bake, ErrorRate, Limit, Policy, Step};
use crate::rollout::state::Phase;
use crate::rollout::time::Millis;

fn baking(policy: Policy, bake: Bake) -> World {
    let mut policy = policy;
    policy.steps = vec![Step::Bake(bake)];
    World::running(1, policy)
}

#[test]
fn a_breach_47_hours_into_the_bake_goes_back_at_once() {
    let mut world = baking(policy(), Bake { duration: Millis::hours(48), holdback: weight("2%") });
    assert_eq!(world.phase(), &Phase::Baking);
    assert_eq!(world.candidate_weight(), weight("98%"));
    world.ticks(47 * 60, Millis::minutes(1), 60);
    assert_eq!(world.phase(), &Phase::Baking);
    world.nature.errors.candidate = 0.15;
    world.ticks(59, Millis::minutes(1), 600);
    assert_eq!(world.phase(), &Phase::RolledBack);
    assert_eq!(world.candidate_weight(), weight("0%"));
    assert_eq!(world.state.stable, version("v1"));
}

#[test]
fn without_a_holdback_a_limit_ends_the_bake() {
    let rule = ErrorRate { absolute: Some(Limit { max: 0.05 }), ..ErrorRate::default() };
    let mut world = baking(errors_only(rule), Bake { duration: Millis::hours(48), holdback: weight("0%") });
    assert_eq!(world.candidate_weight(), weight("100%"));
    world.ticks(600, Millis::minutes(1), 60);
    assert_eq!(world.phase(), &Phase::Baking);
    world.nature.errors.candidate = 0.2;
    world.ticks(30, Millis::minutes(1), 60);
    assert_eq!(world.phase(), &Phase::RolledBack);
}

#[test]
fn a_bake_ends_by_time_or_by_hand_or_by_abort() {
    let bake = Bake { duration: Millis::hours(24), holdback: weight("2%") };
    let mut world = baking(policy(), bake.clone());
    world.ticks(24 * 60 - 1, Millis::minutes(1), 10);
    assert_eq!(world.phase(), &Phase::Baking);
    world.ticks(1, Millis::minutes(1), 10);
    assert_eq!(world.phase(), &Phase::Succeeded);

    let mut world = baking(policy(), bake.clone());
    world.command(What::Promote { full: false }).unwrap();
    assert_eq!(world.phase(), &Phase::Succeeded);

    let mut world = baking(policy(), bake.clone());
    world.command(What::Abort).unwrap();
    assert_eq!(world.candidate_weight(), weight("0%"));
    assert!(world.state.latches.is_empty());

    let mut world = baking(policy(), bake);
    world.command(What::Pause).unwrap();
    world.ticks(30, Millis::hours(1), 10);
    world.command(What::Resume).unwrap();
    assert_eq!(world.phase(), &Phase::Baking);
    world.ticks(23, Millis::hours(1), 10);
    assert_eq!(world.phase(), &Phase::Baking, "the pause does not count");
    world.ticks(1, Millis::hours(1), 10);
    assert_eq!(world.phase(), &Phase::Succeeded);
}
