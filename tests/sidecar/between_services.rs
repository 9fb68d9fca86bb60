//! The proxy that breaks things between the sidecar and all that is not on the way of a request: whoever
//! operates it, whoever it tells or asks, whom it checks. No request notices, and when the harm is
//! over nothing is left of it.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fault_proxy::{FaultProxy, Harm, Harms};
use crate::support::rollouts::{config, good, model, webhook};
use crate::support::{RawClient, Sidecar, Upstream, blocking_until};

const HARMS: [Harm; 8] = [
    Harm::Delay(Duration::from_millis(20)),
    Harm::Trickle(400),
    Harm::CutAfter(0),
    Harm::CutAfter(20),
    Harm::ResetAfter(0),
    Harm::HalfCloseAfter(5),
    Harm::GarbageAfter(3),
    Harm::HangAfter(10),
];

/// Requests are served as ever.
fn is_served(sidecar: &Sidecar, harm: Harm) {
    for n in 0..10 {
        let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"INT64","shape":[1],"data":[{n}]}}]}}"#);
        let answer = RawClient::connect(sidecar.main()).post("/v2/models/m/infer", "", body.as_bytes());
        assert_eq!(answer.status, 200, "{harm:?}: {}", answer.text());
    }
}

#[test]
fn between_the_sidecar_and_whom_it_tells_and_asks() {
    let (v1, v2) = (model(|n, _| (200, good(n))), model(|n, _| (200, good(n))));
    let (receiver, gate) = (webhook(|_| 200), webhook(|_| 200));
    let proxies = [receiver.address, gate.address].map(FaultProxy::before);
    let steps = format!(
        "      steps:
        - setWeight: {{weight: 50%, minDuration: 0s, maxDuration: none}}
        - bake: {{duration: 24h}}
      analysis: {{warmup: {{requests: 0, duration: 0s}}, metrics: [{{errorRate: {{}}}}]}}
      gates:
        - {{name: board, kind: confirm-rollout, url: '{}', timeout: 1s, retryEvery: 1s}}
",
        proxies[1].url()
    );
    let document = config(&v1, &v2, &steps).replace("      autoStart: true\n", "");
    let told =
        format!("notifications: [{{name: ours, timeout: 1s, webhook: {{url: '{}'}}}}]\n", proxies[0].url());
    let sidecar = Sidecar::start(&(told + &document));
    for (n, harm) in HARMS.into_iter().enumerate() {
        let (asked, heard) = (gate.count(), receiver.count());
        for proxy in &proxies {
            proxy.set(Harms { there: Harm::None, back: harm });
        }
        let candidate = json!({"name": "v3", "upstream": {"url": v2.url()}, "digest": format!("build:{n}")});
        let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": candidate}));
        assert_eq!(status, 201, "{harm:?}: {answer}");
        let id = answer["rollout"]["id"].as_str().unwrap().to_owned();
        is_served(&sidecar, harm);
        blocking_until("both have been called", || {
            (gate.count() > asked && receiver.count() > heard).then_some(())
        });
        is_served(&sidecar, harm);
        for proxy in &proxies {
            proxy.set(Harms::NONE);
        }
        sidecar.rollout_until("leave to begin", |rollout| rollout["weight"] == "50%");
        let answer = sidecar.ask_admin("POST", &format!("/api/v1/rollouts/{id}/abort"), "{}");
        assert_eq!(answer.status, 200, "{harm:?}: {}", answer.text());
        let kinds = || -> Vec<String> {
            let events = receiver.seen().into_iter().map(|seen| serde_json::from_slice::<Value>(&seen.body));
            let ours = events.map(Result::unwrap).filter(|event| event["rollout"] == id.as_str());
            ours.map(|event| event["kind"].as_str().unwrap_or_default().to_owned()).collect()
        };
        for kind in ["rolloutStarted", "aborted"] {
            blocking_until(kind, || kinds().iter().any(|told| told == kind).then_some(()));
        }
    }
}

#[test]
fn between_the_sidecar_and_an_endpoint_that_it_checks() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let proxy = FaultProxy::before(one.address);
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, timeouts: {{response: 2s}}, \
         retry: {{attempts: 2, when: [reset, timeout, gateway], minPerSecond: 1000}}, versions: [{{name: v1, upstream: {{\
         endpoints: ['{}', '{}'], panicBelow: 0%, \
         healthCheck: {{http: {{path: /}}, interval: 50ms, timeout: 300ms, unhealthyAfter: 2}}}}}}]}}]\n",
        proxy.url(),
        two.url()
    ));
    let unhealthy = |count: f64| {
        blocking_until(&format!("{count} unhealthy"), || {
            let now = sidecar.metric("switchback_upstream_endpoints", &["standing=\"unhealthy\""]);
            (now == count).then_some(())
        });
    };
    for harm in HARMS {
        proxy.set(Harms { there: Harm::None, back: harm });
        match harm {
            Harm::Delay(_) | Harm::Trickle(_) => {}
            _ => unhealthy(1.0),
        }
        is_served(&sidecar, harm);
        proxy.set(Harms::NONE);
        unhealthy(0.0);
    }
    is_served(&sidecar, Harm::None);
}

#[test]
fn between_the_sidecar_and_its_operator() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&crate::support::one_version(&upstream.url(), ""));
    let proxy = FaultProxy::before(sidecar.admin());
    for harm in HARMS {
        for harms in [Harms { there: harm, back: Harm::None }, Harms { there: Harm::None, back: harm }] {
            proxy.set(harms);
            // What hangs is left hanging: more of them than are served at one time.
            let mut clients: Vec<_> = (0..20).map(|_| RawClient::connect(proxy.address)).collect();
            for client in &mut clients {
                let _ = client.0.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: test\r\n\r\n");
            }
            for client in &mut clients {
                client.patience(Duration::from_millis(20));
                let _ = client.0.read(&mut [0; 1024]);
            }
            proxy.set(Harms::NONE);
            is_served(&sidecar, harm);
            drop(clients);
            assert_eq!(sidecar.ask_admin("GET", "/api/v1/models/m", "").status, 200, "{harms:?}");
        }
    }
}
