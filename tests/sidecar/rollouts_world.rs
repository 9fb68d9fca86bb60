//! Rollouts and the services around them: who is asked, who is told, where it is written down. Each
//! is heard when it answers, and none is needed for the way back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use serde_json::{Value, json};

use crate::support::rollouts::{Clients, SmallDisk, config, good, hanging, model, plain, webhook};
use crate::support::{Refusing, Seen, Sidecar, Upstream, blocking_until};

const HALF: &str = "      steps:
        - setWeight: {weight: 50%, minDuration: 1h}
";
const SECRET: &str = "it is known to both";

/// From a candidate's end to the old version having all traffic; a tick is 20 ms, and this machine
/// may be busy.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A switch, and a candidate that fails every request once it is on.
fn failing_later() -> (Arc<AtomicBool>, Upstream) {
    let fails = Arc::new(AtomicBool::new(false));
    let now = fails.clone();
    (fails, model(move |n, _| (if now.load(Ordering::Relaxed) { 500 } else { 200 }, good(n))))
}

/// Requests that are good.
fn stable() -> Upstream {
    model(|n, _| (200, good(n)))
}

#[test]
fn with_every_service_down_traffic_is_back_at_once_and_nobody_notices() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (v1, mut v2, refusing, hangs) = (stable(), stable(), Refusing::start(), hanging());
    let alive = webhook(|_| 200);
    let steps = format!(
        "      steps:
        - setWeight: {{weight: 50%, minDuration: 0s, harm: {{ratio: 4, minRate: 5%}}}}
        - bake: {{duration: 24h}}
      gates:
        - {{name: promote, kind: confirm-promotion, url: '{refused}', retryEvery: 1s}}
        - {{name: alarm, kind: rollback, url: 'http://{hangs}', timeout: 10m, retryEvery: 1s}}
        - {{name: trail, kind: event, url: 'http://{hangs}', timeout: 10m}}
        - {{name: cleanup, kind: post-rollout, url: '{refused}'}}
",
        refused = refusing.url()
    );
    let notifications = format!(
        "notifications:
  - {{name: refuses, webhook: {{url: '{}'}}}}
  - {{name: hangs, timeout: 5m, webhook: {{url: 'http://{hangs}'}}}}
  - {{name: alive, webhook: {{url: '{}'}}}}
",
        refusing.url(),
        alive.url()
    );
    let store = disk.path("rollouts.db");
    let document = config(&v1, &v2, &steps).replace("{dir}/rollouts.db", store.to_str().unwrap());
    let sidecar = Sidecar::start(&(notifications + &document));
    let clients = Clients::start(&sidecar, 4, plain);
    let waiting = sidecar.rollout_until("the gate", |rollout| {
        rollout["phase"] == "Confirming" && rollout["reason"].as_str().unwrap().contains("said no")
    });
    assert!(waiting["reason"].as_str().unwrap().contains("cannot be reached"), "{waiting:#}");
    assert_eq!((&waiting["weight"], clients.more(500)), (&json!("50%"), 0));

    disk.fill();
    let killed = Instant::now();
    v2.stop();
    blocking_until("all traffic on v1", || (sidecar.version("v1")["weight"] == "100%").then_some(()));
    let took = killed.elapsed();
    // What was under way when it swapped may still fail.
    assert!(clients.more(500) <= 4);
    assert!(took < AT_ONCE, "{took:?}");
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");

    // It says that it cannot write, and starts nothing that it would forget.
    assert_eq!(sidecar.metric("switchback_store_well", &[]), 0.0);
    let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": "v2"}));
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("store"), "{answer}");
    // A rollback is told even where it cannot be written down.
    let told = |kind: &str| {
        blocking_until(kind, || kinds(&alive.seen()).contains(&kind.to_owned()).then_some(()));
    };
    told("rolledBack");
    told("storeDegraded");
    drop(clients);

    // What was decided meanwhile is written as soon as there is room, and outlives the process.
    disk.free();
    blocking_until("a store that is well", || {
        (sidecar.metric("switchback_store_well", &[]) == 1.0).then_some(())
    });
    told("storeRestored");
    let sidecar = sidecar.killed_and_started();
    let (after, latches) = (sidecar.rollout(), sidecar.json("/api/v1/models/m")["latches"].clone());
    assert_eq!((&after["id"], &after["phase"]), (&ended["id"], &json!("RolledBack")));
    assert_eq!(latches[0]["digest"], ended["digest"], "{latches}");
    let clients = Clients::start(&sidecar, 4, plain);
    assert_eq!(clients.more(200), 0);
}

#[test]
fn a_rollout_that_cannot_be_written_takes_nobodys_place() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (v1, v3, (fails, v2)) = (stable(), stable(), failing_later());
    let store = disk.path("rollouts.db");
    let sidecar =
        Sidecar::start(&config(&v1, &v2, HALF).replace("{dir}/rollouts.db", store.to_str().unwrap()));
    let clients = Clients::start(&sidecar, 4, plain);
    let running = sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    disk.fill();
    let other = json!({"name": "v3", "upstream": {"url": v3.url()}});
    let (status, answer) =
        sidecar.start_rollout(&json!({"model": "m", "candidate": other, "supersede": true}));
    assert_eq!(status, 503, "{answer}");
    // The one that runs goes on with its traffic, and is still judged.
    let seen = v2.count();
    assert_eq!(clients.more(500), 0);
    assert_eq!((&sidecar.rollout()["id"], v3.count()), (&running["id"], 0));
    assert!(v2.count() > seen + 100, "{} of 500", v2.count() - seen);
    fails.store(true, Ordering::Relaxed);
    let ended = sidecar.rollout_end();
    assert_eq!((&ended["id"], &ended["phase"]), (&running["id"], &json!("RolledBack")), "{ended:#}");
}

#[test]
fn without_a_store_that_can_be_opened_it_serves_and_starts_no_rollout() {
    let corrupt = tempfile::tempdir().unwrap();
    std::fs::write(corrupt.path().join("rollouts.db"), [7; 8192]).unwrap();
    let read_only = SmallDisk::mount().filter(SmallDisk::seal);
    let stores =
        [Some(corrupt.path().join("rollouts.db")), read_only.as_ref().map(|disk| disk.path("new.db"))];
    for store in stores.into_iter().flatten() {
        let (v1, v2) = (stable(), stable());
        let document = config(&v1, &v2, HALF).replace("{dir}/rollouts.db", store.to_str().unwrap());
        let sidecar = Sidecar::start(&document);
        assert_eq!(Clients::start(&sidecar, 2, plain).more(100), 0);
        assert_eq!(sidecar.metric("switchback_store_well", &[]), 0.0);
        let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": "v2"}));
        assert_eq!(status, 503, "{answer}");
        assert_eq!(sidecar.ask_admin("GET", "/api/v1/models/m/rollout", "").status, 404);
        assert_eq!(v2.count(), 0);
    }
    assert_eq!(std::fs::read(corrupt.path().join("rollouts.db")).unwrap(), [7; 8192], "left as it was");
}

/// Kinds of the events that a webhook was sent, in order.
fn kinds(seen: &[Seen]) -> Vec<String> {
    let kind = |seen: &Seen| {
        let event: Value = serde_json::from_slice(&seen.body).unwrap();
        event["kind"].as_str().unwrap().to_owned()
    };
    seen.iter().map(kind).collect()
}

/// Checks a request as a receiver must: that it is signed, of now, and not one that came before.
fn check_signed(seen: &[Seen]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut deliveries = BTreeSet::new();
    for request in seen {
        let field = |name: &str| request.headers[name].to_str().unwrap().to_owned();
        let (timestamp, signature) = (field("x-switchback-timestamp"), field("x-switchback-signature"));
        let hex = signature.strip_prefix("sha256=").unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let tag: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let signed = [timestamp.as_bytes(), b".", &request.body].concat();
        hmac::verify(&key, &signed, &tag).expect("it is signed with the secret of both");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(timestamp.parse().unwrap()) < 60, "{timestamp} is not now, which is {now}");
        assert!(deliveries.insert(field("x-switchback-delivery")), "sent twice: {request:?}");
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(field("x-switchback-event"), event["kind"]);
        assert_eq!(
            (&event["model"], &event["from"], &event["to"]),
            (&json!("m"), &json!("v1"), &json!("v2"))
        );
    }
}

/// A sidecar that tells a webhook at `url`, and one that hangs.
fn telling(url: &str, v1: &Upstream, v2: &Upstream, steps: &str) -> Sidecar {
    let notifications = format!(
        "notifications:
  - {{name: hangs, timeout: 5m, webhook: {{url: 'http://{}'}}}}
  - {{name: trail, webhook: {{url: '{url}', secretFile: '{{dir}}/secret'}}}}
",
        hanging()
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    Sidecar::start_in(folder, &(notifications + &config(v1, v2, steps)))
}

#[test]
fn a_receiver_is_told_each_event_signed_and_in_order_while_another_one_hangs() {
    let (v1, (fails, v2), trail) = (stable(), failing_later(), webhook(|_| 200));
    let steps = "      steps:
        - shadow: {minPairs: 100, minDuration: 0s, harm: {ratio: 4, minRate: 5%}}
        - setWeight: {weight: 50%, minDuration: 1h}
";
    let sidecar = telling(&trail.url(), &v1, &v2, steps);
    let _clients = Clients::start(&sidecar, 4, plain);
    sidecar.rollout_until("the canary", |rollout| rollout["step"] == 1);
    fails.store(true, Ordering::Relaxed);
    let ended = sidecar.rollout_end();
    blocking_until("four events", || (trail.count() >= 4).then_some(()));
    let seen = trail.seen();
    assert_eq!(kinds(&seen), ["rolloutStarted", "stepEntered", "stepEntered", "rolledBack"]);
    check_signed(&seen);
    let last: Value = serde_json::from_slice(&seen[3].body).unwrap();
    assert_eq!((&last["rollout"], &last["severity"]), (&ended["id"], &json!("critical")));
    assert_eq!(last["sentence"], ended["reason"], "the receiver reads what the status says");
    assert_eq!(sidecar.metric("switchback_notifications_total", &["\"trail\"", "\"sent\""]), 4.0);
}

#[test]
fn what_was_decided_is_told_after_kill_9_when_the_receiver_is_back() {
    let (v1, (fails, v2), refusing) = (stable(), failing_later(), Refusing::start());
    let sidecar = telling(&refusing.url(), &v1, &v2, HALF);
    let clients = Clients::start(&sidecar, 4, plain);
    fails.store(true, Ordering::Relaxed);
    sidecar.rollout_end();
    drop(clients);
    // Killed the moment the rollback can be seen: by then the news of it is as safe as it is itself. The
    // receiver is back before the next process is, which tries at once what waits, however long the
    // wait of the one before it had become.
    let folder = sidecar.killed();
    let trail = Upstream::start_at(refusing.listen(), |_| http::Response::new(crate::support::full("")));
    let sidecar = Sidecar::started_again(folder);
    blocking_until("three events", || (trail.count() >= 3).then_some(()));
    let seen = trail.seen();
    assert_eq!(kinds(&seen), ["rolloutStarted", "stepEntered", "rolledBack"]);
    check_signed(&seen);
    assert_eq!(sidecar.rollout()["phase"], "RolledBack");
    blocking_until("nothing waiting but for the one that hangs", || {
        (sidecar.metric("switchback_notices_waiting", &[]) == 3.0).then_some(())
    });
}

/// A gate of this kind at a webhook, in a rollout with these steps.
fn gated(kind: &str, gate: &Upstream, steps: &str) -> String {
    let url = gate.url();
    format!(
        "{steps}      gates: [{{name: board, kind: {kind}, url: '{url}', retryEvery: 1s, metadata: {{team: a}}}}]\n"
    )
}

#[test]
fn nothing_begins_before_who_must_confirm_it_says_yes() {
    let (v1, v2) = (stable(), stable());
    let board = webhook(|call| if call < 2 { 403 } else { 200 });
    let sidecar = Sidecar::start(&config(&v1, &v2, &gated("confirm-rollout", &board, HALF)));
    let clients = Clients::start(&sidecar, 2, plain);
    let said = "gate board (confirm-rollout) said no: answered 403: so it is";
    let waiting = sidecar.rollout_until("a no", |rollout| rollout["reason"] == said);
    assert_eq!(waiting["phase"], "Pending", "{waiting:#}");
    assert_eq!((clients.more(200), v2.count()), (0, 0));
    sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
    blocking_until("traffic", || (v2.count() > 0).then_some(()));
    let asked = board.seen();
    assert_eq!(asked.len(), 3);
    let call: Value = serde_json::from_slice(&asked[2].body).unwrap();
    let (metadata, rollout) = (&call["metadata"], sidecar.rollout());
    assert_eq!((&call["name"], &call["phase"]), (&json!("m"), &json!("Pending")));
    assert_eq!((&call["checksum"], &metadata["rollout"]), (&rollout["digest"], &rollout["id"]));
    assert_eq!((&metadata["gate"], &metadata["team"]), (&json!("confirm-rollout"), &json!("a")));
}

#[test]
fn a_candidate_that_is_ready_waits_for_whoever_confirms_promotion() {
    let (v1, v2) = (stable(), stable());
    let yes = Arc::new(AtomicBool::new(false));
    let says = yes.clone();
    let board = webhook(move |_| if says.load(Ordering::Relaxed) { 200 } else { 409 });
    let steps = "      steps:
        - setWeight: {weight: 50%, minDuration: 0s, harm: {ratio: 4, minRate: 5%}}
        - bake: {duration: 24h}
";
    let sidecar = Sidecar::start(&config(&v1, &v2, &gated("confirm-promotion", &board, steps)));
    let clients = Clients::start(&sidecar, 4, plain);
    blocking_until("a second question", || (board.count() >= 2).then_some(()));
    let waiting = sidecar.rollout();
    assert_eq!((&waiting["phase"], &waiting["weight"]), (&json!("Confirming"), &json!("50%")));
    assert_eq!(clients.more(200), 0);
    yes.store(true, Ordering::Relaxed);
    sidecar.rollout_until("the bake", |rollout| rollout["phase"] == "Baking");
    assert_eq!((&sidecar.version("v2")["weight"], clients.more(200)), (&json!("100%"), 0));
}

#[test]
fn a_gate_may_ask_for_the_way_back_though_all_checks_are_content() {
    let (v1, v2) = (stable(), stable());
    let board = webhook(|call| if call < 2 { 500 } else { 200 });
    let sidecar = Sidecar::start(&config(&v1, &v2, &gated("rollback", &board, HALF)));
    let clients = Clients::start(&sidecar, 2, plain);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    assert!(ended["reason"].as_str().unwrap().contains("board asked for a rollback"), "{ended:#}");
    assert_eq!((board.count(), &sidecar.version("v1")["weight"]), (3, &json!("100%")));
    let seen = v2.count();
    assert_eq!(clients.more(200), 0);
    assert!(v2.count() - seen <= 2, "what was under way");
}

/// An example of what the good model says to `n`.
fn example(n: u64) -> String {
    let body = json!({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [n]}]});
    let output = json!({"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": good(n)});
    let answer = json!({"model_name": "m", "outputs": [output]});
    json!({"path": "/v2/models/m/infer", "body": body, "answer": answer}).to_string() + "\n"
}

#[test]
fn a_candidate_that_fails_a_golden_example_never_gets_a_request_of_a_client() {
    let v1 = stable();
    // Wrong about one number only.
    let bad = model(|n, _| (200, if n == 7_000_003 { good(n + 1) } else { good(n) }));
    for (v2, passes) in [(stable(), true), (bad, false)] {
        let folder = tempfile::tempdir().unwrap();
        let examples = [example(7_000_001), example(7_000_002), example(7_000_003)].concat();
        std::fs::write(folder.path().join("golden.jsonl"), examples).unwrap();
        let rollout = format!("{HALF}      gates: [{{name: known, kind: golden, examples: golden.jsonl}}]\n");
        let sidecar = Sidecar::start_in(folder, &config(&v1, &v2, &rollout));
        let clients = Clients::start(&sidecar, 2, plain);
        if passes {
            sidecar.rollout_until("the step", |rollout| rollout["phase"] == "Running");
            blocking_until("traffic", || (v2.count() > 3).then_some(()));
            continue;
        }
        let ended = sidecar.rollout_end();
        assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
        assert!(ended["reason"].as_str().unwrap().contains("golden.jsonl line 3"), "{ended:#}");
        assert_eq!(clients.more(200), 0);
        let bodies: Vec<_> = v2.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies.len(), 3, "the examples and nothing else: {bodies:?}");
        let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": "v2"}));
        assert_eq!(status, 409, "{answer}");
    }
}
