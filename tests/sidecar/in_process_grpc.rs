//! Models in process, asked over gRPC, and the questions about the server as a whole.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::in_process::has_library;
use crate::support::grpc::{Called, Feed, INFER, STREAM_INFER, Streams, fed, whole};
use crate::support::{RawClient, Sidecar, Upstream, run, until};

const SERVICE: &str = "/inference.GRPCInferenceService/";

fn models(of: &str) -> String {
    format!("{}/{of}", env!("CARGO_MANIFEST_DIR"))
}

/// Two models, one of them with a canary of its own number and a shadow.
fn two_models() -> Sidecar {
    Sidecar::start(&format!(
        "models:
  - name: cancer
    versions:
      - {{name: v1, weight: 100%, onnx: {{repository: {demo}, model: cancer, version: 1}}}}
      - {{name: v3, onnx: {{repository: {demo}, model: cancer, version: 3}}}}
    mirror: [{{to: v3}}]
  - name: logarithm
    match: [{{model: logarithm}}, {{model: ln}}]
    versions:
      - {{name: only, onnx: {{repository: {fixtures}, model: logarithm, version: 1, maxBodyBytes: 64Ki}}}}
",
        demo = models("config/demo/models"),
        fixtures = models("tests/fixtures/models"),
    ))
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(value);
    out
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// A request for the model `logarithm`.
fn logarithm(model: &str, version: &str, values: &[f32]) -> Vec<u8> {
    let mut shape = Vec::new();
    let mut length = values.len();
    while length >= 0x80 {
        shape.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    shape.push(u8::try_from(length).unwrap());
    let tensor = [field(1, b"x"), field(2, b"FP32"), field(3, &shape)].concat();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut message = field(1, model.as_bytes());
    if !version.is_empty() {
        message.extend(field(2, version.as_bytes()));
    }
    message.extend([field(5, &tensor), field(7, &raw)].concat());
    message
}

/// A request of one row for the model `cancer`.
fn cancer(version: &str) -> Vec<u8> {
    let tensor = [field(1, b"features"), field(2, b"FP32"), field(3, &[1, 30])].concat();
    let raw: Vec<u8> = (0..30_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
    let mut message = field(1, b"cancer");
    if !version.is_empty() {
        message.extend(field(2, version.as_bytes()));
    }
    message.extend([field(5, &tensor), field(7, &raw)].concat());
    message
}

/// Both string fields of a small request.
fn named(name: &str, version: &str) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, version.as_bytes())].concat()
}

async fn ask(client: &mut Streams, method: &str, message: &[u8]) -> Called {
    client.call(&format!("{SERVICE}{method}"), &[], whole(framed(0, message))).await
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

/// The last four bytes of an answer: the last value of its only output, raw.
fn last_value(called: &Called) -> f32 {
    f32::from_le_bytes(*called.body.last_chunk::<4>().unwrap())
}

#[test]
fn a_model_in_process_answers_grpc_by_any_of_its_names_and_versions() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let mut client = Streams::connect(sidecar.main()).await;
        for (model, version) in [("logarithm", ""), ("ln", ""), ("logarithm", "1")] {
            let called = ask(&mut client, "ModelInfer", &logarithm(model, version, &[1.0, 0.0])).await;
            assert_eq!((called.status(), called.version()), ("0", "only"), "{called:?}");
            assert_eq!(last_value(&called), f32::NEG_INFINITY);
            assert_eq!(called.headers["content-type"], "application/grpc");
        }
        for (version, answered) in [("", "v1"), ("1", "v1"), ("3", "v3")] {
            let called = ask(&mut client, "ModelInfer", &cancer(version)).await;
            assert_eq!((called.status(), called.version()), ("0", answered), "{called:?}");
        }
        // A compressed message names its model too.
        let packed = framed(1, &gzip(&logarithm("ln", "", &[1.0])));
        let called = client.call(INFER, &[("grpc-encoding", "gzip")], whole(packed)).await;
        assert_eq!((called.status(), last_value(&called)), ("0", 0.0));

        let wrong = [
            ("ModelInfer", logarithm("nobody", "", &[1.0]), "5"),
            ("ModelInfer", logarithm("ln", "7", &[1.0]), "5"),
            ("ModelInfer", cancer("7"), "5"),
            ("ModelReady", named("cancer", "7"), "5"),
            ("ModelMetadata", named("nobody", ""), "5"),
            ("ModelInfer", logarithm("ln", "", &[]), "3"),
            ("ModelInfer", logarithm("ln", "", &vec![0.0; 30_000]), "8"),
            ("ModelInfer", [field(1, b"ln"), vec![0x0b]].concat(), "3"),
        ];
        for (method, message, status) in wrong {
            let called = ask(&mut client, method, &message).await;
            assert_eq!(called.status(), status, "{method}: {called:?}");
            assert!(called.body.is_empty() && called.trailers.contains_key("grpc-message"));
        }
        let called = client.call("/inference.GRPCInferenceService/Nothing", &[], whole(framed(0, &[]))).await;
        assert_eq!(called.status(), "12", "{called:?}");
        assert_eq!(client.call("/some.Service/Method", &[], whole(framed(0, &[]))).await.status(), "12");
        // Whatever was wrong was the clients' doing.
        assert_eq!(sidecar.metric("switchback_requests_total", &["outcome=\"server_error\""]), 0.0);
        assert_eq!(sidecar.metric("switchback_requests_total", &["outcome=\"fault\""]), 0.0);
    });
}

#[test]
fn a_shadow_in_process_gets_copies_of_grpc_calls_and_they_are_compared() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let mut client = Streams::connect(sidecar.main()).await;
        for _ in 0..20 {
            assert_eq!(ask(&mut client, "ModelInfer", &cancer("")).await.status(), "0");
        }
        until("every copy to be answered and compared", async || {
            let completed = sidecar.metric("switchback_mirror_completed_total", &[]);
            let pairs = sidecar.metric("switchback_pairs_total", &["model=\"cancer\""]);
            let page = sidecar.metrics();
            let lost = page.lines().find(|line| line.contains("dropped_total{") && !line.ends_with(" 0"));
            assert_eq!(lost, None);
            (completed == 20.0 && pairs == 20.0).then_some(())
        })
        .await;
        // Every answer was understood.
        assert_eq!(sidecar.metric("switchback_pairs_total", &["result=\"incomparable\""]), 0.0);
        // What asks about a model is not copied.
        assert_eq!(ask(&mut client, "ModelReady", &named("cancer", "")).await.status(), "0");
        assert_eq!(sidecar.metric("switchback_mirror_sent_total", &[]), 20.0);
    });
}

#[test]
fn a_stream_is_answered_message_by_message() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let mut client = Streams::connect(sidecar.main()).await;
        let (feed, body) = fed();
        let feed: Feed = feed;
        feed.data(framed(0, &logarithm("ln", "", &[1.0])));
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let response = client.post(STREAM_INFER, &headers, body).await.unwrap();
        assert_eq!(response.status(), 200);
        feed.data(framed(0, &logarithm("cancer", "", &[1.0])));
        feed.data(framed(0, &logarithm("ln", "", &[0.0])));
        drop(feed);
        let called = Called::of(response).await;
        assert_eq!(called.status(), "0");
        assert_eq!(last_value(&called), f32::NEG_INFINITY);
        let text = String::from_utf8_lossy(&called.body);
        assert!(text.contains("there is no model \"cancer\" here"), "{text}");
    });
}

#[test]
fn the_server_is_asked_over_grpc_and_rest() {
    if !has_library() {
        return;
    }
    run(async {
        let sidecar = two_models();
        sidecar.ready().await;
        let mut grpc = Streams::connect(sidecar.main()).await;
        for method in ["ServerLive", "ServerReady"] {
            let called = ask(&mut grpc, method, &[]).await;
            assert_eq!((called.status(), &called.body[..]), ("0", &framed(0, &[8, 1])[..]), "{method}");
        }
        let called = ask(&mut grpc, "ServerMetadata", &[]).await;
        assert!(String::from_utf8_lossy(&called.body).contains("switchback"));
        let called = ask(&mut grpc, "RepositoryIndex", &[]).await;
        assert_eq!(String::from_utf8_lossy(&called.body).matches("READY").count(), 3);
        // Statistics of no model are those of all, of a model those of all its versions.
        for (name, version, versions) in [("", "", 3), ("cancer", "", 2), ("cancer", "3", 1), ("ln", "", 1)] {
            let called = ask(&mut grpc, "ModelStatistics", &named(name, version)).await;
            let found = called.body.windows(2).filter(|pair| pair == &[0x12, 1]).count();
            assert_eq!((called.status(), found), ("0", versions), "{name} {version}: {called:?}");
        }
        assert_eq!(ask(&mut grpc, "ModelStatistics", &named("nobody", "")).await.status(), "5");

        let health = |service: &str| framed(0, &field(1, service.as_bytes()));
        for (service, status) in
            [("", "0"), ("cancer", "0"), ("inference.GRPCInferenceService", "0"), ("x", "5")]
        {
            let called = grpc.call("/grpc.health.v1.Health/Check", &[], whole(health(service))).await;
            assert_eq!(called.status(), status, "{service}");
        }
        let listed = grpc
            .call(
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                &[],
                whole(framed(0, &field(7, b""))),
            )
            .await;
        assert!(String::from_utf8_lossy(&listed.body).contains("inference.GRPCInferenceService"));

        let mut rest = RawClient::connect(sidecar.main());
        let mut post = |path: &str, body: &str| {
            let answer = rest.post(path, "", body.as_bytes());
            let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            (answer.status, document)
        };
        let (status, index) = post("/v2/repository/index", "{\"ready\": true}");
        assert_eq!((status, index.as_array().unwrap().len()), (200, 3));
        assert_eq!(index[0], json!({"name": "cancer", "version": "1", "state": "READY", "reason": ""}));
        assert_eq!(post("/v2/repository/index", "{").0, 400);
        assert_eq!(post("/v2/repository/models/cancer/burn", "").0, 404);
        assert_eq!(post("/v2/repository/models/cancer/load", "{\"parameters\":{\"config\":\"{}\"}}").0, 400);
        assert_eq!(post("/v2", "").0, 405);
        let stats = rest.get("/v2/models/stats");
        let stats: Value = serde_json::from_slice(&stats.body).unwrap();
        assert_eq!(stats["model_stats"].as_array().unwrap().len(), 3);
        for (path, status) in [
            ("/v2/models/cancer/versions/3", 200),
            ("/v2/models/cancer/versions/3/ready", 200),
            ("/v2/models/cancer/versions/9", 404),
            ("/v1/models/cancer/labels/stable", 200),
            ("/v1/models/cancer/labels/v3", 200),
            ("/v1/models/cancer/labels/canary", 404),
        ] {
            assert_eq!(rest.get(path).status, status, "{path}");
        }
        let about: Value = serde_json::from_slice(&rest.get("/v2/models/cancer").body).unwrap();
        assert_eq!(about["versions"], json!(["1", "3"]));
    });
}

/// A watcher of health is told the end, and does not hold it up.
#[test]
fn a_watcher_is_told_of_the_end_and_does_not_delay_it() {
    if !has_library() {
        return;
    }
    run(async {
        let mut sidecar = two_models();
        sidecar.ready().await;
        let mut client = Streams::connect(sidecar.main()).await;
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let body = whole(framed(0, &field(1, b"cancer")));
        let response = client.post("/grpc.health.v1.Health/Watch", &headers, body).await.unwrap();
        sidecar.signal("TERM");
        let called = Called::of(response).await;
        let (serving, not_serving): (Bytes, Bytes) = (framed(0, &[8, 1]).into(), framed(0, &[8, 2]).into());
        assert_eq!(called.body, [serving, not_serving].concat());
        assert_eq!(called.status(), "0");
        // Waited for elsewhere, so that the client's connection can end meanwhile.
        let ended = tokio::task::spawn_blocking(move || sidecar.wait()).await.unwrap();
        assert!(ended.success());
    });
}

#[test]
fn a_model_server_behind_a_rule_for_everything_is_asked_itself() {
    if !has_library() {
        return;
    }
    run(async {
        let upstream = Upstream::start(|_| crate::support::grpc::answer(framed(0, b"theirs")));
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: near
    versions: [{{name: v1, onnx: {{repository: {}, model: scalar, version: 1}}}}]
  - name: far
    match: [{{pathPrefix: /}}]
    versions: [{{name: v1, upstream: {{url: \"http://{}\", protocol: http2}}}}]
",
            models("tests/fixtures/models"),
            upstream.address,
        ));
        sidecar.ready().await;
        let mut client = Streams::connect(sidecar.main()).await;
        for path in ["/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerLive"] {
            let called = client.call(path, &[], whole(framed(0, &[]))).await;
            assert_eq!(&called.body[5..], b"theirs", "{path}");
        }
        assert!(ask(&mut client, "ModelReady", &named("near", "")).await.body.ends_with(&[8, 1]));
    });
}
