//! Scores and segments.

use super::*;
use crate::divergence::score::{self, ScoreSpec};
use crate::divergence::segment::{self, At, ColumnSpec, MAX_SEGMENT};
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
fn a_segment_is_the_value_of_a_column_in_the_first_row_of_whatever_carries_it() {
    let read = |path: &str, body: &[u8], header: Option<usize>| {
        let raw = RawRequest {
            api: path::parse(path),
            content_type: None,
            content_encoding: None,
            inference_header_length: header,
            body,
        };
        read_request(&raw, &Limits::default())
    };
    let at = |input: &str, at| ColumnSpec { input: input.to_owned(), at };
    let index = |input: &str, index| at(input, At::Index(index));
    let key = |input: &str, key: &str| at(input, At::Key(key.to_owned()));

    let json = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[3,0.5,7,8]},
        {"name":"s","datatype":"BYTES","shape":[1],"data":["eu"]},{"name":"b","datatype":"BOOL","shape":[1],"data":[true]}]}"#;
    let json = read(INFER, json, None);
    let head =
        br#"{"inputs":[{"name":"x","datatype":"INT64","shape":[1,2],"parameters":{"binary_data_size":16}}]}"#;
    let binary = [head.as_slice(), &4_i64.to_le_bytes(), &(-5_i64).to_le_bytes()].concat();
    let binary = read(INFER, &binary, Some(head.len()));
    let rows = read(PREDICT, br#"{"instances":[[1,20.0],[-3,4]]}"#, None);
    let deep = read(PREDICT, br#"{"instances":[[[1,20]]]}"#, None);
    let keyed = read(PREDICT, br#"{"instances":[{"age":41,"tier":"gold"},{"age":2}]}"#, None);
    let columns = read(PREDICT, br#"{"inputs":{"age":[[41],[2]],"tier":["gold"]}}"#, None);
    for (spec, from, want) in [
        (index("x", 0), &json, Some("3")),
        (index("x", 1), &json, Some("0.5")),
        // The second row's is not the first row's third.
        (index("x", 2), &json, None),
        (index("x", usize::MAX), &json, None),
        (index("s", 0), &json, Some("eu")),
        (index("b", 0), &json, Some("true")),
        (index("z", 0), &json, None),
        (key("x", "a"), &json, None),
        (index("x", 0), &binary, Some("4")),
        (index("x", 1), &binary, Some("-5")),
        (index("instances", 1), &rows, Some("20")),
        (index("instances", 2), &rows, None),
        (index("instances", 1), &deep, Some("20")),
        (key("instances", "age"), &keyed, Some("41")),
        (key("instances", "tier"), &keyed, Some("gold")),
        (key("instances", "x"), &keyed, None),
        (index("instances", 0), &keyed, None),
        (key("inputs", "age"), &columns, Some("41")),
        (key("inputs", "tier"), &columns, Some("gold")),
        (index("x", 0), &Content::Empty, None),
    ] {
        assert_eq!(segment::column(&spec, from).as_deref(), want, "{spec:?}");
    }
}

#[test]
fn a_segment_has_a_short_clean_name_and_numbers_have_bins() {
    assert_eq!(segment::clean(" eu\u{7} ").as_deref(), Some("eu"));
    assert_eq!(segment::clean(" \n "), None);
    // Cut at a character's end.
    let long = format!("a{}", "é".repeat(100));
    let cut = segment::clean(&long).unwrap();
    assert_eq!(cut.len(), MAX_SEGMENT - 1);
    assert!(long.starts_with(&cut));
    let bin = |value: &str| segment::bin(&[18.0, 65.5], value);
    for (value, name) in [
        ("-1e3", "<18"),
        ("17.99", "<18"),
        ("18", "18..65.5"),
        (" 65 ", "18..65.5"),
        ("65.5", ">=65.5"),
        ("1e300", ">=65.5"),
    ] {
        assert_eq!(bin(value).as_deref(), Some(name), "{value}");
    }
    for value in ["", "x", "NaN", "inf"] {
        assert_eq!(bin(value), None, "{value}");
    }
}
