//! Rollouts end to end: good candidates come through, each harm is caught and goes back, and too
//! little to tell is told so.

use super::support::Sidecar;
use super::support::rollouts::{Clients, config, good, model, plain};

const ALL_THE_WAY: &str = "      steps:
        - shadow: {minPairs: 100, minDuration: 0s}
        - setWeight: {weight: 30%, minDuration: 0s, harm: {ratio: 4, minRate: 5%}}
        - bake: {duration: 1s}
";
const CANARY: &str = "      steps:
        - setWeight: {weight: 50%, minDuration: 1h}
";

/// Requests whose answers went to clients while `version` had its trial.
fn served(sidecar: &Sidecar, version: &str) -> f64 {
    let version = format!("version=\"{version}\"");
    sidecar.metric("switchback_requests_total", &[&version, "role=\"canary\""])
}

#[test]
fn a_good_candidate_goes_all_the_way_and_no_request_fails() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let sidecar = Sidecar::start(&config(&v1, &v2, ALL_THE_WAY));
    let clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "Succeeded", "{ended:#}");
    let before = v2.count();
    let (sent, _) = clients.counts();
    sidecar.rollout_until("more requests", |_| clients.counts().0 > sent + 100);
    let (_, failed) = clients.counts();
    drop(clients);
    assert_eq!(failed, 0);
    assert!(v2.count() > before);
    assert_eq!(sidecar.version("v2")["role"], "stable");
    assert_eq!(sidecar.version("v2")["weight"], "100%");
}

#[test]
fn a_candidate_that_answers_otherwise_is_caught_in_shadow_before_a_user_sees_it() {
    let v1 = model(|n, _| (200, good(n)));
    // Confident, valid and wrong in a fifth of the answers.
    let v2 = model(|n, _| (200, if n.is_multiple_of(5) { good(n + 1) } else { good(n) }));
    let sidecar = Sidecar::start(&config(&v1, &v2, ALL_THE_WAY));
    let clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    let (_, failed) = clients.counts();
    drop(clients);
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    assert_eq!(ended["step"], 0);
    assert_eq!((failed, served(&sidecar, "v2")), (0, 0.0));
    assert!(ended["reason"].as_str().unwrap().contains("diverge"), "{ended:#}");
}

#[test]
fn answers_that_are_no_numbers_are_caught_in_shadow() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| (200, if n.is_multiple_of(3) { [f64::NAN; 2] } else { good(n) }));
    let sidecar = Sidecar::start(&config(&v1, &v2, ALL_THE_WAY));
    let _clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    assert_eq!((&ended["phase"], &ended["step"]), (&"RolledBack".into(), &0.into()), "{ended:#}");
    assert!(sidecar.metric("switchback_divergences_total", &["reason=\"non_finite\""]) > 0.0);
}

#[test]
fn a_candidate_that_fails_is_taken_back_and_latched_and_then_no_request_fails() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| (if n.is_multiple_of(4) { 500 } else { 200 }, good(n)));
    let sidecar = Sidecar::start(&config(&v1, &v2, CANARY));
    let clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    let seen = v2.count();
    let (sent, failed) = clients.counts();
    sidecar.rollout_until("more requests", |_| clients.counts().0 > sent + 500);
    let (_, later) = clients.counts();
    // What was under way when it swapped may still fail; nothing is sent there any more.
    assert!(later - failed <= 4, "{failed} failed before, {later} after");
    assert!(v2.count() - seen <= 4);
    assert_eq!(sidecar.version("v1")["weight"], "100%");
    // The configuration still names it: a reload does not start it again.
    assert_eq!(sidecar.reload().status, 200);
    assert_eq!(sidecar.rollout()["id"], ended["id"]);
}

#[test]
fn a_candidate_that_is_slow_is_taken_back() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        (200, good(n))
    });
    let sidecar = Sidecar::start(&config(&v1, &v2, CANARY));
    let _clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    assert!(ended["reason"].as_str().unwrap().contains("latency"), "{ended:#}");
}

#[test]
fn a_harm_to_one_segment_is_found_and_the_segment_is_named() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, seen| {
        let hurt = seen.headers.get("x-region").is_some_and(|region| region == "south");
        (if hurt && n % 8 < 5 { 500 } else { 200 }, good(n))
    });
    let rollout = format!("{CANARY}      analysis: {{segments: {{by: {{header: x-region}}, max: 10}}}}\n");
    let sidecar = Sidecar::start(&config(&v1, &v2, &rollout));
    let region = |n: u64| format!("x-region: {}\r\n", if n % 10 == 3 { "south" } else { "north" });
    let _clients = Clients::start(&sidecar, 4, region);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    assert!(ended["reason"].as_str().unwrap().contains("segment south"), "{ended:#}");
}

#[test]
fn a_harm_that_begins_late_is_found() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|n, _| (if n > 8_000 && n.is_multiple_of(3) { 503 } else { 200 }, good(n)));
    let sidecar = Sidecar::start(&config(&v1, &v2, CANARY));
    let _clients = Clients::start(&sidecar, 4, plain);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
}

#[test]
fn without_traffic_a_step_is_inconclusive_and_waits_for_somebody() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let steps = "      steps:\n        - setWeight: {weight: 10%, minDuration: 0s, maxDuration: 1s}\n";
    let sidecar = Sidecar::start(&config(&v1, &v2, steps));
    let paused = sidecar.rollout_until("the pause", |rollout| rollout["phase"] == "Paused");
    assert!(paused["reason"].as_str().unwrap().starts_with("INCONCLUSIVE"), "{paused:#}");
    assert_eq!(sidecar.version("v2")["weight"], "10%");
}

/// What must be the same before and after.
fn standing(sidecar: &Sidecar) -> Vec<String> {
    let rollout = sidecar.rollout();
    let versions = ["v1", "v2"].map(|name| {
        let version = sidecar.version(name);
        format!("{} {}", version["role"], version["weight"])
    });
    let [id, phase, step] = ["id", "phase", "step"].map(|key| rollout[key].to_string());
    [vec![id, phase, step], versions.to_vec()].concat()
}

#[test]
fn after_kill_9_in_a_canary_step_the_same_split_goes_on_with_its_evidence() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let mut sidecar = Sidecar::start(&config(&v1, &v2, CANARY));
    for _ in 0..3 {
        let clients = Clients::start(&sidecar, 4, plain);
        sidecar.rollout_until("requests", |_| clients.counts().0 > 500);
        drop(clients);
        let before = standing(&sidecar);
        sidecar = sidecar.killed_and_started();
        assert_eq!(standing(&sidecar), before);
        assert_eq!(sidecar.version("v2")["weight"], "50%");
    }
}

#[test]
fn a_candidate_that_was_taken_back_stays_out_after_kill_9() {
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(|_, _| (500, [0.5; 2]));
    let mut sidecar = Sidecar::start(&config(&v1, &v2, CANARY));
    let clients = Clients::start(&sidecar, 4, plain);
    sidecar.rollout_end();
    drop(clients);
    let (before, seen) = (standing(&sidecar), v2.count());
    sidecar = sidecar.killed_and_started();
    assert_eq!(standing(&sidecar), before);
    let clients = Clients::start(&sidecar, 4, plain);
    sidecar.rollout_until("requests", |_| clients.counts().0 > 500);
    assert_eq!((clients.counts().1, v2.count()), (0, seen));
}

#[test]
fn what_was_promoted_stays_stable_after_kill_9_whatever_the_configuration_says() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let mut sidecar = Sidecar::start(&config(&v1, &v2, ALL_THE_WAY));
    let clients = Clients::start(&sidecar, 4, plain);
    assert_eq!(sidecar.rollout_end()["phase"], "Succeeded");
    drop(clients);
    let before = standing(&sidecar);
    sidecar = sidecar.killed_and_started();
    assert_eq!(standing(&sidecar), before);
    assert_eq!(sidecar.version("v2")["weight"], "100%");
}
