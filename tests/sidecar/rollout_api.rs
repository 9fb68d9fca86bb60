//! Rollouts over the admin API: the real binary, asked as a pipeline would ask it.

use serde_json::{Value, json};

use crate::support::rollouts::{Clients, good, model, plain};
use crate::support::{RawClient, RawResponse, Sidecar, Upstream, blocking_until};

/// A configuration of model `m` with v1 and v2, which starts nothing by itself.
fn config(v1: &Upstream, v2: &Upstream, steps: &str) -> String {
    format!(
        "store: {{path: '{{dir}}/rollouts.db'}}
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: '{}'}}}}
      - {{name: v2, upstream: {{url: '{}'}}}}
    rollout:
      steps: {steps}
      analysis: {{warmup: {{requests: 0, duration: 0s}}, metrics: [{{errorRate: {{}}}}]}}
",
        v1.url(),
        v2.url()
    )
}

/// Half of the traffic for as long as it takes.
const HALF: &str = "[{setWeight: {weight: 50%, minDuration: 1h}}]";

fn post(sidecar: &Sidecar, path: &str, headers: &str, body: &Value) -> RawResponse {
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n");
    RawClient::connect(sidecar.admin()).send(head + &body).read()
}

fn document(response: &RawResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

/// Starts a rollout, and gives its id.
fn started(sidecar: &Sidecar, body: &Value) -> String {
    let response = post(sidecar, "/api/v1/rollouts", "", body);
    assert_eq!(response.status, 201, "{}", response.text());
    document(&response)["rollout"]["id"].as_str().unwrap().to_owned()
}

/// Reads events until one tells of `phase`; gives that one.
fn event(stream: &mut RawClient, phase: &str) -> Value {
    let mut text = String::new();
    loop {
        let chunk = stream.chunk().unwrap_or_else(|| panic!("the stream ended before {phase}"));
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n").map(|(e, r)| (e.to_owned(), r.to_owned())) {
            text = rest;
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let view: Value = data.map(|data| serde_json::from_str(data).unwrap()).unwrap_or_default();
            if view["phase"] == phase {
                return view;
            }
        }
    }
}

#[test]
fn a_watcher_sees_the_evidence_grow_to_the_rollback_and_the_latch_is_cleared_by_hand() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| (if n.is_multiple_of(3) { 500 } else { 200 }, good(n)));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let start = json!({"model": "m", "candidate": "v2"});
    let id = started(&sidecar, &start);
    let mut stream = RawClient::connect(sidecar.admin());
    stream.send(format!("GET /api/v1/rollouts/{id}/watch HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let (status, head) = stream.head();
    assert_eq!(status, 200);
    assert!(head.contains("text/event-stream"), "{head}");
    event(&mut stream, "Running");
    let clients = Clients::start(&sidecar, 4, plain);
    let end = event(&mut stream, "RolledBack");
    assert_eq!(stream.chunk(), None, "the stream ends with the rollout");
    drop(clients);
    let (e_value, threshold) = (&end["evidence"]["eValue"], &end["evidence"]["threshold"]);
    assert!(e_value.as_f64().unwrap() >= threshold.as_f64().unwrap() || end["reason"].is_string(), "{end:#}");

    let verdict = sidecar.json("/api/v1/models/m/verdict");
    assert_eq!((&verdict["status"], &verdict["rollout"]), (&json!("Failed"), &json!(id)));
    assert_eq!(
        post(&sidecar, "/api/v1/gate/m", "", &json!({"name": "m", "phase": "Progressing"})).status,
        412
    );
    let decisions = sidecar.json(&format!("/api/v1/rollouts/{id}/decisions"));
    let last = decisions["decisions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["action"], &last["rollout"]), (&json!("rollback"), &json!(id)));
    assert_eq!(sidecar.metric("switchback_rollout_phase", &["phase=\"RolledBack\""]), 1.0);
    assert_eq!(sidecar.metric("switchback_latched_candidates", &["model=\"m\""]), 1.0);
    assert!(sidecar.metric("switchback_decision_duration_seconds_count", &[]) > 0.0);

    let refused = post(&sidecar, "/api/v1/rollouts", "", &start);
    assert_eq!(refused.status, 409, "{}", refused.text());
    let digest = sidecar.json("/api/v1/models/m")["latches"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(digest, end["digest"]);
    let clear = format!("/api/v1/models/m/latches/{}/clear", digest.replace(':', "%3A"));
    assert_eq!(post(&sidecar, &clear, "", &json!({})).status, 200);
    assert_eq!(post(&sidecar, &clear, "", &json!({})).status, 404);
    started(&sidecar, &start);
}

#[test]
fn a_candidate_that_comes_with_the_call_outlives_kill_9_and_so_does_its_key() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let v3 = model(|n, _| (200, good(n)));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let start = json!({
        "model": "m",
        "candidate": {"name": "v3", "upstream": {"url": v3.url()}, "digest": "sha256:1f3a/9"},
        "policy": {"steps": [{"setWeight": {"weight": "20%", "minDuration": "1h"}}]},
    });
    let key = "idempotency-key: pipeline-17\r\n";
    let done = document(&post(&sidecar, "/api/v1/rollouts", key, &start));
    assert_eq!((&done["durable"], &done["rollout"]["digest"]), (&json!(true), &json!("given:sha256:1f3a/9")));
    let id = done["rollout"]["id"].as_str().unwrap().to_owned();
    sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    let sidecar = sidecar.killed_and_started();
    let again = post(&sidecar, "/api/v1/rollouts", key, &start);
    assert_eq!((again.status, &document(&again)["rollout"]["id"]), (201, &json!(id)));
    let view = sidecar.json(&format!("/api/v1/rollouts/{id}"));
    assert_eq!(
        (&view["candidate"], &view["weight"], &view["steps"][0]),
        (&json!("v3"), &json!("20%"), &json!("setWeight 20%"))
    );
    let clients = Clients::start(&sidecar, 2, plain);
    sidecar.rollout_until("traffic", |_| v3.count() > 10);
    assert_eq!(clients.counts().1, 0);
    drop(clients);
    // While a rollout has the weights, nobody else sets them.
    let weights = sidecar.put_weights("m", r#"{"v1": "50%", "v2": "50%"}"#);
    assert_eq!(weights.status, 409, "{}", weights.text());
    assert_eq!(post(&sidecar, &format!("/api/v1/rollouts/{id}/abort"), "", &json!({})).status, 200);
    assert_eq!(sidecar.put_weights("m", r#"{"v1": "50%", "v2": "50%"}"#).status, 200);
    assert_eq!(sidecar.version("v2")["weight"], "50%");
}

#[test]
fn what_comes_with_a_start_is_read_as_strictly_as_the_configuration() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let given =
        |candidate: Value, policy: Value| json!({"model": "m", "candidate": candidate, "policy": policy});
    let gate = json!({"name": "ask", "kind": "confirm-promotion", "url": "http://127.0.0.1:1/"});
    for (body, says) in [
        (given(json!({"name": "v3", "upstream": {"url": "h:1"}}), Value::Null), "upstream.url"),
        (
            given(json!({"name": "v3", "weight": "5%", "upstream": {"url": "http://h:1"}}), Value::Null),
            "weight",
        ),
        (given(json!({"name": "v3", "onnx": {"repository": "gone", "version": 1}}), Value::Null), "gone"),
        (given(json!("v2"), json!({"steps": [{"setWeight": "101%"}]})), "steps[0].setWeight"),
        (given(json!("v2"), json!({"steps": [{"setWeight": "5%"}], "gates": [gate]})), "gate ask"),
        (given(json!("v2"), json!({"steps": [{"setWeight": "5%"}], "candidate": "v2"})), "candidate"),
    ] {
        let response = post(&sidecar, "/api/v1/rollouts", "", &body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        let line = document(&response)["error"].as_str().unwrap().to_owned();
        assert!(line.contains(says) && !line.contains('\n'), "{line}");
    }
    assert_eq!(sidecar.ask_admin("GET", "/api/v1/models/m/rollout", "").status, 404);
}

#[test]
fn pairs_that_differ_are_kept_and_can_be_asked_for() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| (200, if n.is_multiple_of(2) { good(n + 1) } else { good(n) }));
    let config = config(&v1, &v2, "[{shadow: {minDuration: 1h, maxDuration: none}}]")
        .replace("[{errorRate: {}}]", "[{divergence: {max: 90%}}]");
    let sidecar = Sidecar::start(&config);
    started(&sidecar, &json!({"model": "m", "candidate": "v2"}));
    let _clients = Clients::start(&sidecar, 2, plain);
    let pairs = blocking_until("pairs", || {
        let pairs = sidecar.json("/api/v1/models/m/pairs?which=latest&limit=2");
        (pairs["pairs"].as_array()?.len() == 2).then_some(pairs)
    });
    let first = &pairs["pairs"][0];
    assert_eq!((&first["primaryVersion"], &first["shadowVersion"]), (&json!("v1"), &json!("v2")));
    assert_eq!(first["comparison"]["diverged"], true);
    assert!(first["request"]["text"].as_str().unwrap().contains("inputs"), "{first:#}");
    let worst = sidecar.json("/api/v1/models/m/pairs?which=worst&limit=1")["pairs"][0].clone();
    let one = sidecar.json(&format!("/api/v1/models/m/pairs/{}", worst["id"]));
    assert_eq!(one["id"], worst["id"]);
}
