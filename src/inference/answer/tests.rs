//! Conformance of each protocol, bounds, and garbage.

mod bounds;
mod chat;
mod tensors;

use super::*;
use crate::inference::path;

/// An answer of status 200 to a request of `path`.
fn raw<'a>(path: &'a str, content_type: &'a str, body: &'a [u8]) -> RawAnswer<'a> {
    RawAnswer {
        api: path::parse(path),
        status: 200,
        grpc: None,
        content_type: Some(content_type).filter(|kind| !kind.is_empty()),
        content_encoding: None,
        inference_header_length: None,
        body,
        chunk_times: &[],
    }
}

fn content(path: &str, content_type: &str, body: &[u8]) -> Content {
    read(&raw(path, content_type, body), &Limits::default()).content
}

fn json(text: &str) -> Json {
    parse_json(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn the_path_the_type_and_the_look_decide_in_that_order() {
    let infer = "/v2/models/m/infer";
    let predict = "/v1/models/m:predict";
    let object = br#"{"a":1}"#;
    for (path, kind, body, want) in [
        (infer, "application/json", &br#"{"outputs":[]}"#[..], "tensors"),
        (infer, "", br#"{"outputs":[]}"#, "tensors"),
        (infer, "application/json", br#"{"error":"x"}"#, "json"),
        (infer, "text/html", b"<html>", "text"),
        ("/v2/models/m", "application/json", br#"{"outputs":[]}"#, "json"),
        (predict, "application/json", br#"{"predictions":[1]}"#, "predictions"),
        (predict, "application/json", br#"{"outputs":1}"#, "predictions"),
        (predict, "application/json", br#"{"results":[1]}"#, "json"),
        ("/score", "application/json; charset=utf-8", object, "json"),
        ("/score", "application/problem+json", object, "json"),
        ("/score", "Application/JSON", b"{", "undecodable"),
        ("/score", "", object, "json"),
        ("/score", "", b"{not json", "bytes"),
        ("/score", "text/plain", object, "json"),
        ("/score", "text/plain", b"0.93", "text"),
        ("/score", "text/plain", b"\xff", "bytes"),
        ("/score", "application/x-ndjson", b"{}\n{}", "text"),
        ("/score", "image/png", object, "bytes"),
        ("/score", "application/json", b"", "empty"),
        ("/score", "application/json", br#"{"choices":[{"message":{"content":"a"}}]}"#, "chat"),
        ("/score", "application/json", br#"{"choices":["a","b"]}"#, "json"),
        (
            "/x/v2/models/m/infer",
            "application/json",
            br#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}"#,
            "tensors",
        ),
        ("/score", "application/json", br#"{"outputs":[{"name":"y"}]}"#, "json"),
    ] {
        let text = String::from_utf8_lossy(body).into_owned();
        assert_eq!(content(path, kind, body).kind(), want, "{path} {kind} {text}");
    }
}

#[test]
fn an_error_is_not_read_as_its_protocol() {
    let mut answer = raw("/v2/models/m/infer", "application/json", br#"{"outputs":[{"bad":1}]}"#);
    assert_eq!(read(&answer, &Limits::default()).content.kind(), "undecodable");
    answer.status = 500;
    assert_eq!(read(&answer, &Limits::default()).content.kind(), "json");
}

#[test]
fn nan_and_infinity_are_understood_in_every_spelling() {
    let text = "[NaN,nan,-NaN,Infinity,-Infinity,inf,-inf,Inf,1e999,null]";
    let Json::Array(items) = json(text) else { panic!() };
    let values: Vec<_> = items.iter().map(Json::as_f64).collect();
    assert!(values[..3].iter().all(|v| v.unwrap().is_nan()));
    let inf = f64::INFINITY;
    assert_eq!(values[3..9], [inf, -inf, inf, -inf, inf, inf].map(Some));
    assert_eq!(values[9], None);
    assert_eq!(json("[NaN,-Infinity]").to_string(), "[NaN,-Infinity]");
    for bad in ["nanx", "Infinit", "-", "+", "truee", "nul", "1x", ".", "NaN NaN", "'a'"] {
        assert!(parse_json(bad.as_bytes(), &Limits::default()).is_err(), "{bad}");
    }
}

#[test]
fn json_keeps_what_matters() {
    let value =
        json(" {\"b\": 18446744073709551615, \"a\": -1.50e1, \"b\": [true, \"x\\u00e9\\n\"], \"\": {}} ");
    assert_eq!(value.to_string(), "{\"\":{},\"a\":-15.0,\"b\":[true,\"xé\\n\"]}");
    assert_eq!(value.at("/b/1").and_then(Json::as_str), Some("xé\n"));
    assert_eq!(value.at("/b/01"), None);
    assert_eq!(value.at("/"), Some(&Json::Object(vec![])));
    assert_eq!(json("18446744073709551615"), Json::Integer(18_446_744_073_709_551_615));
    assert_eq!(json("\u{feff}1"), Json::Integer(1));
    assert_eq!(json("\"\\\"\""), Json::string("\""));
}

#[test]
fn numbers_of_json_have_a_shape_unless_they_are_ragged() {
    let shape = |text: &str| numbers(&json(text)).map(|(shape, _)| shape);
    assert_eq!(shape("[[1,2.5],[3,null]]"), Some(vec![2, 2]));
    assert_eq!(shape("7"), Some(vec![]));
    assert_eq!(shape("[]"), Some(vec![0]));
    assert_eq!(shape("[[],[]]"), Some(vec![2, 0]));
    for ragged in ["[[1],[2,3]]", "[1,[2]]", "[[1],2]", "[[],1]", "[[],[[1]]]", "[1,\"a\"]", "null", "[true]"]
    {
        assert_eq!(shape(ragged), None, "{ragged}");
    }
}

#[test]
fn a_compressed_answer_is_what_it_was_before() {
    let body = br#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"data":[1]}]}"#;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut to, body).unwrap();
    let packed = to.finish().unwrap();
    let mut answer = raw("/v2/models/m/infer", "application/json", &packed);
    answer.content_encoding = Some("gzip");
    assert_eq!(
        read(&answer, &Limits::default()).content,
        content("/v2/models/m/infer", "application/json", body)
    );
    answer.content_encoding = Some("br");
    let Content::Undecodable { why: Undecodable::Malformed(_), body } =
        read(&answer, &Limits::default()).content
    else {
        panic!()
    };
    assert_eq!(body, packed);
}

#[test]
fn what_is_shown_again_has_the_form_of_its_api() {
    let body = br#"{"outputs":[{"name":"y","datatype":"FP32","shape":[3],"data":[0.1,NaN,2]}]}"#;
    let shown = to_json(&content("/v2/models/m/infer", "", body), "outputs", 2).unwrap();
    assert_eq!(
        shown.to_string(),
        r#"{"outputs":[{"data":[0.1,NaN],"datatype":"FP32","name":"y","shape":[3]}]}"#
    );
    let body = br#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"id":"r"}"#;
    let shown = to_json(&content("/v1/chat/completions", "", body), "outputs", 2).unwrap();
    assert_eq!(
        shown.to_string(),
        r#"{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"hi"}}]}"#
    );
    assert_eq!(to_json(&Content::Empty, "outputs", 2), None);
}
