//! Rollouts over the API: started, looked at, moved by hand; keys, verdicts, pairs.

use super::*;
use crate::stats::Registry;

fn post(server: &AdminServer, path: &str, headers: &str, body: &str) -> Answer {
    ask(server, &format!("POST {path}"), headers, body)
}

/// A sidecar without a rollout, and one whose rollout to v3 runs.
fn idle() -> AdminServer {
    super::start(Arc::new(Fake::new(Registry::new())))
}

fn running() -> (AdminServer, String) {
    let server = super::start(Arc::new(Fake::new(Registry::new()).rolling_out("v3")));
    let id = get(&server, "/api/v1/models/fraud/rollout").json()["id"].as_str().unwrap().to_owned();
    (server, id)
}

const START: &str = r#"{"model": "fraud", "candidate": "v2"}"#;

#[test]
fn a_rollout_is_started_and_found_under_its_id_and_its_model() {
    let server = idle();
    assert_eq!(get(&server, "/api/v1/rollouts").json(), json!({"rollouts": [], "next": null}));
    let answer = post(&server, "/api/v1/rollouts", "", START);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let done = answer.json();
    let id = done["rollout"]["id"].as_str().unwrap();
    assert!(answer.head.contains(&format!("location: /api/v1/rollouts/{id}")), "{}", answer.head);
    assert_eq!((&done["durable"], &done["rollout"]["candidate"]), (&json!(false), &json!("v2")));
    assert_eq!(done["rollout"]["by"], json!({"name": "local", "key": null}));
    for path in [format!("/api/v1/rollouts/{id}"), "/api/v1/models/fraud/rollout".to_owned()] {
        assert_eq!(get(&server, &path).json()["id"], id, "{path}");
    }
    let listed = get(&server, "/api/v1/rollouts?model=fraud&limit=1").json();
    assert_eq!((&listed["rollouts"][0]["id"], &listed["next"]), (&json!(id), &json!(id)));
    let older = get(&server, &format!("/api/v1/rollouts?before={id}")).json();
    assert_eq!(older["rollouts"], json!([]));
    let evidence = get(&server, &format!("/api/v1/rollouts/{id}/evidence")).json();
    assert_eq!((&evidence["rollout"], &evidence["evidence"]["threshold"]), (&json!(id), &json!(100.0)));
    let decisions = get(&server, &format!("/api/v1/rollouts/{id}/decisions")).json();
    assert_eq!(decisions["decisions"][0]["action"], "start");
    let first = &decisions["decisions"][0]["number"];
    let rest = get(&server, &format!("/api/v1/rollouts/{id}/decisions?after={first}&limit=5")).json();
    assert!(rest["decisions"].as_array().unwrap().iter().all(|decision| decision["number"] != *first));
    let model = get(&server, "/api/v1/models/fraud").json();
    assert_eq!((&model["stable"], &model["rollout"]["id"]), (&json!("v1"), &json!(id)));
}

#[test]
fn a_start_that_makes_no_sense_is_refused_in_one_line() {
    let server = idle();
    for (body, status, says) in [
        ("", 400, "model"),
        ("[]", 400, "send"),
        (r#"{"model": "fraud"}"#, 400, "candidate"),
        (r#"{"model": "fraud", "candidate": "v2", "supercede": true}"#, 400, "supercede"),
        (r#"{"model": "fraud", "candidate": 2}"#, 400, "candidate"),
        (r#"{"model": "fraud", "candidate": "no name at all"}"#, 400, "name"),
        (r#"{"model": "fraud", "candidate": {"name": "v9"}}"#, 400, "backend"),
        (
            r#"{"model": "fraud", "candidate": "v2", "policy": {"steps": [{"setWeight": "0"}]}}"#,
            400,
            "steps[0]",
        ),
        (r#"{"model": "other", "candidate": "v2"}"#, 404, "other"),
        (r#"{"model": "fraud", "candidate": "v9"}"#, 404, "v9"),
        (r#"{"model": "fraud", "candidate": "v1"}"#, 409, "stable"),
    ] {
        let answer = post(&server, "/api/v1/rollouts", "", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let line = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(line.contains(says), "{body}: {line}");
    }
    assert_eq!(get(&server, "/api/v1/models/fraud/rollout").status, 404);
    assert_eq!(get(&server, "/api/v1/models/fraud").json()["rollout"], Value::Null);
}

#[test]
fn a_candidate_and_a_policy_may_come_with_the_start() {
    let server = idle();
    let body = json!({
        "model": "fraud",
        "candidate": {"name": "v9", "upstream": {"url": "http://127.0.0.1:9"}, "digest": "build 9"},
        "policy": {"steps": [{"shadow": {}}, {"setWeight": "5%"}]},
    });
    let answer = post(&server, "/api/v1/rollouts", "", &body.to_string());
    let rollout = &answer.json()["rollout"];
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!((&rollout["candidate"], &rollout["digest"]), (&json!("v9"), &json!("given:build 9")));
    assert_eq!(rollout["steps"], json!(["shadow 100%", "setWeight 5%"]));
}

#[test]
fn by_hand_a_rollout_is_moved_and_what_makes_no_sense_is_a_conflict() {
    let (server, id) = running();
    let phase = |what: &str, body: &str| {
        let answer = post(&server, &format!("/api/v1/rollouts/{id}/{what}"), "", body);
        (answer.status, answer.json()["rollout"]["phase"].as_str().unwrap_or_default().to_owned())
    };
    let is = |status, phase: &str| (status, phase.to_owned());
    assert_eq!(post(&server, "/api/v1/rollouts", "", START).status, 409);
    assert_eq!(phase("resume", ""), is(409, ""));
    assert_eq!(phase("pause", "{}"), is(200, "Paused"));
    assert_eq!(phase("resume", ""), is(200, "Running"));
    assert_eq!(phase("promote", r#"{"ful": true}"#), is(400, ""));
    assert_eq!(phase("promote", ""), is(200, "WaitingForPromotion"));
    assert_eq!(phase("promote", r#"{"full": true}"#), is(200, "Baking"));
    assert_eq!(phase("retry", ""), is(409, ""));
    assert_eq!(phase("abort", ""), is(200, "Aborted"));
    assert_eq!(phase("abort", ""), is(409, ""));
    let again = post(&server, &format!("/api/v1/rollouts/{id}/retry"), "", "").json();
    assert!(again["rollout"]["id"] != *id && again["rollout"]["attempt"] == 2, "{again}");
    // The first one is history now, and is still there.
    let first = get(&server, &format!("/api/v1/rollouts/{id}")).json();
    assert_eq!((&first["id"], &first["phase"]), (&json!(id), &json!("Aborted")));
    let conflict = post(&server, &format!("/api/v1/rollouts/{id}/abort"), "", "");
    assert_eq!(conflict.status, 409, "{}", conflict.body);
    let clear = post(&server, "/api/v1/models/fraud/latches/server:00/clear", "", "");
    assert_eq!(clear.status, 404, "{}", clear.body);
    for path in
        ["/api/v1/rollouts/nobody", "/api/v1/rollouts/nobody/decisions", "/api/v1/rollouts/x/evidence"]
    {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    assert_eq!(post(&server, "/api/v1/rollouts/nobody/abort", "", "").status, 404);
}

#[test]
fn a_key_is_for_one_request_and_its_repetition_gets_the_same_rollout() {
    let server = idle();
    let (key, quoted) = ("Idempotency-Key: build-17\r\n", "Idempotency-Key: \"build-17\"\r\n");
    let first = post(&server, "/api/v1/rollouts", key, START).json();
    let id = first["rollout"]["id"].as_str().unwrap();
    assert_eq!(first["rollout"]["by"]["key"], "build-17");
    let again = post(&server, "/api/v1/rollouts", quoted, START);
    assert_eq!((again.status, &again.json()["rollout"]["id"]), (201, &json!(id)));
    let other = r#"{"model": "fraud", "candidate": "v3"}"#;
    assert_eq!(post(&server, "/api/v1/rollouts", key, other).status, 422);
    assert_eq!(post(&server, &format!("/api/v1/rollouts/{id}/abort"), key, "").status, 422);
    // Another rollout takes its place; the repetition still means the first.
    let second = r#"{"model": "fraud", "candidate": "v3", "supersede": true}"#;
    assert_eq!(post(&server, "/api/v1/rollouts", "", second).status, 201);
    let again = post(&server, "/api/v1/rollouts", key, START).json();
    assert_eq!((&again["rollout"]["id"], &again["rollout"]["phase"]), (&json!(id), &json!("Superseded")));
    // What is refused uses no key up.
    let mine = "Idempotency-Key: mine\r\n";
    assert_eq!(post(&server, "/api/v1/rollouts", mine, START).status, 409);
    let superseding = r#"{"model": "fraud", "candidate": "v2", "supersede": true}"#;
    assert_eq!(post(&server, "/api/v1/rollouts", mine, superseding).status, 201);
    assert_eq!(post(&server, "/api/v1/rollouts", "Idempotency-Key: \r\n", START).status, 400);
}

#[test]
fn pipelines_of_others_get_a_verdict_and_a_gate() {
    let server = idle();
    for path in ["fraud", "other"] {
        assert_eq!(get(&server, &format!("/api/v1/models/{path}/verdict")).status, 404);
        assert_eq!(post(&server, &format!("/api/v1/gate/{path}"), "", "").status, 404, "closed");
    }
    let (server, id) = running();
    let verdict = get(&server, "/api/v1/models/fraud/verdict").json();
    assert_eq!((&verdict["status"], &verdict["rollout"]), (&json!("Running"), &json!(id)));
    assert_eq!((&verdict["eValue"], &verdict["threshold"]), (&json!(0.0), &json!(100.0)));
    let flagger = r#"{"name": "fraud", "namespace": "prod", "phase": "Progressing", "metadata": {}}"#;
    let gate = |query: &str| {
        let answer = post(&server, &format!("/api/v1/gate/fraud{query}"), "", flagger);
        (answer.status, answer.json()["status"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(gate(""), (200, "Running".to_owned()));
    assert_eq!(gate("?strict=true"), (412, "Running".to_owned()));
    assert_eq!(gate("?strikt=true"), (400, String::new()));
    assert_eq!(post(&server, &format!("/api/v1/rollouts/{id}/promote"), "", "").status, 200);
    assert_eq!(gate("?strict=true"), (200, "Successful".to_owned()));
    assert_eq!(post(&server, &format!("/api/v1/rollouts/{id}/abort"), "", "").status, 200);
    assert_eq!(gate(""), (412, "Failed".to_owned()));
}

#[test]
fn pairs_are_asked_for_by_model_and_number() {
    let server = idle();
    for which in ["", "?which=latest", "?which=worst&limit=3"] {
        let pairs = get(&server, &format!("/api/v1/models/fraud/pairs{which}"));
        assert_eq!(pairs.json(), json!({"pairs": []}), "{which}");
    }
    assert_eq!(get(&server, "/api/v1/models/fraud/pairs?which=best").status, 400);
    for path in ["/api/v1/models/other/pairs", "/api/v1/models/fraud/pairs/1", "/api/v1/models/fraud/pairs/x"]
    {
        let answer = get(&server, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].is_string());
    }
}
