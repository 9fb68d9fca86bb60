//! Rollouts all the way at the analysis that nobody had to configure: candidates that are the same as
//! stable never go back, and harm that begins when all looks well goes back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::support::rollouts::{Clients, config, good, model, plain};
use crate::support::{Sidecar, Upstream};

/// Models that each have a rollout of their own.
const MODELS: u64 = 6;
/// For all rollouts together, on a machine that is busy with other tests: it ends a hang, and judges nothing.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server that is as good as any other of its kind: one in a thousand requests fails, and two in a
/// hundred answers are other ones than its twin would give. With more failures a test of chance would
/// itself be one: one false rollback in a hundred rollouts is what is promised, and not none.
fn ordinary(seed: u64) -> Upstream {
    let calls = AtomicU64::new(0);
    model(move |n, _| {
        // Independent from call to call: what comes in bursts that the other one does not have is harm.
        let call = calls.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        match xxh3_64_with_seed(&call, seed) % 1_000 {
            0 => (500, good(n)),
            1..=20 => (200, good(n + 1)),
            _ => (200, good(n)),
        }
    })
}

#[test]
fn candidates_that_are_no_worse_come_through_every_step_and_none_is_taken_back() {
    let (v1, v2) = (ordinary(1), ordinary(2));
    let mut config = String::from("store: {path: '{dir}/rollouts.db'}\nmodels:\n");
    for number in 0..MODELS {
        config += &format!(
            "  - name: m{number}
    versions: [{{name: v1, upstream: {{url: '{}'}}}}, {{name: v2, upstream: {{url: '{}'}}}}]
    rollout:
      candidate: v2
      autoStart: true
      analysis: {{alpha: 0.01}}
      steps:
        - shadow: {{minPairs: 200, minDuration: 0s, harm: {{ratio: 4, minRate: 5%}}}}
        - setWeight: {{weight: 10%, minDuration: 1s, harm: {{ratio: 5, minRate: 10%}}}}
        - setWeight: {{weight: 50%, minDuration: 1s, harm: {{ratio: 4, minRate: 5%}}}}
        - bake: {{duration: 2s, holdback: 10%}}
",
            v1.url(),
            v2.url()
        );
    }
    let sidecar = Sidecar::start(&config);
    let path = |n: u64| format!("/v2/models/m{}/infer", n % MODELS);
    let clients = Clients::start_at(&sidecar, 5, path, plain);
    let started = Instant::now();
    for number in 0..MODELS {
        let name = format!("m{number}");
        let ended = loop {
            let rollout = sidecar.rollout_of(&name);
            if rollout["ended"] == true {
                break rollout;
            }
            assert!(started.elapsed() < PATIENCE, "{name} is not over: {rollout:#}");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!((&ended["phase"], &ended["stable"]), (&"Succeeded".into(), &"v1".into()), "{ended:#}");
        // It was judged, and by all of the checks that are there when nobody says otherwise.
        let checks = ended["evidence"]["checks"].as_array().unwrap();
        let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["error-rate", "latency", "divergence"]);
        let (e_value, threshold) = (&ended["evidence"]["eValue"], &ended["evidence"]["threshold"]);
        assert_eq!(threshold, 100.0);
        assert!(e_value.as_f64().unwrap() > 0.0 && e_value.as_f64() < threshold.as_f64(), "{ended:#}");
    }
    let (sent, failed) = clients.counts();
    drop(clients);
    // As often as it is the servers' way, and not more often.
    assert!(failed * 250 < sent, "{failed} of {sent} failed");
}

/// Goes to the bake with `holdback`, then lets the candidate fail as `fails` says of a request, and
/// looks how it goes back.
fn fails_in_the_bake(holdback: &str, share: &str, fails: fn(u64) -> bool, reason: &str) {
    let harmful = Arc::new(AtomicBool::new(false));
    let now = harmful.clone();
    let v1 = model(|n, _| (200, good(n)));
    let v2 = model(move |n, _| (if now.load(Ordering::Relaxed) && fails(n) { 500 } else { 200 }, good(n)));
    let steps = format!(
        "      steps:
        - setWeight: {{weight: 50%, minDuration: 0s, harm: {{ratio: 4, minRate: 5%}}}}
        - bake: {{duration: 24h, holdback: {holdback}}}
"
    );
    let sidecar = Sidecar::start(&config(&v1, &v2, &steps));
    let clients = Clients::start(&sidecar, 4, plain);
    sidecar.rollout_until("the bake", |rollout| rollout["phase"] == "Baking");
    let promoted = sidecar.version("v2");
    assert_eq!((&promoted["role"], &promoted["weight"]), (&"stable".into(), &share.into()));
    assert_eq!(sidecar.version("v1")["role"], "standby");
    assert_eq!(clients.more(200), 0);

    harmful.store(true, Ordering::Relaxed);
    let ended = sidecar.rollout_end();
    assert_eq!(ended["phase"], "RolledBack", "{ended:#}");
    assert!(ended["reason"].as_str().unwrap().contains(reason), "{ended:#}");
    // What was under way when it swapped may still fail.
    assert!(clients.more(500) <= 4);
    let back = sidecar.version("v1");
    assert_eq!((&back["role"], &back["weight"]), (&"stable".into(), &"100%".into()));
}

#[test]
fn errors_that_begin_in_the_bake_are_seen_beside_the_holdback_and_lead_back() {
    fails_in_the_bake("5%", "95%", |n| n.is_multiple_of(3), "error");
}

#[test]
fn a_candidate_that_breaks_down_with_all_of_the_traffic_is_taken_back_without_a_holdback() {
    fails_in_the_bake("0%", "100%", |_| true, "circuit breaker");
}
