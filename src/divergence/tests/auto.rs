//! What is compared how when nobody says.

use super::*;
use crate::inference::answer::{Content, Undecodable};
use ComparatorKind::{Exact, Json, Label, Numeric, Text};

#[test]
fn tensors_are_compared_by_what_they_hold() {
    for (a, b, by, want) in [
        // Numbers: 1e-4 + 1e-3 of the larger one.
        (("FP32", "[2]", "[1,100]"), ("FP32", "[2]", "[1.001,100.1]"), vec![Numeric], None),
        (("FP32", "[2]", "[1,100]"), ("FP32", "[2]", "[1.0012,100]"), vec![Numeric], Some(Reason::Numeric)),
        (("FP64", "[1]", "[0]"), ("FP64", "[1]", "[0.00009]"), vec![Numeric], None),
        (("FP16", "[1]", "[NaN]"), ("FP16", "[1]", "[NaN]"), vec![Numeric], None),
        (("FP32", "[1]", "[NaN]"), ("FP32", "[1]", "[0]"), vec![Numeric], Some(Reason::NonFinite)),
        (("FP32", "[1]", "[0]"), ("FP32", "[1]", "[Infinity]"), vec![Numeric], Some(Reason::NonFinite)),
        (
            ("FP32", "[1]", "[-Infinity]"),
            ("FP32", "[1]", "[Infinity]"),
            vec![Numeric],
            Some(Reason::NonFinite),
        ),
        // Probabilities: the class, and 0.05.
        (("FP32", "[1,2]", "[0.8,0.2]"), ("FP32", "[1,2]", "[0.84,0.16]"), vec![Label, Numeric], None),
        (
            ("FP32", "[1,2]", "[0.8,0.2]"),
            ("FP32", "[1,2]", "[0.9,0.1]"),
            vec![Label, Numeric],
            Some(Reason::Numeric),
        ),
        (
            ("FP32", "[1,2]", "[0.51,0.49]"),
            ("FP32", "[1,2]", "[0.49,0.51]"),
            vec![Label, Numeric],
            Some(Reason::Label),
        ),
        // A tie means nothing.
        (("FP32", "[1,2]", "[0.5,0.5]"), ("FP32", "[1,2]", "[0.49999,0.50001]"), vec![Label, Numeric], None),
        // Where only one looks like probabilities, they are numbers.
        (("FP32", "[2]", "[0.8,0.2]"), ("FP32", "[2]", "[8,2]"), vec![Numeric], Some(Reason::Numeric)),
        // One value for each row is no probability of classes.
        (("FP32", "[2,1]", "[1,1]"), ("FP32", "[2,1]", "[1,1]"), vec![Numeric], None),
        (("INT64", "[2]", "[1,2]"), ("INT64", "[2]", "[1,2]"), vec![Exact], None),
        (("INT64", "[2]", "[1,2]"), ("INT64", "[2]", "[1,3]"), vec![Exact], Some(Reason::Value)),
        (
            ("INT64", "[1]", "[9007199254740993]"),
            ("INT64", "[1]", "[9007199254740992]"),
            vec![Exact],
            Some(Reason::Value),
        ),
        (("BOOL", "[1]", "[true]"), ("BOOL", "[1]", "[false]"), vec![Exact], Some(Reason::Value)),
        (("BYTES", "[1]", "[\"a\"]"), ("BYTES", "[1]", "[\"b\"]"), vec![Exact], Some(Reason::Value)),
        (("FP32", "[2]", "[1,2]"), ("FP32", "[2,1]", "[1,2]"), vec![Exact], Some(Reason::Shape)),
        (("FP32", "[1]", "[1]"), ("FP64", "[1]", "[1]"), vec![Exact], Some(Reason::Dtype)),
        (("FP32", "[0]", "[]"), ("FP32", "[0]", "[]"), vec![Numeric], None),
    ] {
        let found = auto(&tensor(a.0, a.1, a.2), &tensor(b.0, b.1, b.2));
        assert_eq!((found.reason, kinds(&found)), (want, by), "{a:?} {b:?}");
        assert_eq!(found.diverged, want.is_some());
        assert_eq!(found.worst.as_ref().map(|worst| worst.output.as_str()), Some("y"));
    }
}

#[test]
fn a_flip_in_one_row_of_a_batch_is_named() {
    let a = tensor("FP32", "[3,2]", "[0.9,0.1,0.52,0.48,0.2,0.8]");
    let b = tensor("FP32", "[3,2]", "[0.9,0.1,0.48,0.52,0.2,0.8]");
    let worst = auto(&a, &b).worst.unwrap();
    assert_eq!((worst.comparator, worst.at.as_deref()), (Label, Some("row 1")));
    assert_eq!((worst.measures.compared, worst.measures.different), (3, 1));
}

#[test]
fn outputs_that_one_answer_lacks_are_a_difference_of_fields() {
    let output = |name: &str| format!(r#"{{"name":"{name}","datatype":"INT8","shape":[1],"data":[1]}}"#);
    let of = |names: &[&str]| {
        let outputs: Vec<_> = names.iter().map(|name| output(name)).collect();
        answer(INFER, &format!(r#"{{"outputs":[{}]}}"#, outputs.join(",")))
    };
    assert!(!auto(&of(&["a", "b"]), &of(&["b", "a"])).diverged);
    for (a, b, name) in [(&["a", "b"][..], &["a"][..], "b"), (&["a"], &["a", "c"], "c"), (&[], &["a"], "a")] {
        let found = auto(&of(a), &of(b));
        assert_eq!((found.reason, found.worst.unwrap().output.as_str()), (Some(Reason::Fields), name));
    }
    assert_eq!(auto(&of(&["a", "a"]), &of(&["a"])).worst.unwrap().output, "a#1");
}

#[test]
fn predictions_are_compared_like_tensors() {
    for (a, b, by, want) in [
        (r#"{"predictions":[[1,2.5]]}"#, r#"{"predictions":[[1.0005,2.5]]}"#, vec![Numeric], None),
        (
            r#"{"predictions":[[1,2.5]]}"#,
            r#"{"predictions":[[1.1,2.5]]}"#,
            vec![Numeric],
            Some(Reason::Numeric),
        ),
        (r#"{"predictions":[1.5]}"#, r#"{"predictions":[NaN]}"#, vec![Numeric], Some(Reason::NonFinite)),
        (r#"{"predictions":[1.5]}"#, r#"{"predictions":[null]}"#, vec![Numeric], Some(Reason::NonFinite)),
        (r#"{"predictions":[NaN]}"#, r#"{"predictions":[null]}"#, vec![Numeric], None),
        (r#"{"predictions":[0,1]}"#, r#"{"predictions":[0,2]}"#, vec![Exact], Some(Reason::Value)),
        // One writes 1 where the other writes 0.9999: numbers, not classes.
        (r#"{"predictions":[1]}"#, r#"{"predictions":[0.9999]}"#, vec![Numeric], None),
        (
            r#"{"predictions":[[0.6,0.4],[0.3,0.7]]}"#,
            r#"{"predictions":[[0.58,0.42],[0.3,0.7]]}"#,
            vec![Label, Numeric],
            None,
        ),
        (
            r#"{"predictions":[[0.51,0.49]]}"#,
            r#"{"predictions":[[0.49,0.51]]}"#,
            vec![Label, Numeric],
            Some(Reason::Label),
        ),
        (r#"{"predictions":[[1.5]]}"#, r#"{"predictions":[[1.5],[1.5]]}"#, vec![Exact], Some(Reason::Shape)),
        (r#"{"predictions":["spam"]}"#, r#"{"predictions":["ham"]}"#, vec![Json], Some(Reason::JsonValue)),
        (
            r#"{"predictions":[{"p":[0.6,0.4],"c":0}]}"#,
            r#"{"predictions":[{"c":0,"p":[0.59,0.41]}]}"#,
            vec![Exact, Label, Numeric],
            None,
        ),
        (
            r#"{"predictions":[{"c":0}]}"#,
            r#"{"predictions":[{"c":0,"d":1}]}"#,
            vec![Exact],
            Some(Reason::Fields),
        ),
        // Rows without a key have no output, but a number.
        (r#"{"predictions":[{}]}"#, r#"{"predictions":[{},{}]}"#, vec![Json], Some(Reason::Shape)),
        (r#"{"outputs":{"c":[1]}}"#, r#"{"outputs":{"c":[2]}}"#, vec![Exact], Some(Reason::Value)),
        (r#"{"outputs":[1]}"#, r#"{"predictions":[1]}"#, vec![Exact], Some(Reason::Fields)),
    ] {
        let found = auto(&answer(PREDICT, a), &answer(PREDICT, b));
        assert_eq!((found.reason, kinds(&found)), (want, by), "{a} {b}");
    }
}

#[test]
fn other_json_is_compared_value_by_value() {
    for (a, b, want) in [
        (r#"{"a":1,"b":[true,"x"]}"#, r#"{"b":[true,"x"],"a":1.0000001}"#, None),
        (r#"{"a":1}"#, r#"{"a":1.00001}"#, Some((Reason::JsonValue, "/a"))),
        (r#"{"a":{"b/c":"x"}}"#, r#"{"a":{"b/c":"y"}}"#, Some((Reason::JsonValue, "/a/b~1c"))),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, Some((Reason::JsonValue, "/a"))),
        (r#"{"a":1}"#, r#"{"a":NaN}"#, Some((Reason::NonFinite, "/a"))),
        (r#"{"a":NaN}"#, r#"{"a":NaN}"#, None),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, Some((Reason::Fields, "/b"))),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, Some((Reason::Fields, "/b"))),
        (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#, Some((Reason::Shape, "/a"))),
        ("[18446744073709551615]", "[18446744073709551615]", None),
    ] {
        let found = auto(&answer(OTHER, a), &answer(OTHER, b));
        assert_eq!(found.reason, want.map(|(reason, _)| reason), "{a} {b}");
        if let Some((_, at)) = want {
            assert_eq!(found.worst.unwrap().at.as_deref(), Some(at), "{a} {b}");
        }
    }
}

#[test]
fn what_a_model_says_is_compared_by_text_reason_and_tools() {
    let chat = |choices: &str| answer(CHAT, &format!(r#"{{"choices":[{choices}]}}"#));
    let text = r#"{"index":0,"message":{"content":"The sky is blue today"},"finish_reason":"stop"}"#;
    let tool = |arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        chat(&format!(
            r#"{{"message":{{"tool_calls":[{{"id":"r","function":{{"name":"f","arguments":{arguments}}}}}]}}}}"#
        ))
    };
    for (a, b, want) in [
        (chat(text), chat(&text.replace("today", "now")), None),
        (
            chat(text),
            chat(&text.replace("The sky is blue today", "I cannot help with that")),
            Some(Reason::Text),
        ),
        (chat(text), chat(&text.replace("stop", "length")), Some(Reason::FinishReason)),
        (chat(text), chat(&format!("{text},{}", text.replace(":0", ":1"))), Some(Reason::Fields)),
        (tool(r#"{"x": 1, "y":2}"#), tool(r#"{"y":2,"x":1.0}"#), None),
        (tool(r#"{"x":1}"#), tool(r#"{"x":2}"#), Some(Reason::ToolCalls)),
        (tool("not json"), tool("not json"), None),
        (tool("{}"), chat(r#"{"message":{"content":""}}"#), Some(Reason::ToolCalls)),
    ] {
        assert_eq!(auto(&a, &b).reason, want, "{a:?} {b:?}");
    }
}

#[test]
fn a_stream_that_breaks_off_diverges() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n";
    let stream = |end: &str| of_type(CHAT, "text/event-stream", format!("{event}{end}").as_bytes());
    assert_eq!(auto(&stream("data: [DONE]\n\n"), &stream("")).reason, Some(Reason::FinishReason));
    assert_eq!(auto(&stream(""), &stream("")).reason, None);
}

#[test]
fn text_bytes_and_nothing_are_compared_exactly() {
    let text = |body: &[u8]| of_type(OTHER, "text/plain", body);
    let bytes = |body: &[u8]| of_type(OTHER, "image/png", body);
    for (a, b, want) in [
        (text(b"0.93"), text(b"0.93"), None),
        (text(b"0.93"), text(b"0.94"), Some(Reason::Text)),
        (bytes(b"\x00"), bytes(b"\x00"), None),
        (bytes(b"\x00"), bytes(b"\x01"), Some(Reason::Bytes)),
        (bytes(b""), bytes(b""), None),
        (bytes(b""), bytes(b"\x01"), Some(Reason::Fields)),
        (text(b"{}"), text(b"x"), Some(Reason::Fields)),
    ] {
        assert_eq!(auto(&a, &b).reason, want, "{a:?} {b:?}");
    }
}

#[test]
fn only_a_primary_that_succeeded_is_compared_with() {
    let ok = tensor("FP32", "[1]", "[1]");
    let http = |status| Answer { status, ..ok.clone() };
    let grpc = |grpc| Answer { grpc: Some(grpc), ..ok.clone() };
    let error = Answer { content: Content::Error("x".into()), ..ok.clone() };
    let default = CompareSpec::default();
    for failed in [http(500), http(404), http(429), grpc(13), grpc(1), error] {
        let found = auto(&ok, &failed);
        assert_eq!((found.reason, kinds(&found)), (Some(Reason::Status), vec![ComparatorKind::Status]));
        assert_eq!(compare(&default, &failed, &ok), Err(NotComparable::PrimaryFailed));
        assert_eq!(compare(&default, &failed, &http(503)), Err(NotComparable::BothFailed));
    }
    assert!(!auto(&ok, &http(201)).diverged);
    assert!(!auto(&ok, &grpc(0)).diverged);
}

#[test]
fn what_cannot_be_read_is_compared_as_bytes() {
    let ok = tensor("FP32", "[1]", "[1]");
    let broken = |body: &[u8]| of_type(INFER, "application/json", body);
    let limit = |body: &[u8]| {
        let content = Content::Undecodable { why: Undecodable::Limit("JSON depth"), body: body.to_vec() };
        Answer { content, ..ok.clone() }
    };
    let default = CompareSpec::default();
    assert_eq!(auto(&broken(b"{"), &broken(b"{")).reason, None);
    assert_eq!(auto(&broken(b"{"), &broken(b"[")).reason, Some(Reason::Undecodable));
    assert_eq!(auto(&ok, &broken(b"{")).reason, Some(Reason::Undecodable));
    assert_eq!(auto(&broken(b"{"), &ok).reason, Some(Reason::Undecodable));
    // A limit of ours says nothing about the answers, unless only the shadow's runs into it.
    assert_eq!(auto(&limit(b"a"), &limit(b"a")).reason, None);
    assert_eq!(compare(&default, &limit(b"a"), &limit(b"b")), Err(NotComparable::DecodeLimit));
    assert_eq!(compare(&default, &limit(b"a"), &ok), Err(NotComparable::DecodeLimit));
    assert_eq!(auto(&ok, &limit(b"a")).reason, Some(Reason::DecodeLimit));
}

#[test]
fn streamed_strings_are_joined_and_compared_as_text() {
    use crate::inference::answer::Output;
    use crate::inference::tensor::{Tensor, TensorData};
    let stream = |pieces: &[&str]| {
        let outputs = pieces.iter().enumerate().map(|(message, piece)| {
            let data = TensorData::Bytes(vec![(*piece).to_owned()]);
            Output { message, tensor: Tensor::new("text", vec![1], data).unwrap() }
        });
        Answer { status: 200, grpc: Some(0), content: Content::Tensors(outputs.collect()), timing: None }
    };
    let found = auto(&stream(&["The sky ", "is blue"]), &stream(&["The", " sky is", " blue"]));
    assert_eq!((found.reason, kinds(&found)), (None, vec![Text]));
    let found = auto(&stream(&["The sky ", "is blue"]), &stream(&["No ", "idea, sorry"]));
    assert_eq!(found.reason, Some(Reason::Text));
}

#[test]
fn the_gravest_difference_is_the_one_that_is_named() {
    let of = |y: &str, z: &str| {
        answer(
            INFER,
            &format!(
                r#"{{"outputs":[{{"name":"y","datatype":"FP32","shape":[2],"data":{y}}},
                {{"name":"z","datatype":"FP32","shape":[2],"data":{z}}}]}}"#
            ),
        )
    };
    let base = of("[1,1]", "[1,1]");
    let worst = |other: &Answer| {
        let worst = auto(&base, other).worst.unwrap();
        (worst.output, worst.at, worst.reason)
    };
    let at = |at: &str| Some(at.to_owned());
    assert_eq!(worst(&of("[1,9]", "[2,3]")), ("y".into(), at("1"), Some(Reason::Numeric)));
    assert_eq!(worst(&of("[2,1]", "[3,9]")), ("z".into(), at("1"), Some(Reason::Numeric)));
    assert_eq!(worst(&of("[1,99]", "[NaN,1]")), ("z".into(), at("0"), Some(Reason::NonFinite)));
    assert_eq!(worst(&of("[9,NaN]", "[1,1]")), ("y".into(), at("1"), Some(Reason::NonFinite)));
}
