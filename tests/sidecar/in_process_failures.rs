//! Models in process that can't be served: everything else goes on, and the reason stands wherever
//! somebody may look for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::in_process::{has_library, row};
use crate::support::{Http, RawClient, Sidecar, Upstream, run, until};

/// A folder with version 1 of the cancer model whole, and others in every state of repair.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo/models/cancer/1/model.onnx");
    let whole = std::fs::read(real).unwrap();
    for (version, bytes) in [
        ("1", Some(whole.as_slice())),
        ("2", Some(&whole[..whole.len() / 2])),
        ("3", Some(b"this is no model".as_slice())),
        ("4", Some(b"".as_slice())),
        ("5", None),
        ("6", Some(whole.as_slice())),
    ] {
        let at = folder.path().join("models/cancer").join(version);
        std::fs::create_dir_all(&at).unwrap();
        if let Some(bytes) = bytes {
            std::fs::write(at.join("model.onnx"), bytes).unwrap();
        }
    }
    folder
}

fn onnx(name: &str, version: u32) -> String {
    format!(
        "  - name: {name}\n    versions: [{{name: v1, onnx: {{repository: models, model: cancer, version: {version}}}}}]\n"
    )
}

#[test]
fn a_model_that_does_not_load_leaves_everything_else_serving_and_says_why() {
    if !has_library() {
        return;
    }
    run(async {
        let upstream = Upstream::echo("far");
        let mut config = format!(
            "models:\n  - name: far\n    versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]\n",
            upstream.url()
        );
        for (name, version) in [("whole", 1), ("cut", 2), ("garbage", 3), ("empty", 4), ("absent", 5)] {
            config.push_str(&onnx(name, version));
        }
        let sidecar = Sidecar::start_in(repository(), &config);
        let status = until("all to be loaded or not", async || {
            let status = sidecar.json("/api/v1/status");
            let models = status["models"].as_array().unwrap();
            let settled = models.iter().all(|m| {
                let version = &m["versions"][0];
                version["ready"] == true
                    || version["reason"]
                        .as_str()
                        .is_some_and(|r| !r.contains("being loaded") && !r.contains("not yet"))
            });
            settled.then_some(status)
        })
        .await;

        let mut client = RawClient::connect(sidecar.main());
        assert_eq!(client.post("/v2/models/far/infer", "", b"x").text(), "x");
        let good = client.post("/v2/models/whole/infer", "", &row());
        assert_eq!(good.status, 200, "{good:?}");

        let readiness = RawClient::connect(sidecar.admin()).get("/readyz");
        assert_eq!(readiness.status, 503);
        let readiness: Value = serde_json::from_slice(&readiness.body).unwrap();
        assert_eq!(readiness["ready"], false);
        let reasons = readiness["reasons"].to_string();
        for model in ["cut", "garbage", "empty", "absent"] {
            let of = status["models"].as_array().unwrap().iter().find(|m| m["name"] == model).unwrap();
            let why = of["versions"][0]["reason"].as_str().unwrap();
            assert!(why.contains("model.onnx") && why.lines().count() == 1, "{model}: {why}");
            assert!(reasons.contains(&format!("model {model}, version v1")), "{reasons}");

            let answer = client.post(&format!("/v2/models/{model}/infer"), "", &row());
            assert_eq!(answer.status, 503, "{answer:?}");
            assert_eq!(answer.header("x-switchback-error"), Some("unavailable"));
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(told["error"].as_str().unwrap().contains("model.onnx"), "{told}");
            assert_eq!(client.get(&format!("/v2/models/{model}/ready")).status, 503);
            let label = format!("model=\"{model}\"");
            assert_eq!(sidecar.metric("switchback_version_ready", &[&label]), 0.0);
        }
        assert!(!reasons.contains("model far") && !reasons.contains("model whole"), "{reasons}");
        assert_eq!(sidecar.metric("switchback_version_ready", &["model=\"whole\""]), 1.0);
        assert_eq!(client.get("/v2/health/live").status, 200);
        assert_eq!(client.get("/v2/health/ready").status, 503);
    });
}

#[test]
fn without_the_library_the_proxy_serves_and_the_models_say_what_is_missing() {
    run(async {
        let upstream = Upstream::echo("far");
        let config = format!(
            "onnxRuntime: {{library: nowhere/libonnxruntime.so}}\nmodels:\n  - name: far\n    versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]\n{}",
            upstream.url(),
            onnx("near", 1),
        );
        let sidecar = Sidecar::start_in(repository(), &config);
        let answer = until("the load to fail", async || {
            let answer = RawClient::connect(sidecar.main()).post("/v2/models/near/infer", "", &row());
            assert_eq!(answer.status, 503, "{answer:?}");
            (!answer.text().contains("being loaded")).then_some(answer)
        })
        .await;
        assert!(answer.text().contains("nowhere/libonnxruntime.so"), "{answer:?}");
        assert_eq!(RawClient::connect(sidecar.main()).post("/v2/models/far/infer", "", b"x").text(), "x");
        let status = sidecar.json("/api/v1/status");
        assert!(
            status["models"][1]["versions"][0]["reason"].as_str().unwrap().contains("nowhere"),
            "{status}"
        );
        assert_eq!(status["state"], "starting");
    });
}

#[test]
fn a_reload_that_names_a_broken_file_is_refused_and_a_good_one_swaps_without_a_failed_request() {
    if !has_library() {
        return;
    }
    run(async {
        let config = |weight: &str, version: u32| {
            format!(
                "models:
  - name: cancer
    versions:
      - {{name: v1, onnx: {{repository: models, model: cancer, version: 1}}}}
      - {{name: v2, weight: {weight}, onnx: {{repository: models, model: cancer, version: {version}}}}}
"
            )
        };
        let sidecar = Sidecar::start_in(
            repository(),
            "models: [{name: cancer, versions: [{name: v1, onnx: {repository: models, model: cancer, version: 1}}]}]",
        );
        sidecar.ready().await;

        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (over, sent, address) = (over.clone(), sent.clone(), sidecar.main());
            load.spawn(async move {
                let body = row();
                let mut http = Http::one(address).await;
                let mut versions = std::collections::BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = http.post("/v2/models/cancer/infer", &[], &body).await;
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    versions.insert(answer.headers()["x-switchback-version"].to_str().unwrap().to_owned());
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                versions
            });
        }
        let refused_before = sidecar.json("/api/v1/status")["config"]["reloads"]["refused"].as_u64().unwrap();
        let hash = sidecar.json("/api/v1/status")["config"]["hash"].clone();
        for version in [2, 3, 4, 5] {
            sidecar.rewrite(&config("50%", version));
            let answer = sidecar.reload();
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.text().contains("model.onnx"), "{answer:?}");
        }
        let status = sidecar.json("/api/v1/status");
        assert_eq!(status["config"]["hash"], hash);
        assert!(status["config"]["reloads"]["refused"].as_u64().unwrap() >= refused_before + 4, "{status}");
        assert!(status["config"]["lastError"].as_str().unwrap().contains("model.onnx"), "{status}");
        assert_eq!(status["models"][0]["versions"].as_array().unwrap().len(), 1);
        assert_eq!(status["ready"], true);
        assert_eq!(sidecar.metric("switchback_config_last_reload_success", &[]), 0.0);

        sidecar.rewrite(&config("50%", 6));
        let answer = sidecar.reload();
        assert_eq!(answer.status, 200, "{answer:?}");
        let at = sent.load(Ordering::Relaxed);
        until("the new version to answer", async || {
            let labels = ["version=\"v2\"", "outcome=\"success\""];
            (sidecar.metric("switchback_requests_total", &labels) > 5.0
                && sent.load(Ordering::Relaxed) > at + 20)
                .then_some(())
        })
        .await;
        over.store(true, Ordering::Relaxed);
        while let Some(done) = load.join_next().await {
            done.unwrap();
        }
        assert_eq!(sidecar.metric("switchback_config_last_reload_success", &[]), 1.0);
    });
}

#[test]
fn a_model_that_was_broken_at_the_start_is_tried_again_by_a_reload() {
    if !has_library() {
        return;
    }
    run(async {
        let mut config = "models:\n".to_owned();
        config.push_str(&onnx("whole", 1));
        config.push_str(&onnx("mended", 2));
        let sidecar = Sidecar::start_in(repository(), &config);
        let model = sidecar.folder().join("models/cancer");
        let ask = || RawClient::connect(sidecar.main()).post("/v2/models/mended/infer", "", &row());
        until("the load to fail", async || ask().text().contains("model.onnx").then_some(())).await;

        // Not mended yet: the rest of the configuration is taken up all the same.
        assert_eq!(sidecar.reload().status, 200);
        assert_eq!(ask().status, 503);

        std::fs::copy(model.join("1/model.onnx"), model.join("2/model.onnx")).unwrap();
        assert_eq!(sidecar.reload().status, 200);
        let answer = ask();
        assert_eq!(answer.status, 200, "{answer:?}");
        sidecar.ready().await;
    });
}
