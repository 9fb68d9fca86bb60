//! Which rollout is meant: by its id, by its model, or the only one there is.

use serde_json::Value;

use crate::control::rollouts::RolloutView;

use super::super::exit::{Exit, Failure};
use super::super::server::{CallError, Server, segment};

/// Rollouts that are looked at to find the only one that runs.
const LATEST: usize = 100;

/// The rollout in an answer: itself, or in what comes with it.
pub(super) fn view(answer: Value) -> Result<RolloutView, Failure> {
    serde_json::from_value(inner(answer)).map_err(|error| {
        Failure::error(format!("the sidecar's answer is no rollout that this build knows ({error})"))
    })
}

/// Answers about a model and about a command hold the rollout under a key.
fn inner(answer: Value) -> Value {
    match answer {
        Value::Object(mut map) if !map.contains_key("phase") => match map.remove("rollout") {
            Some(rollout) => rollout,
            None => Value::Object(map),
        },
        other => other,
    }
}

/// The list in an answer: itself, or under `key`.
pub(super) fn list(answer: Value, key: &str) -> Result<Vec<Value>, Failure> {
    match answer {
        Value::Array(list) => Ok(list),
        Value::Object(mut map) => match map.remove(key) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(Failure::error(format!("the sidecar's answer has no list of {key}"))),
        },
        _ => Err(Failure::error(format!("the sidecar's answer is no list of {key}"))),
    }
}

/// The rollout that `target` names: an id, or a model whose latest one is meant. Without one, the
/// only rollout that runs, or else the latest.
pub(super) fn find(server: &Server, target: Option<&str>) -> Result<RolloutView, Failure> {
    match target {
        Some(target) => named(server, target),
        None => only(server),
    }
}

fn named(server: &Server, target: &str) -> Result<RolloutView, Failure> {
    match server.get(&format!("/rollouts/{}", segment(target))) {
        Ok(answer) => return view(answer),
        Err(CallError::NotFound(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match server.get(&format!("/models/{}/rollout", segment(target))) {
        Ok(answer) if inner(answer.clone()).is_null() => {
            Err(Failure::error(format!("model {target} has had no rollout yet")))
        }
        Ok(answer) => view(answer),
        Err(CallError::NotFound(said)) => {
            Err(Failure::error(format!("{target:?} is neither a rollout nor a model with one: {said}")))
        }
        Err(error) => Err(error.into()),
    }
}

fn only(server: &Server) -> Result<RolloutView, Failure> {
    let answer = server.get(&format!("/rollouts?limit={LATEST}"))?;
    let mut views = Vec::new();
    for rollout in list(answer, "rollouts")? {
        views.push(view(rollout)?);
    }
    let running: Vec<_> = views.iter().filter(|view| !view.ended).cloned().collect();
    match running.as_slice() {
        [one] => Ok(one.clone()),
        [] => views.into_iter().next().ok_or_else(|| {
            Failure::error("there has been no rollout yet: switchback rollout start MODEL --to VERSION")
        }),
        several => {
            let ids: Vec<_> = several.iter().map(|view| view.id.as_str()).collect();
            Err(Failure::new(Exit::Usage, format!("several rollouts run, name one: {}", ids.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::server::testing::{Fake, answer};
    use super::super::testing;
    use super::*;

    fn told(id: &str, phase: &str) -> Value {
        let mut view = testing::view(phase);
        view.id = id.to_owned();
        serde_json::to_value(view).unwrap()
    }

    #[test]
    fn a_name_is_an_id_first_and_then_a_model() {
        let no = answer(404, &json!({"error": "no such rollout"}));
        let model =
            json!({"model": "fraud", "stable": "v1", "rollout": told("fraud-1", "Running"), "latches": []});
        let fake =
            Fake::start(vec![answer(200, &told("fraud-1", "Running")), no.clone(), answer(200, &model)]);
        assert_eq!(find(&fake.server(), Some("fraud-1")).unwrap().id, "fraud-1");
        assert_eq!(find(&fake.server(), Some("fraud")).unwrap().id, "fraud-1");
        assert!(fake.requests()[2].starts_with("GET /api/v1/models/fraud/rollout "));

        let none = json!({"model": "fraud", "stable": "v1", "rollout": null, "latches": []});
        let fake = Fake::start(vec![no.clone(), answer(200, &none), no.clone(), no]);
        for (target, about) in [("fraud", "no rollout yet"), ("../x", "neither")] {
            let failure = find(&fake.server(), Some(target)).unwrap_err();
            assert!(failure.message.contains(about), "{}", failure.message);
        }
        assert!(fake.requests()[2].starts_with("GET /api/v1/rollouts/..%2Fx "));
    }

    #[test]
    fn without_a_name_the_only_one_that_runs_is_meant() {
        let (ended, one, two) = (told("a", "Succeeded"), told("b", "Running"), told("c", "Paused"));
        let fake = Fake::start(vec![
            answer(200, &json!({"rollouts": [ended, one]})),
            answer(200, &json!([ended])),
            answer(200, &json!([ended, one, two])),
            answer(200, &json!([])),
        ]);
        assert_eq!(find(&fake.server(), None).unwrap().id, "b");
        assert_eq!(find(&fake.server(), None).unwrap().id, "a");
        let several = find(&fake.server(), None).unwrap_err();
        assert_eq!((several.exit, several.message.contains("b, c")), (Exit::Usage, true));
        assert!(find(&fake.server(), None).unwrap_err().message.contains("rollout start"));
    }
}
