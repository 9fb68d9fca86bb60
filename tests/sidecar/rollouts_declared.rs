//! Rollouts and the configuration: it may begin one, and never undoes one silently. And rollouts
//! among each other: one at a time, unless somebody says that another one takes its place.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::rollouts::{Clients, good, model, plain};
use crate::support::{Sidecar, Upstream};

/// A configuration of model `m` with these versions, that has rollouts started by naming a candidate.
fn declared(versions: &[(&str, &Upstream)], candidate: &str, weight: &str) -> String {
    let mut text = String::from("store: {path: '{dir}/rollouts.db'}\nmodels:\n  - name: m\n    versions:\n");
    for (name, server) in versions {
        text += &format!("      - {{name: {name}, upstream: {{url: '{}'}}}}\n", server.url());
    }
    text += &format!(
        "    rollout:
      autoStart: true
{candidate}      steps: [{{setWeight: {{weight: {weight}, minDuration: 1h}}}}]
"
    );
    text
}

fn naming(candidate: &str) -> String {
    format!("      candidate: {candidate}\n")
}

/// Has the sidecar take this configuration up, and waits until the decider knows it too.
fn reload(sidecar: &Sidecar, config: &str) {
    sidecar.rewrite(config);
    let answer = sidecar.reload();
    assert_eq!(answer.status, 200, "{}", answer.text());
    // It does one thing after another, so that what it answers now it says with the new one in mind.
    sidecar.start_rollout(&json!({"model": "m", "candidate": "nobody"}));
}

fn differences(sidecar: &Sidecar) -> Vec<String> {
    let model = sidecar.json("/api/v1/models/m");
    serde_json::from_value(model["differences"].clone()).unwrap()
}

/// What `check --against` says of the file that the sidecar runs with: exit code and output.
fn check_against(sidecar: &Sidecar) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_switchback"))
        .args(["check", "--against", &format!("http://{}", sidecar.admin()), "--config"])
        .arg(sidecar.folder().join("switchback.yaml"))
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_reload_that_names_a_candidate_starts_a_rollout_and_no_reload_undoes_one() {
    let (v1, v3) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let fails = Arc::new(AtomicBool::new(false));
    let now = fails.clone();
    let v2 = model(move |n, _| (if now.load(Ordering::Relaxed) { 500 } else { 200 }, good(n)));
    let sidecar = Sidecar::start(&declared(&[("v1", &v1)], "", "50%"));
    assert_eq!(sidecar.ask_admin("GET", "/api/v1/models/m/rollout", "").status, 404);
    let clients = Clients::start(&sidecar, 4, plain);

    reload(&sidecar, &declared(&[("v1", &v1), ("v2", &v2)], &naming("v2"), "50%"));
    let first = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    assert_eq!((&first["candidate"], &first["by"]["name"]), (&json!("v2"), &json!("config")));
    assert_eq!(
        differences(&sidecar),
        ["v1 has weight 50%; the configuration says 100%", "v2 has weight 50%; the configuration says 0%"]
    );

    // The file forgets v2 and wants v3 with other steps: what runs goes on as it began.
    reload(&sidecar, &declared(&[("v1", &v1), ("v3", &v3)], &naming("v3"), "10%"));
    let seen = v2.count();
    assert_eq!(clients.more(200), 0);
    let running = sidecar.rollout();
    assert_eq!((&running["id"], &running["phase"]), (&first["id"], &json!("Running")));
    assert_eq!((&running["steps"], &running["weight"]), (&json!(["setWeight 50%"]), &json!("50%")));
    assert_eq!(sidecar.version("v2")["weight"], "50%");
    assert!(v2.count() > seen + 20);
    assert_eq!(v3.count(), 0);
    assert!(differences(&sidecar).contains(&"v2 is not in the configuration".to_owned()));
    assert_eq!(sidecar.metric("switchback_rollout_config_differences", &["model=\"m\""]), 2.0);
    let (code, said) = check_against(&sidecar);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("v2"), "{said}");

    reload(&sidecar, &declared(&[("v1", &v1), ("v2", &v2)], &naming("v2"), "50%"));
    fails.store(true, Ordering::Relaxed);
    assert_eq!(sidecar.rollout_end()["phase"], "RolledBack");
    // Neither its old name nor a new one brings a latched candidate back.
    for name in ["v2", "v2-again"] {
        reload(&sidecar, &declared(&[("v1", &v1), (name, &v2)], &naming(name), "50%"));
        let last = sidecar.rollout();
        assert_eq!((&last["id"], &last["phase"]), (&first["id"], &json!("RolledBack")));
        let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": name}));
        assert_eq!(status, 409, "{answer}");
    }
    assert_eq!(clients.more(200), 0);

    reload(&sidecar, &declared(&[("v1", &v1), ("v3", &v3)], &naming("v3"), "10%"));
    let second = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    assert_eq!((&second["candidate"], &second["weight"]), (&json!("v3"), &json!("10%")));
}

#[test]
fn a_candidate_that_is_named_while_another_is_on_trial_begins_when_that_has_ended() {
    let (v1, v2, v3) =
        (model(|n, _| (200, good(n))), model(|_, _| (500, [0.5; 2])), model(|n, _| (200, good(n))));
    let all = [("v1", &v1), ("v2", &v2), ("v3", &v3)];
    let sidecar = Sidecar::start(&declared(&all, &naming("v2"), "50%"));
    sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    reload(&sidecar, &declared(&all, &naming("v3"), "50%"));
    assert_eq!((&sidecar.rollout()["candidate"], v3.count()), (&json!("v2"), 0));
    let _clients = Clients::start(&sidecar, 4, plain);
    let second = sidecar.rollout_until("the next candidate", |rollout| rollout["candidate"] == "v3");
    assert_eq!(second["by"]["name"], "config");
    assert_eq!(sidecar.json("/api/v1/models/m")["latches"][0]["version"], "v2");
}

#[test]
fn what_was_promoted_stays_and_a_file_that_still_says_otherwise_is_shown_to_differ() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let config = declared(&[("v1", &v1), ("v2", &v2)], &naming("v2"), "50%");
    let sidecar = Sidecar::start(&config);
    let running = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    let promote = format!("/api/v1/rollouts/{}/promote", running["id"].as_str().unwrap());
    assert_eq!(sidecar.ask_admin("POST", &promote, r#"{"full": true}"#).status, 200);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "Succeeded", "{ended:#}");
    let said = ["stable is v2; the configuration says v1", "v2 has weight 100%; the configuration says 0%"];
    for weight in ["50%", "40%"] {
        reload(&sidecar, &declared(&[("v1", &v1), ("v2", &v2)], &naming("v2"), weight));
        let v2 = sidecar.version("v2");
        assert_eq!((&v2["role"], &v2["weight"]), (&json!("stable"), &json!("100%")));
        assert!(said.iter().all(|line| differences(&sidecar).contains(&(*line).to_owned())));
        assert_eq!(sidecar.rollout()["id"], ended["id"]);
        assert_eq!(check_against(&sidecar).0, Some(1));
    }
    // Once the file says the same, nothing differs any more.
    reload(&sidecar, &declared(&[("v2", &v2)], "", "50%"));
    assert_eq!((differences(&sidecar).len(), check_against(&sidecar).0), (0, Some(0)));
}

#[test]
fn another_rollout_is_refused_while_one_runs_unless_it_is_to_take_its_place() {
    let servers = [(); 3].map(|()| model(|n, _| (200, good(n))));
    let [v1, v2, v3] = &servers;
    let sidecar = Sidecar::start(&declared(&[("v1", v1), ("v2", v2), ("v3", v3)], &naming("v2"), "50%"));
    let clients = Clients::start(&sidecar, 4, plain);
    let first = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    let start = |supersede: bool| json!({"model": "m", "candidate": "v3", "supersede": supersede});
    let (status, answer) = sidecar.start_rollout(&start(false));
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains(first["id"].as_str().unwrap()), "{answer}");
    assert_eq!(sidecar.rollout()["id"], first["id"]);

    let (status, answer) = sidecar.start_rollout(&start(true));
    assert_eq!(status, 201, "{answer}");
    let second = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    assert_eq!((&second["id"], &second["candidate"]), (&answer["rollout"]["id"], &json!("v3")));
    let old: Value = sidecar.json(&format!("/api/v1/rollouts/{}", first["id"].as_str().unwrap()));
    assert_eq!((&old["phase"], &old["weight"]), (&json!("Superseded"), &json!("0%")));
    let weights = ["v1", "v2", "v3"].map(|name| sidecar.version(name)["weight"].clone());
    assert_eq!(weights, ["50%", "0%", "50%"]);
    let (seen, before) = (v2.count(), v3.count());
    assert_eq!(clients.more(200), 0);
    assert!(v2.count() - seen <= 4, "what was under way");
    assert!(v3.count() > before + 20);
    // What it replaced is no worse for it: it was not rolled back, and is not latched.
    assert_eq!(sidecar.json("/api/v1/models/m")["latches"], json!([]));
}
