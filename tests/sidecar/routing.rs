//! Which model a request is for: host, header, path, and the names in paths and bodies.

use super::support::grpc::{self, INFER, Streams, message};
use super::support::{RawClient, Sidecar, Upstream, run};

/// Models with these matches, each with one version of the same name as the model.
fn config(url: &str, models: &[(&str, &str)]) -> String {
    let mut text = "models:\n".to_owned();
    for (name, matches) in models {
        text += &format!("  - name: {name}\n");
        if !matches.is_empty() {
            text += &format!("    match: {matches}\n");
        }
        text += &format!("    versions: [{{name: {name}, upstream: {{url: \"{url}\"}}}}]\n");
    }
    text
}

/// The model that a request of these head lines and this body reaches, or the error.
fn reached(client: &mut RawClient, path: &str, host: &str, headers: &str, body: &str) -> String {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    let answer = client.send(head + body).read();
    match answer.header("x-switchback-error") {
        Some(error) => format!("{} {error}", answer.status),
        None => {
            assert_eq!(answer.text(), body, "the body was changed");
            answer.version().to_owned()
        }
    }
}

#[test]
fn models_are_found_by_the_names_in_inference_paths() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), &[("fraud", ""), ("churn", ""), ("no.dot-s_", "")]));
    let client = &mut RawClient::connect(sidecar.main());
    for (path, model) in [
        ("/v2/models/fraud/infer", "fraud"),
        ("/v2/models/churn/infer", "churn"),
        ("/v2/models/churn/versions/7/infer", "churn"),
        ("/v1/models/fraud:predict", "fraud"),
        ("/v1/models/churn/versions/3:predict", "churn"),
        ("/v1/models/churn/labels/canary:predict", "churn"),
        ("/v2/models/%66raud/infer", "fraud"),
        ("/v2/models/no.dot-s_/infer?x=/v2/models/fraud/infer", "no.dot-s_"),
        ("/v2/models/fraud2/infer", "404 no_route"),
        ("/v2/models/fraud%2Finfer", "404 no_route"),
        ("/fraud", "404 no_route"),
    ] {
        assert_eq!(reached(client, path, "test", "", "{}"), model, "{path}");
    }
}

#[test]
fn an_openai_body_names_its_model_wherever_the_name_stands() {
    let server = Upstream::echo("s");
    let sidecar =
        Sidecar::start(&config(&server.url(), &[("small", ""), ("large", "[{model: meta/large}]")]));
    let client = &mut RawClient::connect(sidecar.main());
    let path = "/v1/chat/completions";
    let json = "content-type: application/json\r\n";
    let late = format!(
        r#"{{"messages": [{{"model": "small", "content": "{}"}}], "model": "meta/large"}}"#,
        "x".repeat(200_000)
    );
    for (body, model) in [
        (r#"{"model": "small", "messages": []}"#, "small"),
        (r#"{"messages": [{"model": "meta/large"}], "model": "small"}"#, "small"),
        (r#"{"model": "meta\/large"}"#, "large"),
        (late.as_str(), "large"),
        (r#"{"model": "other"}"#, "404 no_route"),
        (r#"{"model": 7}"#, "404 no_route"),
        ("not json", "404 no_route"),
        ("", "404 no_route"),
    ] {
        assert_eq!(reached(client, path, "test", json, body), model, "{}", &body[..body.len().min(80)]);
    }
    assert_eq!(reached(client, "/v1/embeddings", "test", json, r#"{"model": "small"}"#), "small");
}

#[test]
fn a_grpc_call_is_found_by_the_model_name_in_its_first_message() {
    run(async {
        let server = grpc::grpc_echo();
        let sidecar = Sidecar::start(&config(&server.url(), &[("fraud", ""), ("churn", "")]));
        let mut client = Streams::connect(sidecar.main()).await;
        for model in ["churn", "fraud"] {
            let sent = message(&[(1, model), (3, "id-1")]);
            let called = client.call(INFER, &[], grpc::whole(sent.clone())).await;
            assert_eq!((called.status(), called.version()), ("0", model));
            assert_eq!(called.body, sent);
        }
        // Byte by byte, the name behind another field, and more messages after the first.
        let sent = [message(&[(3, "id-1"), (1, "churn")]), message(&[(1, "fraud")])].concat();
        let (feed, body) = grpc::fed();
        sent.iter().for_each(|byte| feed.data(vec![*byte]));
        drop(feed);
        let called = client.call(grpc::STREAM_INFER, &[], body).await;
        assert_eq!((called.status(), called.version()), ("0", "churn"));
        assert_eq!(called.body, sent);
        let called = client.call(INFER, &[], grpc::whole(message(&[(1, "nobody")]))).await;
        assert_eq!(called.status(), "5");
        let metadata = "/inference.GRPCInferenceService/ModelMetadata";
        let called = client.call(metadata, &[], grpc::whole(message(&[(1, "churn")]))).await;
        assert_eq!((called.status(), called.version()), ("0", "churn"));
    });
}

#[test]
fn the_most_specific_rule_wins_whatever_the_order_of_the_file() {
    let server = Upstream::echo("s");
    let mut models = vec![
        ("rest", "[{pathPrefix: /}]"),
        ("prefix", "[{pathPrefix: /score}]"),
        ("longer", "[{pathPrefix: /score/deep}]"),
        ("named", "[{model: named}]"),
        ("header", "[{header: {name: x-model, value: h}}]"),
        ("host", "[{host: one.example}]"),
        ("label", "[{host: \"*.wild.example\"}]"),
        ("both", "[{host: one.example, pathPrefix: /score}]"),
    ];
    for _ in 0..2 {
        let sidecar = Sidecar::start(&config(&server.url(), &models));
        let client = &mut RawClient::connect(sidecar.main());
        let x = "x-model: h\r\n";
        for (path, host, headers, model) in [
            ("/", "test", "", "rest"),
            ("/scores", "test", "", "rest"),
            ("/score", "test", "", "prefix"),
            ("/score/x", "test:8080", "", "prefix"),
            ("/score/deep", "test", "", "longer"),
            ("/score/deep/er", "test", "", "longer"),
            ("/score/deeper", "test", "", "prefix"),
            ("/v2/models/named/infer", "test", "", "named"),
            ("/v2/models/named/infer", "test", x, "header"),
            ("/score/deep", "test", x, "header"),
            ("/score/deep", "test", "x-model: other\r\n", "longer"),
            ("/v2/models/named/infer", "one.example", "", "host"),
            ("/", "ONE.example:80", x, "host"),
            ("/score", "one.example", "", "both"),
            ("/", "a.wild.example", "", "label"),
            ("/", "a.b.wild.example", "", "rest"),
            ("/", "wild.example", "", "rest"),
        ] {
            assert_eq!(reached(client, path, host, headers, "{}"), model, "{path} {host} {headers}");
        }
        models.reverse();
    }
}

#[test]
fn one_model_alone_takes_every_request() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), &[("only", "")]));
    let client = &mut RawClient::connect(sidecar.main());
    for path in ["/", "/v2/models/other/infer", "/v1/chat/completions", "/x?y"] {
        assert_eq!(reached(client, path, "any", "", "{}"), "only", "{path}");
    }
}
