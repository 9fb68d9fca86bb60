//! A rollout to look at, for tests.

use serde_json::json;

use crate::base::{ModelName, VersionName};
use crate::control::rollouts::RolloutView;
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Command, Input, Start, What};
use crate::rollout::policy::{CheckSpec, ErrorRate, Policy, Rule, SetWeight, Step};
use crate::rollout::record::DecisionRecord;
use crate::rollout::state::ModelState;
use crate::rollout::time::Timestamp;
use crate::rollout::version::{Actor, VersionRef};

/// A rollout of `fraud` from v1 to v2 in this phase, at 5%, with one check.
pub(super) fn view(phase: &str) -> RolloutView {
    let ended = matches!(phase, "Succeeded" | "RolledBack" | "Aborted" | "Superseded");
    let arms = |stable: u64, candidate: u64| json!({"stable": stable, "candidate": candidate});
    let tally = json!({"events": arms(12, 31), "requests": arms(1_140, 60)});
    let check = json!({
        "name": "error-rate", "rule": "errorRate", "verdict": "inconclusive",
        "eValue": 4.2, "threshold": 200.0, "parts": [{"kind": "relative", "share": 1.0, "eValue": 4.2}],
        "ruledOut": 2.5, "figures": {"whole": tally, "step": tally, "stretch": tally},
        "sentence": "errors 31 of 60, stable 12 of 1,140",
    });
    let view = json!({
        "id": "fraud-1", "model": "fraud", "stable": "v1", "candidate": "v2", "digest": "sha256:ab",
        "phase": phase, "ended": ended, "reason": "", "step": 1,
        "steps": ["shadow 100%", "setWeight 5%", "bake 24 h"], "weight": "5%", "attempt": 1,
        "by": {"name": "local", "key": null}, "configHash": "00ff", "startedMs": 1_000, "stepSinceMs": 61_000,
        "endedMs": if ended { json!(91_000) } else { json!(null) },
        "verdict": "hold", "sentence": "HOLD: evidence 4.2 of 100; most from error-rate",
        "evidence": {
            "eValue": 4.2, "threshold": 100.0, "passThreshold": 20.0, "checks": [check], "thresholds": [],
            "breaker": null, "balance": [0.5, 1.0], "balanceThreshold": 1000.0,
            "requests": arms(1_140, 60), "stepRequests": arms(1_140, 60), "smallestHarm": 3.0,
            "warming": false, "grids": "g1", "deltas": 7,
        },
        "versions": [
            {"version": "v1", "weight": 9_500, "role": "stable"},
            {"version": "v2", "weight": 500, "role": "canary"},
        ],
    });
    serde_json::from_value(view).unwrap()
}

/// The records of a rollout that was started and aborted by hand, as the machine makes them.
pub(super) fn records() -> Vec<DecisionRecord> {
    let version = |name: &str| VersionRef {
        name: VersionName::new(name).unwrap(),
        digest: format!("digest-of-{name}"),
        origin: serde_json::Value::Null,
    };
    let actor = || Actor { name: "ann".to_owned(), key: None };
    let step = SetWeight { weight: "5%".parse().unwrap(), ..SetWeight::default() };
    let mut policy = Policy { steps: vec![Step::SetWeight(step)], ..Policy::default() };
    policy.analysis.checks = vec![CheckSpec::new("error-rate", 1.0, Rule::ErrorRate(ErrorRate::default()))];
    let mut state = ModelState::new(ModelName::new("fraud").unwrap(), version("v1"));
    let start = Start {
        id: "fraud-1".to_owned(),
        candidate: version("v2"),
        policy,
        config_hash: "00ff".to_owned(),
        baseline: Default::default(),
        supersede: false,
        by: actor(),
    };
    let abort = Command { what: What::Abort, by: actor() };
    let mut effects = state.handle(Input::Start(Box::new(start)), Timestamp(1_000)).unwrap();
    effects.extend(state.handle(Input::Command(abort), Timestamp(91_000)).unwrap());
    let decided = effects.into_iter().filter_map(|effect| match effect {
        Effect::Decide(record) => Some(*record),
        _ => None,
    });
    decided.collect()
}
