//! Who is told what, from outside: receivers that come and go with the configuration, and news that
//! belongs to no decision.

use serde_json::{Value, json};

use crate::support::rollouts::{Clients, config, good, model, plain, webhook};
use crate::support::{Refusing, Sidecar, Upstream, blocking_until};

const HALF: &str = "      steps:
        - setWeight: {weight: 50%, minDuration: 1h}
";

fn always(status: u16) -> Upstream {
    model(move |n, _| (status, good(n)))
}

/// Kinds of the events that a webhook was sent, in order, and the last event.
fn told(hook: &Upstream) -> (Vec<String>, Value) {
    let events: Vec<Value> =
        hook.seen().iter().map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect();
    let kinds = events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect();
    (kinds, events.last().cloned().unwrap_or_default())
}

fn receivers(list: &[(&str, &str)]) -> String {
    let one = |(name, url): &(&str, &str)| format!("  - {{name: {name}, webhook: {{url: '{url}'}}}}\n");
    format!("notifications:\n{}", list.iter().map(one).collect::<String>())
}

#[test]
fn a_candidate_that_was_rolled_back_and_comes_again_is_refused_and_that_is_told() {
    let (v1, v2, v3, hook) = (always(200), always(500), always(200), webhook(|_| 200));
    let document = receivers(&[("trail", &hook.url())]) + &config(&v1, &v2, HALF);
    let sidecar = Sidecar::start(&document);
    let clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    drop(clients);
    blocking_until("the rollback", || told(&hook).0.contains(&"rolledBack".to_owned()).then_some(()));
    let before = told(&hook).0.len();
    for _ in 0..3 {
        let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": "v2"}));
        assert_eq!(status, 409, "{answer}");
    }
    blocking_until("the refusal", || (told(&hook).0.len() > before).then_some(()));
    let (kinds, last) = told(&hook);
    assert_eq!((kinds.last().unwrap().as_str(), kinds.len()), ("candidateRefused", before + 1), "told once");
    assert_eq!((&last["to"], &last["severity"]), (&json!("v2"), &json!("warning")));
    assert_eq!(last["rollout"], ended["id"]);
    // The configuration that brought it says nothing new, whenever the process begins with it.
    let sidecar = sidecar.killed_and_started();
    let other = json!({"name": "v3", "upstream": {"url": v3.url()}});
    let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": other}));
    assert_eq!(status, 201, "{answer}");
    blocking_until("another rollout", || {
        let kinds = told(&hook).0;
        kinds[before..].contains(&"rolloutStarted".to_owned()).then_some(())
    });
    // The one that was sent when the process died may be sent again, under its old name.
    let refused: std::collections::BTreeSet<String> = hook
        .seen()
        .iter()
        .map(|seen| serde_json::from_slice::<Value>(&seen.body).unwrap())
        .filter(|event| event["kind"] == "candidateRefused")
        .map(|event| event["id"].to_string())
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn receivers_come_and_go_with_the_configuration() {
    let (v1, v2, new) = (always(200), always(200), webhook(|_| 200));
    let refusing = Refusing::start();
    let start = receivers(&[("goes", &refusing.url()), ("moves", &refusing.url())]) + &config(&v1, &v2, HALF);
    let sidecar = Sidecar::start(&start);
    let waiting = |count: f64| {
        let what = format!("{count} waiting");
        blocking_until(&what, || (sidecar.metric("switchback_notices_waiting", &[]) == count).then_some(()));
    };
    // The beginning and the first step, for each of them.
    waiting(4.0);
    // What cannot be told is refused as a whole, and nothing has changed.
    std::fs::write(sidecar.folder().join("ca.pem"), "no certificate").unwrap();
    let wrong = format!(
        "notifications: [{{name: moves, ca: ca.pem, webhook: {{url: 'https://127.0.0.1:1'}}}}]\n{}",
        config(&v1, &v2, HALF)
    );
    sidecar.rewrite(&wrong);
    let answer = sidecar.reload();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("ca.pem"), "{}", answer.text());
    assert_eq!(sidecar.metric("switchback_notices_waiting", &[]), 4.0);

    let next = receivers(&[("moves", &new.url()), ("comes", &new.url())]) + &config(&v1, &v2, HALF);
    sidecar.rewrite(&next);
    assert_eq!(sidecar.reload().status, 200);
    waiting(0.0);
    let (kinds, last) = told(&new);
    assert_eq!(
        (kinds, &last["model"]),
        (vec!["rolloutStarted".to_owned(), "stepEntered".to_owned()], &json!("m"))
    );
    assert_eq!(sidecar.metric("switchback_notices_discarded_total", &[]), 2.0);
    assert_eq!(sidecar.metric("switchback_notifications_total", &["\"moves\"", "\"sent\""]), 2.0);
    assert!(!sidecar.metrics().contains("receiver=\"goes\""));
    // From now on both are told.
    let id = sidecar.rollout()["id"].as_str().unwrap().to_owned();
    let answer = sidecar.ask_admin("POST", &format!("/api/v1/rollouts/{id}/abort"), "{}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    blocking_until("the end, twice", || (new.count() == 4).then_some(()));
    // And then nobody.
    sidecar.rewrite(&config(&v1, &v2, HALF));
    assert_eq!(sidecar.reload().status, 200);
    blocking_until("no receivers", || {
        (!sidecar.metrics().contains("switchback_notifications_total{")).then_some(())
    });
}

#[test]
fn a_rollout_that_a_configuration_starts_is_told_to_the_receivers_of_that_configuration() {
    let (v1, v2, old, new) = (always(200), always(200), webhook(|_| 200), webhook(|_| 200));
    let with_candidate = config(&v1, &v2, HALF);
    let (without, _) = with_candidate.split_once("      - {name: v2").unwrap();
    let sidecar = Sidecar::start(&(receivers(&[("old", &old.url())]) + without));
    sidecar.rewrite(&(receivers(&[("new", &new.url())]) + &with_candidate));
    assert_eq!(sidecar.reload().status, 200);
    blocking_until("the news", || told(&new).0.contains(&"stepEntered".to_owned()).then_some(()));
    assert_eq!(told(&new).0, ["rolloutStarted", "stepEntered"]);
    assert_eq!(old.count(), 0);
}

#[test]
fn the_place_of_the_store_is_for_a_restart() {
    let (v1, v2) = (always(200), always(200));
    let document = config(&v1, &v2, HALF);
    let sidecar = Sidecar::start(&document);
    sidecar.rewrite(&document.replace("rollouts.db", "elsewhere.db"));
    let answer = sidecar.reload();
    assert_eq!(answer.status, 400, "{}", answer.text());
    for part in ["store (it is ", "rollouts.db, and is to be ", "elsewhere.db) cannot change", "restart it"] {
        assert!(answer.text().contains(part), "{}", answer.text());
    }
}
