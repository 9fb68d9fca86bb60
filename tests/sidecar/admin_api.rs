//! The operator's documents, as they are promised.

use serde_json::{Value, json};

use crate::support::{RawClient, Sidecar, Upstream, run, until};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_documents_have_the_shapes_that_are_promised() {
    run(async {
        let (upstream, shadow) = (Upstream::echo("v1"), Upstream::echo("v2"));
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: fraud
    versions:
      - {{name: v1, weight: 90%, upstream: {{url: \"{url}\"}}}}
      - {{name: v2, weight: 10%, upstream: {{url: \"{url}\"}}}}
      - {{name: v3, upstream: {{url: \"{}\"}}}}
    mirror: [{{to: v3, sample: 50%}}]
",
            shadow.url(),
            url = upstream.url(),
        ));
        sidecar.ready().await;
        assert_eq!(sidecar.json("/healthz"), json!({"status": "ok"}));
        assert_eq!(sidecar.json("/readyz"), json!({"ready": true, "reasons": []}));
        let mut client = RawClient::connect(sidecar.main());
        for _ in 0..100 {
            assert_eq!(client.post("/score", "", b"x").status, 200);
        }
        sidecar.mirror_settled("v3").await;

        let status = sidecar.status();
        let top = ["config", "listeners", "models", "ready", "state", "uptimeSeconds", "version"];
        assert_eq!(keys(&status), top);
        assert_eq!((&status["state"], &status["ready"]), (&json!("ready"), &json!(true)));
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert!(status["uptimeSeconds"].as_f64().unwrap() > 0.0);
        let config = &status["config"];
        assert_eq!(keys(config), ["hash", "lastError", "loadedAt", "path", "reloads"]);
        assert!(config["path"].as_str().unwrap().ends_with("switchback.yaml"));
        assert!(config["loadedAt"].as_str().unwrap().ends_with('Z'), "{config}");
        assert_eq!(
            (&config["reloads"], &config["lastError"]),
            (&json!({"applied": 0, "refused": 0}), &Value::Null)
        );
        assert_eq!(status["listeners"], json!([{"name": "main", "address": sidecar.main().to_string()}]));

        let model = &status["models"][0];
        assert_eq!(keys(model), ["mirrors", "name", "stable", "versions"]);
        assert_eq!((&model["name"], &model["stable"]), (&json!("fraud"), &json!("v1")));
        let version = &model["versions"][0];
        let of_version = [
            "backend",
            "firstByteSeconds",
            "inFlight",
            "latencySeconds",
            "name",
            "ready",
            "reason",
            "requests",
            "role",
            "target",
            "weight",
            "weightBasisPoints",
        ];
        assert_eq!(keys(version), of_version);
        assert_eq!((&version["weight"], &version["weightBasisPoints"]), (&json!("90%"), &json!(9000)));
        assert_eq!((&version["backend"], &version["target"]), (&json!("upstream"), &json!(upstream.url())));
        assert_eq!(
            (&version["ready"], &version["reason"], &version["inFlight"]),
            (&json!(true), &Value::Null, &json!(0))
        );
        let roles: Vec<_> = (0..3).map(|v| model["versions"][v]["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["stable", "canary", "shadow"]);
        assert_eq!(
            keys(&version["requests"]),
            ["cancelled", "clientError", "fault", "serverError", "success"]
        );
        let answered = |v: usize| model["versions"][v]["requests"]["success"].as_u64().unwrap();
        assert_eq!(answered(0) + answered(1), 100);
        for seconds in ["latencySeconds", "firstByteSeconds"] {
            assert_eq!(keys(&version[seconds]), ["count", "p50", "p90", "p99"]);
            assert_eq!(version[seconds]["count"], answered(0));
            let quantile = |q: &str| version[seconds][q].as_f64().unwrap();
            assert!(
                0.0 < quantile("p50")
                    && quantile("p50") <= quantile("p90")
                    && quantile("p90") <= quantile("p99")
            );
        }
        let mirror = &model["mirrors"][0];
        assert_eq!(
            (&mirror["to"], &mirror["sample"], &mirror["eligible"]),
            (&json!("v3"), &json!("50%"), &json!(100))
        );
        assert_eq!(mirror["completed"], answered(2));
        assert_eq!(mirror["coverage"], 1.0);
        assert!(mirror["dropped"].as_object().unwrap().values().all(|n| *n == 0), "{mirror}");
    });
}

#[test]
fn an_upstream_that_is_not_there_at_the_start_is_waited_for_and_named() {
    run(async {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let other = Upstream::echo("other");
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: m
    versions: [{{name: v1, upstream: {{url: \"http://{gone}\"}}}}]
  - name: other
    versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]
",
            other.url()
        ));
        let told = until("a reason", async || {
            let told = sidecar.json("/readyz");
            told["reasons"].to_string().contains("refused").then_some(told)
        })
        .await;
        assert_eq!(told["reasons"].as_array().unwrap().len(), 1, "{told}");
        assert!(told["reasons"][0].as_str().unwrap().starts_with("model m, version v1: "), "{told}");
        assert_eq!(RawClient::connect(sidecar.admin()).get("/readyz").status, 503);
        assert_eq!(sidecar.status()["state"], "starting");
        assert_eq!(RawClient::connect(sidecar.main()).get("/v2/models/m/infer").status, 502);
        assert_eq!(RawClient::connect(sidecar.main()).get("/v2/models/other/infer").status, 200);

        let _late =
            Upstream::start_on(&gone.to_string(), |_| http::Response::new(crate::support::full("here")));
        sidecar.ready().await;
        assert_eq!(RawClient::connect(sidecar.main()).get("/v2/models/m/infer").text(), "here");
        assert_eq!(sidecar.status()["models"][0]["versions"][0]["reason"], Value::Null);
    });
}
