//! Scores and segments.

use super::*;
use crate::divergence::score::{self, ScoreSpec};
use crate::divergence::segment::{self, MAX_SEGMENT, SegmentSpec, Sources};
use crate::inference::answer::{Content, RawRequest, read_request};

#[test]
fn a_score_is_read_by_output_or_pointer() {
    let output = |name: &str, index| ScoreSpec::Output { name: name.to_owned(), index };
    let pointer = |at: &str| ScoreSpec::Pointer(at.to_owned());
    let tensors = tensor("FP32", "[1,2]", "[0.25,NaN]");
    let flags = tensor("BOOL", "[1]", "[true]");
    let rows = answer(PREDICT, r#"{"predictions":[{"p":0.5,"c":"a"},{"p":0.75,"c":"b"}]}"#);
    let bare = answer(PREDICT, r#"{"predictions":[[0.5,0.75]]}"#);
    let json = answer(OTHER, r#"{"a":{"s":2},"t":"3"}"#);
    for (spec, from, want) in [
        (output("y", 0), &tensors, Some(0.25)),
        (output("y", 1), &tensors, None),
        (output("y", 2), &tensors, None),
        (output("z", 0), &tensors, None),
        (output("y", 0), &flags, Some(1.0)),
        (output("p", 1), &rows, Some(0.75)),
        (output("c", 0), &rows, None),
        (output("predictions", 1), &bare, Some(0.75)),
        (pointer("/predictions/0/1"), &bare, Some(0.75)),
        (pointer("/a/s"), &json, Some(2.0)),
        (pointer("/t"), &json, None),
        (pointer("/x"), &json, None),
        (output("a", 0), &json, None),
        (pointer("/a"), &said("a"), None),
    ] {
        assert_eq!(score::read(&spec, from), want, "{spec:?}");
    }
    let written: ScoreSpec = serde_json::from_str(r#"{"output":{"name":"y"}}"#).unwrap();
    assert_eq!(written, output("y", 0));
    assert_eq!(serde_json::from_str::<ScoreSpec>(r#"{"pointer":"/a"}"#).unwrap(), pointer("/a"));
}

#[test]
fn a_segment_is_read_from_header_body_or_column() {
    let header = |value| Sources { header: value, body: b"", content: None };
    let by_header = SegmentSpec::Header("x-region".to_owned());
    assert_eq!(segment::read(&by_header, &header(Some(" eu\u{7} "))).as_deref(), Some("eu"));
    assert_eq!(segment::read(&by_header, &header(Some("  "))), None);
    assert_eq!(segment::read(&by_header, &header(None)), None);
    // Cut at a character's end.
    let long = format!("a{}", "é".repeat(100));
    let cut = segment::read(&by_header, &header(Some(&long))).unwrap();
    assert_eq!(cut.len(), MAX_SEGMENT - 1);
    assert!(long.starts_with(&cut));

    let by_pointer = SegmentSpec::Pointer("/user/tier".to_owned());
    let body = |text: &'static str| Sources { header: None, body: text.as_bytes(), content: None };
    assert_eq!(segment::read(&by_pointer, &body(r#"{"user":{"tier":"gold"}}"#)).as_deref(), Some("gold"));
    assert_eq!(segment::read(&by_pointer, &body(r#"{"user":{"tier":3}}"#)).as_deref(), Some("3"));
    assert_eq!(segment::read(&by_pointer, &body(r#"{"user":{"tier":{}}}"#)), None);
    assert_eq!(segment::read(&by_pointer, &body("")), None);

    let text = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[3,0.5]},
        {"name":"s","datatype":"BYTES","shape":[1],"data":["eu"]},{"name":"b","datatype":"BOOL","shape":[1],"data":[true]}]}"#;
    let raw = RawRequest {
        api: path::parse(INFER),
        content_type: Some("application/json"),
        content_encoding: None,
        inference_header_length: None,
        body: text.as_bytes(),
    };
    let content = read_request(&raw, &Limits::default());
    let column = |input: &str, index| {
        let spec = SegmentSpec::Column { input: input.to_owned(), index };
        segment::read(&spec, &Sources { header: None, body: b"", content: Some(&content) })
    };
    assert_eq!(column("x", 0).as_deref(), Some("3"));
    assert_eq!(column("x", 1).as_deref(), Some("0.5"));
    assert_eq!(column("x", 2), None);
    assert_eq!(column("x", usize::MAX), None);
    assert_eq!(column("s", 0).as_deref(), Some("eu"));
    assert_eq!(column("b", 0).as_deref(), Some("true"));
    assert_eq!(column("z", 0), None);
    let nothing = Sources { header: None, body: b"", content: Some(&Content::Empty) };
    assert_eq!(segment::read(&SegmentSpec::Column { input: "x".to_owned(), index: 0 }, &nothing), None);
}
