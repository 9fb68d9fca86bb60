//! Mirrors: every protocol surface reaches the shadow, once and whole, and only what should.

use std::collections::BTreeMap;

use super::support::grpc::{self, INFER, STREAM_INFER, Streams, message};
use super::support::{RawClient, Seen, Sidecar, Upstream, onnx_library, run, until};

/// `v1` serves; these are the mirrors, and the further versions at one address.
fn config(live: &str, shadow: &str, mirrors: &str) -> String {
    format!(
        "models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{live}\"}}}}
      - {{name: v3, upstream: {{url: \"{shadow}\"}}}}
      - {{name: v4, upstream: {{url: \"{shadow}\"}}}}
    mirror: {mirrors}
"
    )
}

const ONE: &str = "[{to: v3, dropHeaders: [authorization, cookie, x-secret]}]";

/// The copy and its original agree in all but what is meant to differ. Framing is each leg's own: a
/// body that came in chunks is whole by the time its copy leaves.
fn is_copy(copy: &Seen, live: &Seen, shadow: &str) {
    assert_eq!((&copy.method, &copy.uri, copy.version), (&live.method, &live.uri, live.version));
    assert!(copy.body == live.body, "{} bytes instead of {}", copy.body.len(), live.body.len());
    assert_eq!(copy.trailers, live.trailers);
    let framing = ["content-length", "transfer-encoding"];
    let dropped = ["authorization", "cookie", "x-secret", "content-length", "transfer-encoding"];
    let of = |seen: &Seen, without: &[&str]| -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in seen.headers.iter().filter(|(n, _)| !without.contains(&n.as_str())) {
            all.entry(name.to_string()).or_default().push(value.to_str().unwrap().to_owned());
        }
        all
    };
    let mut expected = of(live, &dropped);
    assert!(!live.headers.contains_key("x-switchback-shadow"));
    expected.insert("x-switchback-shadow".to_owned(), vec![shadow.to_owned()]);
    assert_eq!(of(copy, &framing), expected);
    assert!(copy.headers.contains_key("x-request-id") && copy.headers.contains_key("traceparent"));
}

/// After so many requests: the shadow saw each once, as the live version did.
async fn all_copied(sidecar: &Sidecar, live: &Upstream, shadow: &Upstream, count: usize) {
    until("the copies", async || (shadow.count() >= count).then_some(())).await;
    sidecar.mirror_settled("v3").await;
    let key = |seen: &Seen| seen.headers["x-request-id"].to_str().unwrap().to_owned();
    let (mut originals, mut copies) = (live.seen(), shadow.seen());
    originals.sort_by_key(key);
    copies.sort_by_key(key);
    assert_eq!((originals.len(), copies.len()), (count, count));
    originals.iter().zip(&copies).for_each(|(live, copy)| is_copy(copy, live, "v3"));
    for what in ["eligible", "sampled", "sent", "completed"] {
        assert_eq!(sidecar.mirrored("v3", what), count as f64, "{what}");
    }
    assert_eq!(sidecar.metric("switchback_mirror_dropped_total", &[]), 0.0);
    assert_eq!(sidecar.metric("switchback_mirror_coverage_ratio", &["version=\"v3\""]), 1.0);
    assert_eq!(sidecar.finished("v3", "success"), count as f64);
    assert_eq!(sidecar.finished("v1", "success"), count as f64);
}

#[test]
fn every_form_of_an_http1_request_is_copied_once_and_whole() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ONE));
        let mut client = RawClient::connect(sidecar.main());
        let secrets = "authorization: Bearer x\r\ncookie: a=b\r\nx-secret: 1\r\nx-secret: 2\r\nx-kept: 1\r\nx-kept: 2\r\n";
        for length in [0, 1, 16 * 1024, 16 * 1024 + 1, 500_000, 1024 * 1024] {
            let body = vec![b'a' + u8::try_from(length % 26).unwrap(); length];
            let answer = client.post("/v2/models/m/infer?q=1", secrets, &body);
            assert!(answer.status == 200 && answer.body == body);
            assert_eq!(answer.header("x-upstream"), Some("live"));
        }
        // Chunks of all sizes, then trailers, then no body at all.
        let mut text =
            format!("PUT /x HTTP/1.1\r\nhost: test\r\n{secrets}transfer-encoding: chunked\r\n\r\n");
        (1..300).for_each(|n| text += &format!("{n:x}\r\n{}\r\n", "y".repeat(n)));
        assert_eq!(client.send(text + "0\r\n\r\n").read().body.len(), 299 * 300 / 2);
        let head = "POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nte: trailers\r\n\r\n";
        assert_eq!(client.send(format!("{head}3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n")).read().text(), "abc");
        assert_eq!(client.send(format!("{head}0\r\nx-sum: 8\r\n\r\n")).read().text(), "");
        assert_eq!(client.get("/x").status, 200);
        client.send("DELETE /x HTTP/1.1\r\nhost: test\r\n\r\n").read();
        let own =
            "x-request-id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        client.post("/x", own, b"b");
        let old = RawClient::connect(sidecar.main())
            .send("POST /x HTTP/1.0\r\nhost: test\r\ncontent-length: 2\r\n\r\nab")
            .read();
        assert_eq!(old.text(), "ab");
        all_copied(&sidecar, &live, &shadow, 13).await;
        let trailed: Vec<_> = shadow.seen().into_iter().filter_map(|s| s.trailers).collect();
        assert_eq!(trailed.len(), 2, "trailers were lost");
        assert!(shadow.seen().iter().any(|s| s.headers["x-request-id"] == "mine"));
    });
}

#[test]
fn every_form_of_an_http2_request_is_copied_once_and_whole() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ONE));
        let mut client = Streams::connect(sidecar.main()).await;
        let headers = [("authorization", "x"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-kept", "1")];
        // END_STREAM on the last DATA frame (envoy#5646), on the head, on an empty DATA frame, on trailers.
        for length in [1, 16 * 1024, 100_000, 1024 * 1024] {
            let body = vec![b'z'; length];
            let answer = client.post("/x", &headers, grpc::whole(body.clone())).await.unwrap();
            assert!(grpc::Called::of(answer).await.body == body);
        }
        client.post("/x", &headers, grpc::whole("")).await.unwrap();
        let (feed, body) = grpc::fed();
        (0..50).for_each(|n| feed.data(vec![b'a'; n]));
        drop(feed);
        let answer = client.post("/x", &headers, body).await.unwrap();
        assert_eq!(grpc::Called::of(answer).await.body.len(), 49 * 50 / 2);
        let (feed, body) = grpc::fed();
        feed.data("abc");
        feed.trailers("x-sum", "7");
        client.post("/x", &[("te", "trailers")], body).await.unwrap();
        let (feed, body) = grpc::fed();
        feed.trailers("x-sum", "8");
        client.post("/x", &[("te", "trailers")], body).await.unwrap();
        all_copied(&sidecar, &live, &shadow, 8).await;
        assert_eq!(shadow.seen().iter().filter(|s| s.trailers.is_some()).count(), 2);
    });
}

#[test]
fn grpc_calls_are_copied_unary_and_streamed() {
    run(async {
        let (live, shadow) = (grpc::grpc_echo(), grpc::grpc_echo());
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ONE));
        let mut client = Streams::connect(sidecar.main()).await;
        let sent = message(&[(1, "m"), (3, "id")]);
        for path in [INFER, "/my.Service/Anything"] {
            let called = client
                .call(path, &[("authorization", "x"), ("grpc-timeout", "10S")], grpc::whole(sent.clone()))
                .await;
            assert_eq!((called.status(), &called.body), ("0", &sent));
        }
        let (feed, body) = grpc::fed();
        (0..20).for_each(|_| feed.data(sent.clone()));
        drop(feed);
        let called = client.call(STREAM_INFER, &[], body).await;
        assert_eq!((called.status(), called.body.len()), ("0", 20 * sent.len()));
        all_copied(&sidecar, &live, &shadow, 3).await;
        let code = ["version=\"v3\"", "code=\"0\""];
        assert_eq!(sidecar.metric("switchback_grpc_responses_total", &code), 3.0);
    });
}

#[test]
fn a_streamed_request_is_copied_when_it_is_whole_and_not_before() {
    run(async {
        let (live, shadow) = (grpc::grpc_echo(), grpc::grpc_echo());
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ONE));
        let mut client = Streams::connect(sidecar.main()).await;
        let (feed, body) = grpc::fed();
        feed.data(message(&[(1, "m")]));
        let call = client.call(STREAM_INFER, &[], body);
        let rest = async {
            until("the request", async || (sidecar.mirrored("v3", "sampled") == 1.0).then_some(())).await;
            assert_eq!(sidecar.mirrored("v3", "sent"), 0.0);
            drop(feed);
        };
        let (called, ()) = futures_util::future::join(call, rest).await;
        assert_eq!(called.status(), "0");
        all_copied(&sidecar, &live, &shadow, 1).await;
    });
}

#[test]
fn several_mirrors_get_a_copy_each_and_draw_for_themselves() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let mirrors = "[{to: v3, sample: 50%, maxInFlight: 5000}, {to: v4, sample: 5%, maxInFlight: 5000}]";
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), mirrors));
        let mut client = RawClient::connect(sidecar.main());
        let n = 2_000.0;
        for _ in 0..2_000 {
            assert_eq!(client.post("/x", "", b"body").status, 200);
        }
        for (to, p) in [("v3", 0.5), ("v4", 0.05)] {
            sidecar.mirror_settled(to).await;
            let sampled = sidecar.mirrored(to, "sampled");
            let bound = 6.0 * f64::sqrt(n * p * (1.0 - p));
            assert!((sampled - n * p).abs() <= bound, "{to}: {sampled}");
            assert_eq!(sidecar.mirrored(to, "eligible"), n);
            assert_eq!(sidecar.mirrored(to, "completed"), sampled);
            assert_eq!(sidecar.mirror(to)["coverage"], 1.0);
        }
        let mut seen = BTreeMap::<String, Vec<String>>::new();
        for copy in shadow.seen() {
            let value = |name: &str| copy.headers[name].to_str().unwrap().to_owned();
            seen.entry(value("x-request-id")).or_default().push(value("x-switchback-shadow"));
        }
        let both = seen.values().filter(|to| to.len() == 2).count() as f64;
        let p = 0.5 * 0.05;
        assert!((both - n * p).abs() <= 6.0 * f64::sqrt(n * p), "{both} requests went to both");
        assert!(seen.values().all(|to| to.len() == 1 || to[0] != to[1]));
    });
}

#[test]
fn a_sample_of_a_basis_point_is_taken_and_next_to_nothing_is_copied() {
    let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
    let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), "[{to: v3, sample: 0.01%}]"));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..1_000 {
        assert_eq!(client.post("/x", "", b"body").status, 200);
    }
    assert_eq!(sidecar.mirrored("v3", "eligible"), 1_000.0);
    // More than eight of an expected tenth: never.
    assert!(sidecar.mirrored("v3", "sampled") <= 8.0);
    assert_eq!(sidecar.mirror("v3")["sample"], "0.01%");
}

#[test]
fn questions_about_a_model_are_not_copied() {
    let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
    let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ONE));
    let mut client = RawClient::connect(sidecar.main());
    for path in ["/v2/models/m", "/v2/models/m/ready", "/v1/models/m", "/v2/models/m/versions/1/ready"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    assert_eq!(sidecar.mirrored("v3", "eligible"), 0.0);
    assert_eq!(shadow.count(), 0);
}

#[test]
fn a_canarys_requests_are_copied_like_stables() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let text = config(&live.url(), &shadow.url(), ONE).replace("{name: v4,", "{name: v4, weight: 50%,");
        let sidecar = Sidecar::start(&text);
        let mut client = RawClient::connect(sidecar.main());
        (0..40).for_each(|_| assert_eq!(client.post("/x", "", b"b").status, 200));
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.mirrored("v3", "completed"), 40.0);
        let copies = shadow.seen().into_iter().filter(|s| s.headers.contains_key("x-switchback-shadow"));
        assert_eq!(copies.count(), 40);
    });
}

#[test]
fn a_shadow_without_its_model_is_counted_as_unavailable_and_hurts_nobody() {
    run(async {
        let live = Upstream::echo("live");
        let text = format!(
            "onnxRuntime: {{library: /nonexistent/libonnxruntime.so}}
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{}\"}}}}
      - {{name: v3, onnx: {{repository: nowhere, version: 1}}}}
    mirror: [{{to: v3}}]
",
            live.url()
        );
        let sidecar = Sidecar::start(&text);
        let mut client = RawClient::connect(sidecar.main());
        until("the model's failure", async || {
            sidecar.version("v3")["reason"].as_str().filter(|r| !r.contains("being loaded")).map(|_| ())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(client.post("/v2/models/m/infer", "", b"{}").text(), "{}");
        }
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.dropped("v3", "unavailable"), 20.0);
        assert_eq!(sidecar.metric("switchback_mirror_coverage_ratio", &[]), 0.0);
        assert_eq!(sidecar.version("v3")["ready"], false);
    });
}

#[test]
fn a_shadow_in_process_infers_from_copies() {
    if onnx_library().is_none() {
        eprintln!("skipped: no ONNX Runtime here (ORT_DYLIB_PATH)");
        return;
    }
    run(async {
        let live = Upstream::echo("live");
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo/models");
        let text = format!(
            "models:
  - name: cancer
    versions:
      - {{name: v1, upstream: {{url: \"{}\"}}}}
      - {{name: v3, onnx: {{repository: \"{models}\", version: 1}}, rewrite: {{modelVersion: \"1\"}}}}
    mirror: [{{to: v3}}]
",
            live.url()
        );
        let sidecar = Sidecar::start(&text);
        until("the model", async || sidecar.version("v3")["ready"].as_bool().filter(|ready| *ready)).await;
        let rows = include_str!("../../config/demo/rows.jsonl");
        let mut client = RawClient::connect(sidecar.main());
        let mut sent = 0.0;
        for row in rows.lines().take(5) {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let body = row["request"].to_string();
            let answer =
                client.post("/v2/models/cancer/infer", "content-type: application/json\r\n", body.as_bytes());
            assert_eq!(answer.text(), body);
            sent += 1.0;
        }
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.mirrored("v3", "completed"), sent);
        let (good, bad) = (sidecar.finished("v3", "success"), sidecar.finished("v3", "client_error"));
        assert_eq!(good + bad, sent);
        assert_eq!(good, sent, "the model refused the rows");
    });
}
