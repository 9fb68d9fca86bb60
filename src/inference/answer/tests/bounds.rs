//! Limits hold, and nothing that comes from outside panics.

use proptest::prelude::*;

use super::raw;
use crate::inference::answer::{
    Content, Limits, RawAnswer, RawRequest, Undecodable, parse_json, read, read_request,
};
use crate::inference::path;

const SMALL: Limits =
    Limits { decoded_bytes: 4096, depth: 4, elements: 32, string_bytes: 16, outputs: 3, messages: 3 };

fn limit(path: &str, kind: &str, body: &str) -> Option<&'static str> {
    match read(&raw(path, kind, body.as_bytes()), &SMALL).content {
        Content::Undecodable { why: Undecodable::Limit(what), body: kept } => {
            assert_eq!(kept, body.as_bytes());
            Some(what)
        }
        _ => None,
    }
}

#[test]
fn every_limit_is_named_when_it_is_reached() {
    let json = "application/json";
    let infer = "/v2/models/m/infer";
    let chat = "/v1/chat/completions";
    let many = |item: &str, count| vec![item; count].join(",");
    for (path, kind, body, want) in [
        ("/x", json, format!("\"{}\"", "a".repeat(16)), None),
        ("/x", json, format!("\"{}\"", "a".repeat(17)), Some("string bytes")),
        ("/x", json, "[[[[1]]]]".to_owned(), None),
        ("/x", json, "[[[[[1]]]]]".to_owned(), Some("JSON depth")),
        ("/x", json, format!("[{}]", many("1", 31)), None),
        ("/x", json, format!("[{}]", many("1", 32)), Some("JSON values")),
        ("/x", json, " ".repeat(4097), Some("decoded bytes")),
        ("/x", json, format!("{{{}}}", many("\"\":0", 16)), Some("JSON values")),
        ("/x", "text/plain", format!("[{}]", many("1", 32)), Some("JSON values")),
        (
            infer,
            json,
            format!(
                r#"{{"outputs":[{}]}}"#,
                many(r#"{"name":"y","datatype":"FP32","shape":[0],"data":[]}"#, 4)
            ),
            Some("tensors"),
        ),
        (
            infer,
            json,
            format!(
                r#"{{"outputs":[{{"name":"y","datatype":"FP32","shape":[40],"data":[{}]}}]}}"#,
                many("1", 40)
            ),
            Some("JSON values"),
        ),
        (chat, json, format!(r#"{{"choices":[{}]}}"#, many(r#"{"text":""}"#, 4)), Some("choices")),
        (
            chat,
            json,
            r#"{"choices":[{"message":{"tool_calls":[{"index":9}]}}]}"#.to_owned(),
            Some("JSON depth"),
        ),
        (chat, "text/event-stream", "data: {}\n\n".repeat(4), Some("events")),
        (chat, "text/event-stream", "data: {\"choices\":[{\"index\":7,\"text\":\"a\"}]}\n\n".repeat(3), None),
    ] {
        assert_eq!(limit(path, kind, &body), want, "{path} {body}");
    }
}

#[test]
fn an_array_of_a_shared_budget_cannot_be_read_twice() {
    let one = format!(r#"{{"name":"y","datatype":"UINT8","shape":[12],"data":[{}]}}"#, ["1"; 12].join(","));
    let body = format!(r#"{{"outputs":[{one},{one}]}}"#);
    assert_eq!(limit("/v2/models/m/infer", "", &body), Some("JSON values"));
}

#[test]
fn many_grpc_messages_are_a_limit() {
    let answer = RawAnswer {
        grpc: Some(0),
        ..raw("/inference.GRPCInferenceService/ModelStreamInfer", "application/grpc", &[0; 20])
    };
    assert!(matches!(
        read(&answer, &SMALL).content,
        Content::Undecodable { why: Undecodable::Limit("messages"), .. }
    ));
}

#[test]
fn a_deep_text_is_refused_before_it_fills_the_stack() {
    let deep = "[".repeat(1 << 20);
    assert_eq!(parse_json(deep.as_bytes(), &Limits::default()), Err(Undecodable::Limit("JSON depth")));
    assert_eq!(limit("/v2/models/m/infer", "", &format!("{{\"x\":{deep}")), Some("decoded bytes"));
    let body = format!("{{\"x\":{deep}");
    let answer = read(&raw("/v2/models/m/infer", "", body.as_bytes()), &Limits::default());
    assert_eq!(answer.content.kind(), "undecodable");
}

const PATHS: [&str; 10] = [
    "/v2/models/m/infer",
    "/v2/models/m/generate",
    "/v1/models/m:predict",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/completions",
    "/x",
];
const KINDS: [Option<&str>; 5] =
    [None, Some("application/json"), Some("text/event-stream"), Some("text/plain"), Some("a/b")];

/// Text that looks like what is read here, broken in some way.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u12",
        "NaN",
        "-",
        "1e9",
        "null",
        "\"outputs\":[",
        "\"data\":",
        "\"name\":\"y\"",
        "\"datatype\":\"FP32\"",
        "\"shape\":[1]",
        "\"choices\":[",
        "\"delta\":{",
        "\"index\":9",
        "\"tool_calls\":[",
        "data: ",
        "\n\n",
        "\r",
        "[DONE]",
        "é",
        "\u{feff}",
        "\0\0\0\0\u{5}",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn garbage_is_survived(
        body in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), fragments()],
        path in 0..PATHS.len(), kind in 0..KINDS.len(), header in prop::option::of(0..250_usize),
        encoding in prop::sample::select(vec![None, Some("gzip"), Some("zstd"), Some("x")]),
    ) {
        let answer = RawAnswer {
            content_type: KINDS[kind],
            content_encoding: encoding,
            inference_header_length: header,
            chunk_times: &[(0, 5), (9, 3)],
            ..raw(PATHS[path], "", &body)
        };
        for limits in [Limits::default(), SMALL] {
            let _ = read(&answer, &limits);
            let request = RawRequest {
                api: path::parse(PATHS[path]), content_type: KINDS[kind], content_encoding: encoding,
                inference_header_length: header, body: &body,
            };
            let _ = read_request(&request, &limits);
        }
    }

    #[test]
    fn what_serde_reads_is_read_and_written_alike(value in any_json()) {
        let text = value.to_string();
        let mine = parse_json(text.as_bytes(), &Limits::default()).unwrap();
        let again: serde_json::Value = serde_json::from_str(&mine.to_string()).unwrap();
        prop_assert_eq!(again, value);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
