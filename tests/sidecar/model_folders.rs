//! Versions that come and go as folders, under load: the new one takes over, or is refused and the old
//! one goes on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::in_process::has_library;
use crate::support::{RawClient, Sidecar, run, until};

fn fixture(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(model).join("1/model.onnx")
}

/// A repository with versions of `squares`, which answers the square of what it is asked.
struct Folder(PathBuf);

impl Folder {
    fn new(folder: &tempfile::TempDir) -> Self {
        let path = folder.path().join("models/squares");
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Puts a version there as careful people do: written elsewhere, then renamed.
    fn add(&self, version: u64, model: &[u8], golden: Option<&str>) {
        let draft = self.0.join("draft");
        std::fs::create_dir_all(&draft).unwrap();
        std::fs::write(draft.join("model.onnx"), model).unwrap();
        let metadata = json!({"codeVersion": format!("build {version}"), "team": "risk"});
        std::fs::write(draft.join("metadata.json"), metadata.to_string()).unwrap();
        if let Some(golden) = golden {
            std::fs::write(draft.join("golden.json"), golden).unwrap();
        }
        std::fs::rename(draft, self.0.join(version.to_string())).unwrap();
    }
}

fn good() -> Vec<u8> {
    std::fs::read(fixture("lookup")).unwrap()
}

/// The same model in other bytes: with a description (`ModelProto.doc_string`) at its end.
fn good_too() -> Vec<u8> {
    let mut bytes = good();
    bytes.extend_from_slice(b"\x32\x03two");
    bytes
}

fn golden(of_three: f64) -> String {
    json!({"examples": [{
        "inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [of_three]}],
    }]})
    .to_string()
}

fn body(n: usize) -> Vec<u8> {
    let n = n % 10;
    json!({"inputs": [{"name": "x", "datatype": "INT64", "shape": [2], "data": [n, 1]}]}).to_string().into()
}

/// Clients that ask one thing after the other until they are stopped.
struct Asking {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Asking {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (stop, done) = (stop.clone(), done.clone());
            std::thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = done.fetch_add(1, Ordering::Relaxed);
                    let answer = client.post("/v2/models/squares/infer", "", &body(n));
                    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let small = (n % 10) as f64;
                    if answer.status != 200 || told["outputs"][0]["data"] != json!([small * small, 1.0]) {
                        failures.push(format!("{n}: {answer:?}"));
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, done, clients }
    }

    /// No request may have failed.
    fn stop(self, at_least: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> = self.clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
        assert_eq!(failures, Vec::<String>::new());
        assert!(self.done.load(Ordering::Relaxed) >= at_least);
    }
}

fn stable(sidecar: &Sidecar) -> String {
    sidecar.json("/api/v1/status")["models"][0]["stable"].as_str().unwrap_or_default().to_owned()
}

fn names(sidecar: &Sidecar) -> Vec<String> {
    let status = sidecar.json("/api/v1/status");
    let versions = status["models"][0]["versions"].as_array().unwrap();
    versions.iter().map(|version| version["name"].as_str().unwrap().to_owned()).collect()
}

fn start(folder: tempfile::TempDir, rest: &str) -> Sidecar {
    let config = format!(
        "onnxRuntime: {{pollInterval: 200ms}}\nstore: {{path: s.db}}\nmodels:\n  - name: squares\n    repository:\n      path: models\n{rest}"
    );
    Sidecar::start_in(folder, &config)
}

#[test]
fn a_new_version_takes_over_under_load_and_one_that_is_no_good_does_not() {
    if !has_library() {
        return;
    }
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let models = Folder::new(&folder);
        models.add(1, &good(), None);
        let sidecar = start(folder, "      maxBatchSize: 8\n");
        sidecar.ready().await;
        let load = Asking::start(sidecar.main(), 3);

        models.add(2, &good(), Some(&golden(9.0)));
        until("version 2 to take over", async || (stable(&sidecar) == "2").then_some(())).await;
        // The one before stays warm.
        assert_eq!(names(&sidecar), ["1", "2"]);

        let whole = good();
        models.add(3, &whole[..whole.len() - 20], None);
        models.add(4, &good(), Some(&golden(8.0)));
        models.add(5, &std::fs::read(fixture("sequence")).unwrap(), None);
        models.add(6, b"this is no model", None);
        until("all four to be refused", async || {
            let log = sidecar.log();
            let refused = |version: u64| log.contains(&format!("version={version} reason="));
            (3..=6).all(refused).then_some(())
        })
        .await;
        assert_eq!(stable(&sidecar), "2");
        assert!(sidecar.log().contains("expected 8, found 9"), "{}", sidecar.log());

        models.add(7, &good(), None);
        until("version 7 to take over", async || (stable(&sidecar) == "7").then_some(())).await;
        assert!(sidecar.metric("switchback_onnx_loads_total", &["result=\"failed\""]) >= 4.0);
        load.stop(100);
        let status = sidecar.json("/api/v1/status");
        let versions = status["models"][0]["versions"].as_array().unwrap();
        let file = &versions.iter().find(|version| version["name"] == "7").unwrap()["modelFile"];
        assert_eq!(file["metadata"], json!({"codeVersion": "build 7"}));
        assert_eq!(file["sha256"].as_str().map(str::len), Some(64));

        // Every version on the table is to be had by its number.
        let mut client = RawClient::connect(sidecar.main());
        let answer = client.post("/v2/models/squares/versions/2/infer", "", &body(3));
        assert_eq!((answer.status, answer.header("x-switchback-version")), (200, Some("2")));
        let answer = client.post("/v2/models/squares/versions/4/infer", "", &body(3));
        assert_eq!(answer.status, 404, "{answer:?}");
    });
}

#[test]
fn a_refused_version_is_tried_again_when_its_files_change_and_a_removed_one_goes() {
    if !has_library() {
        return;
    }
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let models = Folder::new(&folder);
        models.add(1, b"this is no model", None);
        let sidecar = start(folder, "      keepPrevious: 0s\n");
        until("the reason", async || {
            let status = sidecar.json("/api/v1/status");
            let reason = status["models"][0]["versions"][0]["reason"].as_str().unwrap_or_default();
            reason.contains("no whole ONNX file").then_some(())
        })
        .await;
        std::fs::write(models.0.join("1/model.onnx"), good()).unwrap();
        sidecar.ready().await;
        models.add(2, &good(), None);
        until("version 2 alone", async || (names(&sidecar) == ["2"]).then_some(())).await;
        // What has gone from the folder gives way to what is there.
        std::fs::remove_dir_all(models.0.join("2")).unwrap();
        until("version 1 again", async || (names(&sidecar) == ["1"]).then_some(())).await;
        // But the last one goes on: a folder that is emptied by mistake fails no request.
        std::fs::remove_dir_all(models.0.join("1")).unwrap();
        models.add(9, b"this is no model", None);
        until("version 9 to be refused", async || sidecar.log().contains("version=9 reason=").then_some(()))
            .await;
        let answer = RawClient::connect(sidecar.main()).post("/v2/models/squares/infer", "", &body(2));
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}

#[test]
fn with_a_rollout_a_new_version_is_its_candidate_and_a_restart_remembers_who_is_stable() {
    if !has_library() {
        return;
    }
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let models = Folder::new(&folder);
        models.add(1, &good(), None);
        let rollout = "    rollout: {autoStart: true, steps: [{pause: {}}]}\n";
        let sidecar = start(folder, rollout);
        sidecar.ready().await;
        models.add(2, &good_too(), None);
        let phase = |sidecar: &Sidecar| {
            let all = sidecar.json("/api/v1/rollouts");
            all.to_string()
        };
        until("a rollout to version 2", async || phase(&sidecar).contains("\"2\"").then_some(())).await;
        assert_eq!(stable(&sidecar), "1");
        let sidecar = sidecar.killed_and_started();
        sidecar.ready().await;
        assert_eq!(stable(&sidecar), "1");
        let answer = RawClient::connect(sidecar.main()).post("/v2/models/squares/infer", "", &body(2));
        assert_eq!(answer.header("x-switchback-version"), Some("1"));
    });
}
