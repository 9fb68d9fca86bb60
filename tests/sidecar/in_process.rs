//! Models in process, asked over sockets: the Open Inference Protocol and V1, and every way in
//! which a request can be wrong.

use http::Response;
use serde_json::{Value, json};

use crate::support::{Http, RawClient, RawResponse, Sidecar, onnx_library, run, until};

/// Where the repository's models lie, for a configuration.
fn models(of: &str) -> String {
    format!("{}/{of}", env!("CARGO_MANIFEST_DIR"))
}

/// Whether ONNX Runtime is there; says loudly when it is not.
pub fn has_library() -> bool {
    let there = onnx_library().is_some();
    if !there {
        eprintln!("SKIPPED: no ONNX Runtime. `make parts` fetches it, or set ORT_DYLIB_PATH");
    }
    there
}

/// A sidecar with two versions of the cancer model and the pair model.
fn two_models() -> Sidecar {
    Sidecar::start(&format!(
        "models:
  - name: cancer
    versions:
      - {{name: v1, weight: 70%, onnx: {{repository: {demo}, model: cancer, version: 1}}}}
      - {{name: v2, weight: 30%, onnx: {{repository: {demo}, model: cancer, version: 2}}}}
      - {{name: v3, onnx: {{repository: {demo}, model: cancer, version: 3}}}}
    mirror: [{{to: v3}}]
  - name: pair
    versions:
      - {{name: only, onnx: {{repository: {fixtures}, model: pair, version: 1}}}}
",
        demo = models("config/demo/models"),
        fixtures = models("tests/fixtures/models"),
    ))
}

/// The first real row of the demonstration.
pub fn row() -> Vec<u8> {
    let rows = std::fs::read_to_string(models("config/demo/rows.jsonl")).unwrap();
    let row: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    row["request"].to_string().into_bytes()
}

fn pair(shape: [usize; 2], a: &[f64]) -> Value {
    json!({"id": "7", "inputs": [
        {"name": "a", "datatype": "FP32", "shape": shape, "data": a},
        {"name": "b", "datatype": "FP32", "shape": shape, "data": a},
        {"name": "k", "datatype": "INT64", "shape": [1], "data": [3]},
    ]})
}

fn post(sidecar: &Sidecar, path: &str, body: &Value) -> RawResponse {
    RawClient::connect(sidecar.main()).post(path, "", body.to_string().as_bytes())
}

fn document(response: &RawResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|e| panic!("{e}: {response:?}"))
}

#[test]
fn a_model_in_process_answers_both_protocols() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;

        let answer = post(&sidecar, "/v2/models/pair/infer", &pair([2, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-switchback-version"), Some("only"));
        let told = document(&answer);
        assert_eq!((&told["model_name"], &told["id"]), (&json!("pair"), &json!("7")));
        assert_eq!(told["outputs"][0]["name"], "sum");
        assert_eq!(told["outputs"][0]["data"], json!([2.0, 4.0, 6.0, 8.0]));
        assert_eq!(told["outputs"][1]["data"], json!([6.0, 12.0, 18.0, 24.0]));

        let rows = json!({"inputs": {"a": [[1, 2]], "b": [[10, 20]], "k": [2]}});
        let predicted = post(&sidecar, "/v1/models/pair:predict", &rows);
        assert_eq!(predicted.status, 200, "{predicted:?}");
        assert_eq!(document(&predicted)["outputs"]["scaled"], json!([[22.0, 44.0]]));

        let mut client = RawClient::connect(sidecar.main());
        let about = document(&client.get("/v2/models/pair"));
        assert_eq!(about["name"], "pair");
        assert_eq!(about["inputs"][2], json!({"name": "k", "datatype": "INT64", "shape": [1]}));
        assert_eq!(client.get("/v2/models/pair/ready").status, 200);
        assert_eq!(client.get("/v1/models/pair").status, 200);
        assert_eq!(client.get("/v1/models/pair/metadata").status, 200);
        assert_eq!(client.get("/v2/models/nobody").status, 404);
    });
}

#[test]
fn the_server_as_a_whole_answers_where_no_model_server_would() {
    if !has_library() {
        return;
    }
    run(async {
        let fixtures = models("tests/fixtures/models");
        let only = format!(
            "models: [{{name: pair, versions: [{{name: v1, onnx: {{repository: {fixtures}, model: pair, version: 1}}}}]}}]"
        );
        // With one model, everything is for it; a model in process is no server of its own.
        for sidecar in [two_models(), Sidecar::start(&only)] {
            sidecar.ready().await;
            let mut client = RawClient::connect(sidecar.main());
            assert_eq!(document(&client.get("/v2"))["name"], "switchback");
            assert_eq!(document(&client.get("/v2/health/live"))["live"], true);
            let ready = client.get("/v2/health/ready");
            assert_eq!((ready.status, &document(&ready)["ready"]), (200, &json!(true)));
        }
    });
}

#[test]
fn what_does_not_fit_the_model_is_refused_with_one_clear_line() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let changed = |at: &str, value: Value| {
            let mut body = pair([1, 2], &[1.0, 2.0]);
            *body.pointer_mut(at).unwrap() = value;
            body.to_string()
        };
        let without = |rest: Value| json!({"inputs": rest}).to_string();
        let cases = [
            ("wrong name", changed("/inputs/0/name", json!("z")), "z"),
            ("wrong dtype", changed("/inputs/0/datatype", json!("INT32")), "INT32"),
            ("no dtype at all", changed("/inputs/0/datatype", json!("FLOAT")), "FLOAT"),
            ("wrong shape", changed("/inputs/0/shape", json!([1, 3])), "a"),
            ("wrong rank", changed("/inputs/0/shape", json!([2])), "a"),
            ("negative shape", changed("/inputs/0/shape", json!([-1, 2])), ""),
            ("huge shape", changed("/inputs/0/shape", json!([u64::MAX, 2])), ""),
            ("overflowing shape", changed("/inputs/0/shape", json!([1u64 << 40, 1u64 << 40])), ""),
            ("zero rows", changed("/inputs/0/shape", json!([0, 2])), ""),
            ("too few data", changed("/inputs/0/data", json!([1.0])), ""),
            ("words for numbers", changed("/inputs/0/data", json!(["a", "b"])), ""),
            ("a float for an integer", changed("/inputs/2/data", json!([1.5])), ""),
            ("a name twice", changed("/inputs/1/name", json!("a")), "a"),
            ("no inputs", without(json!([])), ""),
            ("inputs of another type", without(json!(7)), ""),
            (
                "an output that is not there",
                {
                    let mut body = pair([1, 2], &[1.0, 2.0]);
                    body["outputs"] = json!([{"name": "nothing"}]);
                    body.to_string()
                },
                "nothing",
            ),
            ("no JSON", "{\"inputs\": [".to_owned(), ""),
            ("garbage", "\u{0}\u{1}\u{7f}".to_owned(), ""),
            ("nothing", String::new(), ""),
            ("depth", "[".repeat(100_000), ""),
        ];
        let mut client = RawClient::connect(sidecar.main());
        for (what, body, named) in &cases {
            let answer = client.post("/v2/models/pair/infer", "", body.as_bytes());
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            let error = document(&answer)["error"].as_str().unwrap_or_default().to_owned();
            assert!(
                !error.is_empty() && error.contains(named) && error.lines().count() == 1,
                "{what}: {error}"
            );
            assert!(error.len() < 1000, "{what}: {error}");
        }
        for body in ["{", "{}", "[]", r#"{"instances": []}"#, r#"{"instances": [{"a": 1}]}"#] {
            let answer = client.post("/v1/models/pair:predict", "", body.as_bytes());
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            assert!(document(&answer)["error"].is_string());
        }
        let refused = cases.len() as f64 + 5.0;
        assert_eq!(client.get("/v2/models/pair/infer").status, 405);
        assert_eq!(client.post("/v2/models/pair/unload", "", b"").status, 404);

        // Still well, and all of it the clients' mistakes.
        let answer =
            client.post("/v2/models/pair/infer", "", pair([1, 2], &[1.0, 2.0]).to_string().as_bytes());
        assert_eq!(answer.status, 200);
        let labels = ["model=\"pair\"", "outcome=\"client_error\""];
        assert_eq!(sidecar.metric("switchback_requests_total", &labels), refused + 2.0);
        assert_eq!(
            sidecar.metric("switchback_requests_total", &["model=\"pair\"", "outcome=\"server_error\""]),
            0.0
        );
        assert_eq!(
            sidecar.metric("switchback_requests_total", &["model=\"pair\"", "outcome=\"fault\""]),
            0.0
        );
    });
}

#[test]
fn a_split_between_two_versions_in_process_reaches_its_weights_and_the_shadow_sees_it_all() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let body = row();
        let mut by_version = std::collections::BTreeMap::<String, u32>::new();
        let mut client = Http::two(sidecar.main()).await;
        const SENT: u32 = 600;
        for _ in 0..SENT {
            let answer: Response<bytes::Bytes> = client.post("/v2/models/cancer/infer", &[], &body).await;
            assert_eq!(answer.status(), 200, "{answer:?}");
            let version = answer.headers()["x-switchback-version"].to_str().unwrap().to_owned();
            let told: Value = serde_json::from_slice(answer.body()).unwrap();
            // The answer names the model that was asked for and the version that really answered.
            assert_eq!(told["model_name"], "cancer");
            assert_eq!(format!("v{}", told["model_version"].as_str().unwrap()), version);
            *by_version.entry(version).or_default() += 1;
        }
        // Six standard deviations of 600 draws at 30 %.
        assert!((180 - 68..=180 + 68).contains(&by_version["v2"]), "{by_version:?}");
        assert_eq!(by_version.len(), 2, "{by_version:?}");

        until("every copy to be answered or dropped", async || {
            let of = |name: &str| sidecar.metric(name, &["version=\"v3\""]);
            let over = of("switchback_mirror_completed_total") + of("switchback_mirror_dropped_total");
            (over == f64::from(SENT)).then_some(())
        })
        .await;
        assert!(sidecar.metric("switchback_mirror_completed_total", &[]) > f64::from(SENT) * 0.9);
        assert_eq!(sidecar.metric("switchback_mirror_in_flight", &[]), 0.0);
        assert_eq!(sidecar.metric("switchback_mirror_retained_bytes", &[]), 0.0);
    });
}

#[test]
fn many_clients_at_once_all_get_their_own_answers() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let address = sidecar.main();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..24_u32 {
            clients.spawn(async move {
                let mut http =
                    if client % 2 == 0 { Http::one(address).await } else { Http::two(address).await };
                for turn in 0..20_u32 {
                    let value = f64::from(client * 100 + turn);
                    let body = pair([1, 2], &[value, value]).to_string();
                    let answer = http.post("/v2/models/pair/infer", &[], body.as_bytes()).await;
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    let told: Value = serde_json::from_slice(answer.body()).unwrap();
                    assert_eq!(told["outputs"][0]["data"], json!([2.0 * value, 2.0 * value]));
                }
            });
        }
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        let labels = ["model=\"pair\"", "outcome=\"success\""];
        assert_eq!(sidecar.metric("switchback_requests_total", &labels), 480.0);
    });
}

#[test]
fn a_full_queue_is_refused_and_who_leaves_it_is_never_run() {
    if !has_library() {
        return;
    }
    run(async {
        // Version 4 takes some ten milliseconds a row: a queue of 16 is full for many seconds,
        // however slowly a busy machine lets the clients come and look.
        let demo = models("config/demo/models");
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: cancer
    versions:
      - {{name: v4, onnx: {{repository: {demo}, model: cancer, version: 4, maxQueue: 16}}}}
"
        ));
        sidecar.ready().await;
        let one: Value = serde_json::from_slice(&row()).unwrap();
        let data = one["inputs"][0]["data"].as_array().unwrap().clone();
        let rows: Vec<_> = std::iter::repeat_n(data, 100).flatten().collect();
        let slow =
            json!({"inputs": [{"name": "features", "datatype": "FP32", "shape": [100, 30], "data": rows}]});
        let slow = slow.to_string();
        let head = format!(
            "POST /v2/models/cancer/infer HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
            slow.len()
        );

        let mut clients: Vec<_> = (0..90).map(|_| RawClient::connect(sidecar.main())).collect();
        for client in &mut clients {
            client.send(&head).send(&slow);
        }
        until("the queue to be full", async || {
            (sidecar.metric("switchback_requests_total", &["outcome=\"fault\""])
                + sidecar.metric("switchback_requests_total", &["outcome=\"server_error\""])
                > 10.0)
                .then_some(())
        })
        .await;
        // Everyone leaves; what waits is given up at once and counts against nobody.
        drop(clients);
        until("nothing to be in flight", async || {
            (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
        })
        .await;
        assert!(sidecar.metric("switchback_requests_total", &["outcome=\"cancelled\""]) > 4.0);
        assert!(sidecar.metric("switchback_faults_total", &["reason=\"overloaded\""]) > 10.0);
        let answer = RawClient::connect(sidecar.main()).post("/v2/models/cancer/infer", "", &row());
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}
