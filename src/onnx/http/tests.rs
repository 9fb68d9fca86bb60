//! The calls of a model, over real sessions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::onnx::testing;
use crate::onnx::{EngineSpec, RuntimeSource};

async fn engine(spec: EngineSpec) -> Arc<Engine> {
    let engine = Engine::start(spec, testing::source());
    engine.wait_loaded().await;
    assert_eq!(engine.state(), State::Ready);
    Arc::new(engine)
}

async fn unavailable() -> Engine {
    let source = RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) };
    let engine = Engine::start(testing::fixture("pair"), source);
    engine.wait_loaded().await;
    engine
}

/// Calls the model as `mine` and returns the status and the body.
async fn ask(engine: &Engine, method: Method, path: &str, body: &str) -> (u16, Value) {
    let response = whole(engine, method, path, &HeaderMap::new(), body).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let value: Value = serde_json::from_slice(response.body()).unwrap();
    let failed = !response.status().is_success();
    assert_eq!(failed, value.get("error").is_some_and(Value::is_string), "{value}");
    assert_eq!(failed, response.extensions().get::<FaultKind>().is_some());
    (response.status().as_u16(), value)
}

async fn whole(
    engine: &Engine,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    body: impl AsRef<[u8]>,
) -> Response<Bytes> {
    let asked = Asked { model: "mine", one_version: false, family: None, action: action(path) };
    answer(engine, &asked, &method, headers, Bytes::copy_from_slice(body.as_ref())).await
}

/// An infer body for the model `pair`, whose inputs are a [batch, 2], b [batch, 2] and k [1].
fn pair(inputs: &[(&str, &str, Value, Value)]) -> String {
    let inputs: Vec<_> = inputs
        .iter()
        .map(|(name, datatype, shape, data)| json!({"name": name, "datatype": datatype, "shape": shape, "data": data}))
        .collect();
    json!({"id": "42", "inputs": inputs}).to_string()
}

const INFER: &str = "/v2/models/mine/infer";

#[test]
fn paths_are_told_apart() {
    assert_eq!(action("/v2/models/m/infer"), Action::Infer);
    assert_eq!(action("/v2/models/m/versions/3/infer"), Action::Infer);
    assert_eq!(action("/v2/models/m/ready"), Action::Ready);
    assert_eq!(action("/v2/models/m/versions/3/ready"), Action::Ready);
    assert_eq!(action("/v2/models/m"), Action::Metadata);
    assert_eq!(action("/v2/models/m/versions/3"), Action::Metadata);
    assert_eq!(action("/v1/models/m:predict"), Action::V1Predict);
    assert_eq!(action("/v1/models/m/versions/3:predict"), Action::V1Predict);
    assert_eq!(action("/v1/models/m"), Action::V1Status);
    assert_eq!(action("/v1/models/m/metadata"), Action::V1Metadata);
    assert_eq!(action("/v1/models/m/versions/3/metadata"), Action::V1Metadata);
    for other in ["", "/", "/v2", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/m/infer/x"] {
        assert_eq!(action(other), Action::Other, "{other}");
    }
    assert_eq!(action("/v2/models/m/config"), Action::Config);
    assert_eq!(action("/v2/models/m/versions/3/stats"), Action::Stats);
    for other in
        ["/v3/models/m/infer", "/v1/models/m:explain", "/v1/models/:predict", "/v2/models/m/versions"]
    {
        assert_eq!(action(other), Action::Other, "{other}");
    }
}

#[tokio::test]
async fn an_inference_answers_with_the_clients_name_and_id_and_the_real_version() {
    let engine = engine(testing::fixture("pair")).await;
    let body = pair(&[
        ("k", "INT64", json!([1]), json!([10])),
        ("a", "FP32", json!([2, 2]), json!([[1, 2], [3, 4]])),
        ("b", "FP32", json!([2, 2]), json!([0.5, 0.5, 0.5, 0.5])),
    ]);
    let (status, answer) = ask(&engine, Method::POST, INFER, &body).await;
    let expected = json!({"model_name": "mine", "model_version": "1", "id": "42", "outputs": [
        {"name": "sum", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 2.5, 3.5, 4.5]},
        {"name": "scaled", "datatype": "FP32", "shape": [2, 2], "data": [15.0, 25.0, 35.0, 45.0]},
    ]});
    assert_eq!((status, answer), (200, expected));
}

#[tokio::test]
async fn only_the_outputs_asked_for_are_answered_and_unknown_ones_are_refused() {
    let engine = engine(testing::fixture("pair")).await;
    let body = |output: &str| {
        let two = json!([1.0, 2.0]);
        json!({"outputs": [{"name": output}], "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": two},
            {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": two},
            {"name": "k", "datatype": "INT64", "shape": [1], "data": [3]}]})
        .to_string()
    };
    let (_, answer) = ask(&engine, Method::POST, INFER, &body("scaled")).await;
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(answer["outputs"][0]["data"], json!([6.0, 12.0]));
    let (status, answer) = ask(&engine, Method::POST, INFER, &body("other")).await;
    assert_eq!(
        (status, answer),
        (400, json!({"error": "unknown output \"other\", expected \"sum\", \"scaled\""}))
    );
}

#[tokio::test]
async fn every_wrong_input_is_a_400_that_names_it() {
    let engine = engine(testing::fixture("pair")).await;
    let a = || ("a", "FP32", json!([1, 2]), json!([1, 2]));
    let b = || ("b", "FP32", json!([1, 2]), json!([1, 2]));
    let k = || ("k", "INT64", json!([1]), json!([1]));
    let wrong = [
        (vec![a(), b()], "input \"k\" is missing, expected INT64 [1]"),
        (vec![a(), b(), k(), k()], "input \"k\" stands twice"),
        (vec![a(), b(), k(), ("z", "FP32", json!([1]), json!([1]))], "unknown input \"z\""),
        (vec![a(), b(), ("k", "INT32", json!([1]), json!([1]))], "expected datatype INT64, found INT32"),
        (
            vec![a(), b(), ("k", "INT64", json!([2]), json!([1, 2]))],
            "expected shape [1] (-1 is any length), found [2]",
        ),
        (vec![a(), b(), ("k", "INT64", json!([1, 1]), json!([1]))], "found [1, 1]"),
        (vec![("a", "FP32", json!([1, 3]), json!([1, 2, 3])), b(), k()], "expected shape [-1, 2]"),
        (vec![("a", "FP32", json!([0, 2]), json!([])), b(), k()], "expected one row at least, found none"),
        (
            vec![("a", "FP32", json!([1, 2]), json!([1])), b(), k()],
            "\"data\" has 1 values, shape [1, 2] takes 2",
        ),
        (vec![("a", "FLOAT", json!([1, 2]), json!([1, 2])), b(), k()], "datatype \"FLOAT\" is unknown"),
        (vec![("a", "FP32", json!([1, 2]), json!([1, "x"])), b(), k()], "value 1 is \"x\", expected FP32"),
    ];
    for (inputs, line) in wrong {
        let (status, answer) = ask(&engine, Method::POST, INFER, &pair(&inputs)).await;
        assert_eq!(status, 400, "{line}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(line), "{line}: {answer}");
    }
    for body in ["", "{", "[]", "{\"inputs\":7}", "{\"inputs\":[{\"name\":\"a\",\"data\":[NaN]}]}"] {
        assert_eq!(ask(&engine, Method::POST, INFER, body).await.0, 400, "{body}");
    }
    // Three rows and two rows fit one by one; the graph fails on them, and it is the client's mistake.
    let rows = ("a", "FP32", json!([3, 2]), json!([1, 2, 3, 4, 5, 6]));
    let two = ("b", "FP32", json!([2, 2]), json!([1, 2, 3, 4]));
    let (status, answer) = ask(&engine, Method::POST, INFER, &pair(&[rows, two, k()])).await;
    let line = "dimension \"batch\" is 3 in input \"a\" and 2 in input \"b\"";
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"].as_str().unwrap().ends_with(line), "{answer}");
}

#[tokio::test]
async fn nan_in_an_answer_is_an_error_that_says_what_json_cannot_do() {
    let engine = engine(testing::fixture("logarithm")).await;
    let body = pair(&[("x", "FP32", json!([2]), json!([1, -1]))]);
    let (status, answer) = ask(&engine, Method::POST, INFER, &body).await;
    assert_eq!(status, 500);
    assert!(answer["error"].as_str().unwrap().contains("value 1 is NaN or infinite"), "{answer}");
}

#[tokio::test]
async fn metadata_ready_and_status_describe_the_model() {
    let engine = engine(testing::fixture("pair")).await;
    let (status, metadata) = ask(&engine, Method::GET, "/v2/models/mine/versions/1", "").await;
    assert_eq!(status, 200);
    assert_eq!((&metadata["name"], &metadata["versions"]), (&json!("mine"), &json!(["1"])));
    assert_eq!(metadata["platform"], "onnxruntime_onnx");
    assert_eq!(metadata["inputs"][0], json!({"name": "a", "datatype": "FP32", "shape": [-1, 2]}));
    assert_eq!(metadata["outputs"][1]["name"], "scaled");

    let ready = ask(&engine, Method::GET, "/v2/models/mine/ready", "").await;
    assert_eq!(ready, (200, json!({"name": "mine", "ready": true})));

    let (status, v1) = ask(&engine, Method::GET, "/v1/models/mine", "").await;
    assert_eq!((status, &v1["ready"]), (200, &json!(true)));
    assert_eq!(v1["model_version_status"][0]["state"], "AVAILABLE");

    let (_, v1) = ask(&engine, Method::GET, "/v1/models/mine/metadata", "").await;
    let inputs = &v1["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"];
    assert_eq!(inputs["a"]["dtype"], "DT_FLOAT");
    assert_eq!(inputs["a"]["tensor_shape"]["dim"][0], json!({"size": "-1", "name": "batch"}));
}

#[tokio::test]
async fn an_unavailable_model_is_503_with_the_reason_on_every_call() {
    let engine = unavailable().await;
    for (method, path) in [
        (Method::GET, "/v2/models/mine"),
        (Method::GET, "/v2/models/mine/config"),
        (Method::GET, "/v2/models/mine/ready"),
        (Method::GET, "/v1/models/mine"),
        (Method::GET, "/v1/models/mine/metadata"),
        (Method::POST, INFER),
        (Method::POST, "/v1/models/mine:predict"),
    ] {
        let (status, answer) = ask(&engine, method, path, "{}").await;
        assert_eq!(status, 503, "{path}");
        assert!(answer["error"].as_str().unwrap().contains("/nowhere/libonnxruntime.so"), "{answer}");
    }
    let (_, v1) = ask(&engine, Method::GET, "/v1/models/mine", "").await;
    assert_eq!(v1["model_version_status"][0]["state"], "END");
}

#[tokio::test]
async fn v1_predict_answers_rows_with_rows_and_columns_with_columns() {
    let engine = engine(testing::demo("cancer", 1)).await;
    let path = "/v1/models/mine:predict";
    let row = vec![1.0; 30];
    let (status, rows) =
        ask(&engine, Method::POST, path, &json!({"instances": [row, row]}).to_string()).await;
    assert_eq!((status, rows["predictions"].as_array().unwrap().len()), (200, 2));
    assert!(rows["predictions"][0]["label"].is_i64());
    assert_eq!(rows["predictions"][0]["probabilities"].as_array().unwrap().len(), 2);

    let (_, columns) =
        ask(&engine, Method::POST, path, &json!({"inputs": {"features": [row]}}).to_string()).await;
    assert_eq!(columns["outputs"]["label"].as_array().unwrap().len(), 1);

    let log = self::engine(testing::fixture("logarithm")).await;
    let (_, bare) = ask(&log, Method::POST, path, r#"{"instances":[1,1]}"#).await;
    assert_eq!(bare, json!({"predictions": [0.0, 0.0]}));

    for (body, line) in [
        (json!({"instances": [[1, 2]]}), "expected shape [-1, 30]"),
        (json!({"instances": []}), "\"instances\" is empty"),
        (json!({"rows": []}), "found neither"),
    ] {
        let (status, answer) = ask(&engine, Method::POST, path, &body.to_string()).await;
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().contains(line), "{answer}");
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_405_and_404() {
    let engine = engine(testing::fixture("scalar")).await;
    let none = HeaderMap::new();
    let response = whole(&engine, Method::GET, INFER, &none, "").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[ALLOW]),
        (405, &HeaderValue::from_static("POST"))
    );
    let response = whole(&engine, Method::DELETE, "/v2/models/mine", &none, "").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[ALLOW]),
        (405, &HeaderValue::from_static("GET, HEAD"))
    );
    let response = whole(&engine, Method::HEAD, "/v2/models/mine/ready", &none, "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(ask(&engine, Method::POST, "/v2/models/mine/generate", "").await.0, 404);
}

fn with(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    fields.collect()
}

#[tokio::test]
async fn bodies_that_are_too_long_or_in_an_unknown_coding_are_refused() {
    let engine = engine(EngineSpec { max_body_bytes: 64, ..testing::fixture("scalar") }).await;
    let odd = whole(&engine, Method::POST, INFER, &with(&[("content-encoding", "rot13")]), "x").await;
    assert_eq!(odd.status(), 415);
    assert!(odd.headers()["accept-encoding"].to_str().unwrap().contains("gzip"));
    let broken = whole(&engine, Method::POST, INFER, &with(&[("content-encoding", "gzip")]), "x").await;
    assert_eq!(broken.status(), 400);
    let bomb = gzip(&[b' '; 65]);
    let bomb = whole(&engine, Method::POST, INFER, &with(&[("content-encoding", "gzip")]), &bomb).await;
    assert_eq!(bomb.status(), 413);
    let long = " ".repeat(65);
    assert_eq!(ask(&engine, Method::POST, INFER, &long).await.0, 413);
    let plain = whole(&engine, Method::POST, INFER, &with(&[("content-encoding", "identity")]), "{}").await;
    assert!(String::from_utf8_lossy(plain.body()).contains("missing field `inputs`"));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

#[tokio::test]
async fn nan_and_infinity_pass_as_binary_data_bit_for_bit() {
    let engine = engine(testing::fixture("identity")).await;
    let odd = [f32::NAN, f32::INFINITY, -0.0, f32::from_bits(0x7fc0_1234)].map(f32::to_le_bytes).concat();
    let mut inputs: Vec<Value> = crate::inference::tensor::Dtype::ALL
        .iter()
        .filter(|dtype| dtype.name() != "FP32")
        .map(|dtype| {
            let data = match dtype.name() {
                "BOOL" => json!([true]),
                "BYTES" => json!(["a"]),
                _ => json!([1]),
            };
            let name = format!("in_{}", dtype.name().to_lowercase());
            json!({"name": name, "datatype": dtype.name(), "shape": [1], "data": data})
        })
        .collect();
    inputs.push(json!({"name": "in_fp32", "datatype": "FP32", "shape": [4],
        "parameters": {"binary_data_size": odd.len()}}));
    for (outputs, form) in [
        (json!([{"name": "out_fp32", "parameters": {"binary_data": true}}, {"name": "out_int8"}]), json!({})),
        (
            json!([{"name": "out_fp32"}, {"name": "out_int8", "parameters": {"binary_data": false}}]),
            json!({"binary_data_output": true}),
        ),
    ] {
        let request = json!({"inputs": inputs, "outputs": outputs, "parameters": form}).to_string();
        let headers = with(&[("inference-header-content-length", &request.len().to_string())]);
        let body = [request.as_bytes(), &odd].concat();
        let answer = whole(&engine, Method::POST, INFER, &headers, &body).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/octet-stream");
        let length = answer.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
        let (text, binary) = answer.body().split_at(length);
        assert_eq!(binary, odd);
        let told: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(told["outputs"][0]["parameters"], json!({"binary_data_size": 16}));
        assert_eq!(told["outputs"][1]["data"], json!([1]));
    }
    let headers = with(&[("inference-header-content-length", "many")]);
    assert_eq!(whole(&engine, Method::POST, INFER, &headers, "{}").await.status(), 400);
}

#[tokio::test]
async fn compressed_requests_are_read_and_answers_are_compressed_for_who_asks_for_it_alone() {
    let engine = engine(testing::fixture("logarithm")).await;
    let body = pair(&[("x", "FP32", json!([500]), json!(vec![1.0; 500]))]);
    let packed = gzip(body.as_bytes());
    for (accept, coding) in [
        ("gzip", Some("gzip")),
        ("deflate", Some("deflate")),
        ("gzip, deflate, br", None),
        ("identity", None),
    ] {
        let headers = with(&[("content-encoding", "gzip"), ("accept-encoding", accept)]);
        let answer = whole(&engine, Method::POST, INFER, &headers, &packed).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let found = answer.headers().get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(found, coding, "{accept}");
        let plain = crate::inference::content::decode(found, answer.body(), 1 << 20).unwrap();
        let told: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(told["outputs"][0]["data"], json!(vec![0.0; 500]));
    }
    let short = pair(&[("x", "FP32", json!([1]), json!([1]))]);
    let answer = whole(&engine, Method::POST, INFER, &with(&[("accept-encoding", "gzip")]), &short).await;
    assert!(!answer.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn the_configuration_and_statistics_are_tritons() {
    let engine = engine(EngineSpec { max_batch_size: 8, ..testing::fixture("logarithm") }).await;
    let (_, config) = ask(&engine, Method::GET, "/v2/models/mine/config", "").await;
    assert_eq!((&config["name"], &config["backend"]), (&json!("mine"), &json!("onnxruntime")));
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_FP32", "dims": []}]));
    assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
    assert!(config["dynamic_batching"].is_object());
    let alone = self::engine(testing::fixture("pair")).await;
    let (_, config) = ask(&alone, Method::GET, "/v2/models/mine/config", "").await;
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(0), &json!([-1, 2])));
    assert_eq!(config.get("dynamic_batching"), None);

    let (_, stats) = ask(&alone, Method::GET, "/v2/models/mine/versions/1/stats", "").await;
    let stats = &stats["model_stats"][0];
    assert_eq!((&stats["name"], &stats["version"]), (&json!("mine"), &json!("1")));
    assert_eq!(stats["inference_stats"]["success"]["count"], 0);
}

#[tokio::test]
async fn a_time_that_a_client_waits_ends_the_waiting() {
    let engine = engine(testing::demo("cancer", 4)).await;
    let rows = vec![1.0; 30 * 40];
    let body = json!({"parameters": {"timeout": 1}, "inputs": [
        {"name": "features", "datatype": "FP32", "shape": [40, 30], "data": rows}]});
    let (status, answer) = ask(&engine, Method::POST, INFER, &body.to_string()).await;
    assert_eq!(status, 504, "{answer}");
}

#[tokio::test]
async fn a_large_body_is_answered_like_a_small_one() {
    let engine = engine(testing::fixture("identity")).await;
    let count = LARGE;
    let mut inputs = Vec::new();
    for dtype in crate::inference::tensor::Dtype::ALL {
        let name = format!("in_{}", dtype.name().to_lowercase());
        let (shape, data) = match dtype.name() {
            "BOOL" => (1, json!([true])),
            "BYTES" => (1, json!(["a"])),
            "FP32" => (count, json!(vec![1.5; count])),
            _ => (1, json!([1])),
        };
        inputs.push(json!({"name": name, "datatype": dtype.name(), "shape": [shape], "data": data}));
    }
    let (status, answer) = ask(&engine, Method::POST, INFER, &json!({"inputs": inputs}).to_string()).await;
    assert_eq!(status, 200);
    let fp32 = answer["outputs"].as_array().unwrap().iter().find(|o| o["name"] == "out_fp32").unwrap();
    assert_eq!(fp32["data"].as_array().unwrap().len(), count);
}
