//! Versions under other names: what they are sent, what the client gets back, on both legs.

use http::Response;

use super::support::grpc::{self, INFER, STREAM_INFER, Streams, fields, message};
use super::support::{RawClient, Seen, Sidecar, Upstream, full, run, until};

/// One model `fraud` that everything is for: `v1` under its own name, `v2` with all the traffic
/// and this rewrite, `v3` a shadow with the same one.
fn config(live: &str, shadow: &str, rewrite: &str) -> String {
    format!(
        "models:
  - name: fraud
    versions:
      - {{name: v1, weight: 0%, upstream: {{url: \"{live}\"}}}}
      - {{name: v2, weight: 100%, upstream: {{url: \"{live}\"}}, rewrite: {rewrite}}}
      - {{name: v3, upstream: {{url: \"{shadow}\"}}, rewrite: {rewrite}}}
    mirror: [{{to: v3}}]
"
    )
}

/// Waits until the shadow has seen `count` requests and gives the last.
async fn copied(shadow: &Upstream, count: usize) -> Seen {
    until("the copy", async || (shadow.count() >= count).then(|| shadow.seen().pop().unwrap())).await
}

#[test]
fn paths_hosts_and_headers_are_rewritten_alike_on_both_legs() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let rewrite = "{model: fraud-b, modelVersion: \"2\", host: fraud.svc, headers: {set: {x-set: new, x-add: \"1\"}, remove: [x-gone]}}";
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), rewrite));
        let mut client = RawClient::connect(sidecar.main());
        let body = b"\x00\xffnot json \"fraud\"";
        for (n, (path, expected)) in [
            ("/v2/models/fraud/infer", "/v2/models/fraud-b/versions/2/infer"),
            (
                "/v2/models/fraud/versions/9/infer?a=/v2/models/fraud",
                "/v2/models/fraud-b/versions/2/infer?a=/v2/models/fraud",
            ),
            ("/v1/models/fraud:predict", "/v1/models/fraud-b/versions/2:predict"),
            ("/v1/models/fraud/labels/live:predict", "/v1/models/fraud-b/versions/2:predict"),
            ("/other/fraud?x=1", "/other/fraud?x=1"),
        ]
        .into_iter()
        .enumerate()
        {
            let headers = "x-set: old\r\nx-set: older\r\nx-gone: a\r\nx-kept: a\r\nx-kept: b\r\ncontent-type: application/octet-stream\r\n";
            let answer = client.post(path, headers, body);
            assert_eq!((answer.status, answer.body.as_slice()), (200, &body[..]), "{path}");
            for seen in [live.seen().pop().unwrap(), copied(&shadow, n + 1).await] {
                assert_eq!(seen.uri, expected);
                let values = |name: &str| -> Vec<String> {
                    seen.headers.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
                };
                assert_eq!(values("host"), ["fraud.svc"]);
                assert_eq!(values("x-set"), ["new"]);
                assert_eq!(values("x-add"), ["1"]);
                assert_eq!(values("x-gone"), [""; 0]);
                assert_eq!(values("x-kept"), ["a", "b"]);
                assert_eq!(values("x-forwarded-host"), ["test"]);
                assert_eq!(values("content-length"), [body.len().to_string()]);
                assert_eq!(seen.body.as_ref(), body);
            }
        }
    });
}

#[test]
fn a_path_prefix_is_replaced_by_whole_segments() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let rewrite = "{pathPrefix: {from: /score, to: /v3/score}}";
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), rewrite));
        let mut client = RawClient::connect(sidecar.main());
        for (n, (path, expected)) in [
            ("/score", "/v3/score"),
            ("/score/a?b=/score", "/v3/score/a?b=/score"),
            ("/score?x", "/v3/score?x"),
            ("/scores", "/scores"),
            ("/a/score", "/a/score"),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(client.post(path, "", b"b").status, 200);
            assert_eq!(live.seen().pop().unwrap().uri, expected);
            assert_eq!(copied(&shadow, n + 1).await.uri, expected);
        }
    });
}

#[test]
fn inference_answers_carry_the_names_the_client_asked_for() {
    let live = Upstream::start(|seen| {
        let version = if seen.uri.contains("/versions/2") { "2" } else { "1" };
        let text = format!(
            r#"{{ "model_name":"fraud-b", "model_version" : "{version}","outputs":[{{"name":"model_name","data":[1.50, 2e-1]}}] }}"#
        );
        Response::builder()
            .header("content-type", "application/json")
            .header("etag", "\"1\"")
            .body(full(text))
            .unwrap()
    });
    let sidecar = Sidecar::start(&config(&live.url(), &live.url(), "{model: fraud-b, modelVersion: \"2\"}"));
    let mut client = RawClient::connect(sidecar.main());
    for (path, version) in [("/v2/models/fraud/versions/1/infer", "1"), ("/v2/models/fraud/infer", "2")] {
        let answer = client.post(path, "content-type: application/json\r\n", br#"{"inputs":[]}"#);
        let text = answer.text();
        let expected = format!(
            r#"{{ "model_name":"fraud", "model_version" : "{version}","outputs":[{{"name":"model_name","data":[1.50, 2e-1]}}] }}"#
        );
        assert_eq!(text.trim_end(), expected, "{path}");
        assert_eq!(answer.header("content-length"), Some(text.len().to_string().as_str()));
        assert_eq!(answer.version(), "v2");
    }
    // The connection is still in step.
    assert_eq!(client.post("/x", "", b"").status, 200);
}

#[test]
fn the_openai_model_is_renamed_both_ways_in_json_and_in_events() {
    run(async {
        let live = Upstream::start(|seen| {
            let request: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            let model = request["model"].as_str().unwrap();
            if request["stream"] == true {
                let event = |text: &str| {
                    format!(
                        "data: {{\"model\":\"{model}\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
                    )
                };
                let text = [": hello\n\n", &event("fraud-b"), &event("b"), "data: [DONE]\n\n"].concat();
                return Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(full(text))
                    .unwrap();
            }
            let text = format!(
                "{{\"id\":\"1\",\"model\":\"{model}\",\"choices\":[{{\"message\":{{\"content\":\"I am {model}\"}}}}]}}"
            );
            Response::builder()
                .header("content-type", "application/json; charset=utf-8")
                .body(full(text))
                .unwrap()
        });
        let shadow = Upstream::echo("shadow");
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), "{model: \"fraud-b\"}"));
        let mut client = RawClient::connect(sidecar.main());
        let body = "{ \"messages\":[{\"model\":\"x\",\"content\":\"\\u00e9\\\"model\\\": 1\"}] ,\"model\" : \"fraud\", \"n\":1.0 }";
        let answer =
            client.post("/v1/chat/completions", "content-type: application/json\r\n", body.as_bytes());
        let text = answer.text();
        assert_eq!(
            text.trim_end(),
            r#"{"id":"1","model":"fraud","choices":[{"message":{"content":"I am fraud-b"}}]}"#
        );
        assert_eq!(answer.header("content-length"), Some(text.len().to_string().as_str()));
        for seen in [live.seen().pop().unwrap(), copied(&shadow, 1).await] {
            let sent = String::from_utf8(seen.body.to_vec()).unwrap();
            assert_eq!(sent.trim_end(), body.replace(": \"fraud\"", ": \"fraud-b\""));
            assert_eq!(seen.headers["content-length"], sent.len().to_string());
        }
        let body = r#"{"model":"fraud","stream":true}"#;
        let answer =
            client.post("/v1/chat/completions", "content-type: application/json\r\n", body.as_bytes());
        let event = |text: &str| {
            format!(
                "data: {{\"model\":\"fraud\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
            )
        };
        assert_eq!(
            answer.text(),
            [": hello\n\n", &event("fraud-b"), &event("b"), "data: [DONE]\n\n"].concat()
        );
    });
}

#[test]
fn a_chunked_openai_request_is_renamed_across_its_chunks() {
    run(async {
        let live = Upstream::echo("live");
        let sidecar = Sidecar::start(&config(&live.url(), &live.url(), "{model: other-name}"));
        let mut client = RawClient::connect(sidecar.main());
        let body = r#"{"stream":false,"model":"fraud","messages":[]}"#;
        let head = "POST /v1/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
        let answer = client.send(format!("{head}{chunks}0\r\n\r\n")).read();
        // The echo has no content type of JSON's, so what comes back is what the server saw, put back.
        assert_eq!(answer.text().trim_end(), body);
        until("both legs", async || (live.count() == 2).then_some(())).await;
        for seen in live.seen() {
            assert_eq!(seen.body, body.replace("fraud", "other-name"));
        }
    });
}

#[test]
fn grpc_names_are_rewritten_in_every_message_and_put_back() {
    run(async {
        let (live, shadow) = (grpc::grpc_echo(), grpc::grpc_echo());
        let sidecar =
            Sidecar::start(&config(&live.url(), &shadow.url(), "{model: fraud-b, modelVersion: \"2\"}"));
        let mut client = Streams::connect(sidecar.main()).await;
        let named = |model: &str, version: &str, id: &str| {
            [(1, model), (2, version), (3, id)].map(|(f, v)| (f, v.to_owned())).to_vec()
        };
        // Unary; the version is put back because the client named one.
        let sent = message(&[(1, "fraud"), (2, "1"), (3, "a")]);
        let called = client.call(INFER, &[], grpc::whole(sent)).await;
        assert_eq!((called.status(), called.version()), ("0", "v2"));
        assert_eq!(fields(&called.body), [named("fraud", "1", "a")]);
        for seen in [live.seen().pop().unwrap(), copied(&shadow, 1).await] {
            assert_eq!(fields(&seen.body), [named("fraud-b", "2", "a")]);
        }
        // A stream of three messages, cut anywhere.
        let sent = ["a", "b", "c"].map(|id| message(&[(3, id), (1, "fraud"), (2, "1")])).concat();
        let (feed, body) = grpc::fed();
        sent.chunks(7).for_each(|chunk| feed.data(chunk.to_vec()));
        drop(feed);
        let called = client.call(STREAM_INFER, &[], body).await;
        assert_eq!(called.status(), "0");
        for seen in [live.seen().pop().unwrap(), copied(&shadow, 2).await] {
            assert_eq!(fields(&seen.body), ["a", "b", "c"].map(|id| named("fraud-b", "2", id)));
        }
    });
}

#[test]
fn a_fallback_asks_stable_under_the_clients_own_names() {
    let live = Upstream::start(|seen| {
        let status = if seen.uri.contains("fraud-b") { 503 } else { 200 };
        Response::builder().status(status).body(full(seen.uri.clone())).unwrap()
    });
    let text =
        config(&live.url(), &live.url(), "{model: fraud-b, headers: {set: {x-set: b}, remove: [x-gone]}}");
    let sidecar =
        Sidecar::start(&text.replace("    mirror: [{to: v3}]\n", "    fallback: {enabled: true}\n"));
    let answer = RawClient::connect(sidecar.main()).post("/v2/models/fraud/infer", "x-gone: 1\r\n", b"{}");
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.version()),
        (200, "/v2/models/fraud/infer", "v1")
    );
    let seen = live.seen();
    assert_eq!(
        (seen[0].headers.get("x-gone").is_some(), seen[1].headers.get("x-gone").is_some()),
        (false, true)
    );
    assert!(!seen[1].headers.contains_key("x-set"));
}
