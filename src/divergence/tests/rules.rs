//! What the operator says about comparing.

use super::*;

/// The reason by which `a` and `b` differ under the spec that is written so.
fn reason(written: &str, a: &Answer, b: &Answer) -> Option<Reason> {
    compare(&spec(written), a, b).unwrap().reason
}

fn reported(comparison: &Comparison) -> (&str, ComparatorKind) {
    let worst = comparison.worst.as_ref().unwrap();
    (worst.output.as_str(), worst.comparator)
}

#[test]
fn an_output_may_have_a_comparator_of_its_own() {
    let of = |y: &str, z: &str| {
        answer(
            INFER,
            &format!(
                r#"{{"outputs":[{{"name":"y","datatype":"FP32","shape":[1],"data":[{y}]}},
                {{"name":"z","datatype":"FP32","shape":[1],"data":[{z}]}}]}}"#
            ),
        )
    };
    let (a, b) = (of("1", "1"), of("2", "1.5"));
    assert_eq!(reason("{}", &a, &b), Some(Reason::Numeric));
    let loose = r#"{"outputs":[{"output":"y","compare":{"numeric":{"absolute":1}}}]}"#;
    assert_eq!(reported(&compare(&spec(loose), &a, &b).unwrap()), ("z", ComparatorKind::Numeric));
    let both = r#"{"default":{"numeric":{"relative":0.5}},"ignore":["z"]}"#;
    assert_eq!(reason(both, &a, &b), None);
    assert_eq!(reason(r#"{"ignore":["y","z"]}"#, &a, &b), None);
    // Nobody asked for a missing output that is ignored.
    let only_y = tensor("FP32", "[1]", "[1]");
    assert_eq!(reason(r#"{"ignore":["z"]}"#, &a, &only_y), None);
    assert_eq!(reason(r#"{"ignore":["z"]}"#, &only_y, &a), None);
}

#[test]
fn exact_allows_no_difference_but_the_sign_of_zero() {
    let exact = r#"{"default":"exact"}"#;
    let of = |data: &str| tensor("FP32", "[2]", data);
    assert_eq!(reason(exact, &of("[1,NaN]"), &of("[1,NaN]")), None);
    assert_eq!(reason(exact, &of("[0,1]"), &of("[-0.0,1]")), None);
    assert_eq!(reason(exact, &of("[1,1]"), &of("[1,1.0000001]")), Some(Reason::Numeric));
    assert_eq!(reason(exact, &said("a b"), &said("a  b")), Some(Reason::Text));
    assert_eq!(reason(exact, &answer(OTHER, "[1.0]"), &answer(OTHER, "[1]")), None);
    assert_eq!(reason(exact, &answer(OTHER, "[1]"), &answer(OTHER, "[1.0000001]")), Some(Reason::JsonValue));
}

#[test]
fn integers_beyond_what_a_double_holds_are_not_rounded_together() {
    let (a, b) = ("9007199254740993", "9007199254740992");
    let list = |n: &str| answer(PREDICT, &format!(r#"{{"predictions":[{n}]}}"#));
    let object = |n: &str| answer(OTHER, &format!(r#"{{"id":{n}}}"#));
    let class = r#"{"default":{"label":{"by":"class"}}}"#;
    assert_eq!(reason("{}", &list(a), &list(b)), Some(Reason::Value));
    assert_eq!(reason(r#"{"default":"exact"}"#, &list(a), &list(b)), Some(Reason::Value));
    assert_eq!(reason(class, &list(a), &list(b)), Some(Reason::Label));
    assert_eq!(reason(class, &list(a), &list(a)), None);
    assert_eq!(reason(r#"{"default":"exact"}"#, &object(a), &object(b)), Some(Reason::JsonValue));
    // Within a relative tolerance they are near.
    assert_eq!(reason("{}", &object(a), &object(b)), None);
}

#[test]
fn labels_are_read_as_the_rule_says() {
    let by = |rule: &str| format!(r#"{{"default":{{"label":{{"by":{rule}}}}}}}"#);
    let of = |data: &str| tensor("FP32", "[1,4]", data);
    // The best two change places, then the best one falls to the third.
    let (a, swapped, third) = (of("[9,8,1,0]"), of("[8,9,1,0]"), of("[7,9,8,0]"));
    assert_eq!(reason(&by(r#""argmax""#), &a, &swapped), Some(Reason::Label));
    assert_eq!(reason(&by(r#"{"topK":{"k":2}}"#), &a, &swapped), None);
    assert_eq!(reason(&by(r#"{"topK":{"k":2}}"#), &a, &third), Some(Reason::Label));
    assert_eq!(reason(&by(r#"{"topK":{"k":3}}"#), &a, &third), None);
    // Scores may be far off, as long as they decide alike; but NaN decides nothing.
    assert_eq!(reason(&by(r#""argmax""#), &a, &of("[90,-8,1,-Infinity]")), None);
    assert_eq!(reason(&by(r#""argmax""#), &a, &of("[9,NaN,1,0]")), Some(Reason::NonFinite));
    let threshold = by(r#"{"threshold":{"at":0.7}}"#);
    let of = |data: &str| tensor("FP32", "[2]", data);
    assert_eq!(reason(&threshold, &of("[0.9,0.1]"), &of("[0.71,0.69]")), None);
    assert_eq!(reason(&threshold, &of("[0.9,0.1]"), &of("[0.69,0.1]")), Some(Reason::Label));
    assert_eq!(reason(&threshold, &of("[0.70001,0.1]"), &of("[0.69999,0.1]")), None);
    // One score for each row decides between two classes.
    let of = |data: &str| tensor("FP32", "[2,1]", data);
    assert_eq!(reason(&by(r#""argmax""#), &of("[0.9,0.1]"), &of("[0.4,0.1]")), Some(Reason::Label));
    assert_eq!(reason(&by(r#""argmax""#), &of("[0.9,0.1]"), &of("[0.6,0.3]")), None);
    let of = |data: &str| tensor("INT64", "[2]", data);
    let found = compare(&spec(&by(r#""class""#)), &of("[1,2]"), &of("[1,3]")).unwrap();
    assert_eq!((found.reason, reported(&found)), (Some(Reason::Label), ("y", ComparatorKind::Label)));
}

#[test]
fn json_pointers_give_places_their_own_comparator() {
    let of = |class: &str, score: f64, rows: &str, id: u32| {
        let text = format!(r#"{{"id":{id},"class":"{class}","score":{score},"rows":{rows}}}"#);
        answer(OTHER, &text)
    };
    let rows = r#"[{"t":1,"s":[0.6,0.4]},{"t":2,"s":[0.3,0.7]}]"#;
    let a = of("spam", 0.93, rows, 1);
    let written = r#"{"ignore":["/id","/rows/*/t"],"outputs":[
        {"output":"/class","compare":{"label":{}}},
        {"output":"/score","compare":{"numeric":{"absolute":0.1}}},
        {"output":"/rows/*/s","compare":{"label":{"by":"argmax"}}}]}"#;
    let found = |b: &Answer| compare(&spec(written), &a, b).unwrap();
    let other_rows = rows.replace("1,\"s\":[0.6,0.4]", "9,\"s\":[0.9,0.1]");
    assert!(!found(&of("spam", 0.9, &other_rows, 2)).diverged);
    let flipped = found(&of("spam", 0.9, &rows.replace("[0.3,0.7]", "[0.7,0.3]"), 2));
    assert_eq!(
        (flipped.reason, reported(&flipped)),
        (Some(Reason::Label), ("/rows/1/s", ComparatorKind::Label))
    );
    let class = found(&of("ham", 0.9, rows, 2));
    assert_eq!((class.reason, reported(&class)), (Some(Reason::Label), ("/class", ComparatorKind::Label)));
    let score = found(&of("spam", 0.7, rows, 2));
    assert_eq!(
        (score.reason, reported(&score)),
        (Some(Reason::Numeric), ("/score", ComparatorKind::Numeric))
    );
    let short = found(&of("spam", 0.93, r#"[{"t":1,"s":[0.6,0.4]}]"#, 2));
    assert_eq!(short.reason, Some(Reason::Shape).or(Some(Reason::Fields)));
    // A name is a key of the outermost object.
    assert_eq!(reason(r#"{"ignore":["id"]}"#, &a, &of("spam", 0.93, rows, 2)), None);
    assert_eq!(reason("{}", &a, &of("spam", 0.93, rows, 2)), Some(Reason::JsonValue));
}

#[test]
fn json_has_tolerances_by_path() {
    let written = r#"{"default":{"json":{"ignore":["/at"],"tolerance":{"absolute":0,"relative":0},
        "tolerances":[{"path":"/a/*/x","tolerance":{"absolute":0.5,"relative":0}},
                      {"path":"/a","tolerance":{"absolute":0.1,"relative":0}}]}}}"#;
    let of = |x: f64, y: f64, b: f64, at: u32| {
        answer(OTHER, &format!(r#"{{"a":[{{"x":{x},"y":{y}}}],"b":{b},"at":{at}}}"#))
    };
    let a = of(1.0, 1.0, 1.0, 1);
    let at = |b: &Answer| compare(&spec(written), &a, b).unwrap().worst.filter(|w| w.reason.is_some())?.at;
    assert_eq!(at(&of(1.4, 1.09, 1.0, 2)), None);
    assert_eq!(at(&of(1.6, 1.0, 1.0, 2)).as_deref(), Some("/a/0/x"));
    assert_eq!(at(&of(1.0, 1.2, 1.0, 2)).as_deref(), Some("/a/0/y"));
    assert_eq!(at(&of(1.0, 1.0, 1.0001, 2)).as_deref(), Some("/b"));
}

#[test]
fn predictions_are_named_by_key_or_pointer() {
    let of = |class: u32, score: f64| {
        answer(PREDICT, &format!(r#"{{"predictions":[{{"class":{class},"score":{score}}}]}}"#))
    };
    let (a, b) = (of(1, 0.5), of(2, 0.7));
    for written in [
        r#"{"ignore":["class"],"outputs":[{"output":"score","compare":{"numeric":{"absolute":1}}}]}"#,
        r#"{"ignore":["/predictions/*/class","/predictions/*/score"]}"#,
        // A pointer to a part of an output: then all of it is JSON, and names are pointers.
        r#"{"ignore":["/predictions/0/class"],"outputs":[{"output":"score","compare":{"numeric":{"absolute":1}}}]}"#,
        r#"{"default":{"json":{"ignore":["/predictions/*/class"],"tolerance":{"absolute":1}}}}"#,
    ] {
        assert_eq!(reason(written, &a, &b), None, "{written}");
    }
    assert_eq!(reason(r#"{"ignore":["score"]}"#, &a, &b), Some(Reason::Value));
    assert_eq!(reason(r#"{"ignore":["/predictions/1/class"]}"#, &a, &b), Some(Reason::JsonValue));
}

#[test]
fn status_alone_looks_at_nothing_else() {
    let (a, b) = (tensor("FP32", "[1]", "[1]"), tensor("FP32", "[1]", "[2]"));
    let status = r#"{"default":"status"}"#;
    assert_eq!(reason(status, &a, &b), None);
    assert_eq!(reason(status, &a, &Answer { status: 201, ..b.clone() }), Some(Reason::Status));
    let with_rule = r#"{"default":"status","outputs":[{"output":"y","compare":"auto"}]}"#;
    assert_eq!(reason(with_rule, &a, &b), Some(Reason::Numeric));
    let other_rule = r#"{"default":"status","outputs":[{"output":"z","compare":"auto"}]}"#;
    assert_eq!(reason(other_rule, &a, &b), None);
}

#[test]
fn a_quantised_model_may_change_its_type_where_that_is_allowed() {
    let (a, b) = (tensor("FP32", "[1]", "[1]"), tensor("FP16", "[1]", "[1.0005]"));
    assert_eq!(reason("{}", &a, &b), Some(Reason::Dtype));
    let allowed = r#"{"allowDtypeChange":true}"#;
    assert_eq!(reason(allowed, &a, &b), None);
    assert_eq!(reason(allowed, &a, &tensor("FP16", "[1]", "[2]")), Some(Reason::Numeric));
    assert_eq!(reason(allowed, &tensor("INT64", "[1]", "[1]"), &tensor("INT32", "[1]", "[1]")), None);
    assert_eq!(
        reason(allowed, &tensor("INT64", "[1]", "[1]"), &tensor("INT32", "[1]", "[2]")),
        Some(Reason::Value)
    );
    assert_eq!(reason(allowed, &a, &tensor("BYTES", "[1]", "[\"1\"]")), Some(Reason::Dtype));
}

#[test]
fn what_a_model_says_may_be_compared_in_other_ways() {
    let (a, b) = (said(r#"{"x": 1, "y": [1,2]}"#), said(r#"{"y":[1,2],"x":1.0}"#));
    assert_eq!(reason(r#"{"default":{"json":{}}}"#, &a, &b), None);
    assert_eq!(
        reason(r#"{"default":{"json":{}}}"#, &a, &said(r#"{"x":2,"y":[1,2]}"#)),
        Some(Reason::JsonValue)
    );
    let strict = r#"{"outputs":[{"output":"text","compare":{"text":{"maxDistance":0,"minOverlap":0}}}]}"#;
    assert_eq!(reason(strict, &said("a  b"), &said(" a b")), None);
    assert_eq!(reason(strict, &said("ab"), &said("ac")), Some(Reason::Text));
    let label = r#"{"default":{"label":{}}}"#;
    assert_eq!(reason(label, &said("yes\n"), &said("yes")), None);
    assert_eq!(reason(label, &said("yes"), &said("yet")), Some(Reason::Label));
    assert_eq!(reason(r#"{"ignore":["text"]}"#, &said("yes"), &said("no way")), None);
}

#[test]
fn an_ignored_place_is_ignored_by_rules_with_wildcards_too() {
    let written = r#"{"ignore":["/a/0"],"outputs":[{"output":"/a/*","compare":"exact"}]}"#;
    let of = |first: u32| answer(OTHER, &format!(r#"{{"a":[{first},5]}}"#));
    assert_eq!(reason(written, &of(1), &of(2)), None);
}

#[test]
fn axes_of_length_one_mean_nothing_where_that_is_said() {
    let squeeze = r#"{"shape":"squeeze"}"#;
    let of = |shape: &str, data: &str| tensor("FP32", shape, data);
    let (flat, column) = (of("[3]", "[1,2,3]"), of("[3,1]", "[1,2,3]"));
    assert_eq!(reason("{}", &flat, &column), Some(Reason::Shape), "not by default");
    assert_eq!(reason(squeeze, &flat, &column), None);
    assert_eq!(reason(squeeze, &column, &of("[1,3,1]", "[1,2,3]")), None);
    assert_eq!(reason(squeeze, &of("[]", "[1]"), &of("[1,1]", "[1]")), None);
    // The numbers still count, and so do all other axes.
    assert_eq!(reason(squeeze, &flat, &of("[3,1]", "[1,2,4]")), Some(Reason::Numeric));
    assert_eq!(
        reason(squeeze, &of("[2,3]", "[1,2,3,4,5,6]"), &of("[3,2]", "[1,2,3,4,5,6]")),
        Some(Reason::Shape)
    );
    assert_eq!(reason(squeeze, &of("[0]", "[]"), &of("[0,1]", "[]")), None);
    let words = |shape: &str| tensor("BYTES", shape, r#"["a","b"]"#);
    assert_eq!(reason(squeeze, &words("[2]"), &words("[2,1]")), None);
    // A rule of an output's own counts for it alone.
    let strict = r#"{"shape":"squeeze","outputs":[{"output":"y","compare":"auto","shape":"exact"}]}"#;
    assert_eq!(reason(strict, &flat, &column), Some(Reason::Shape));
    let own = r#"{"outputs":[{"output":"y","compare":{"numeric":{}},"shape":"squeeze"}]}"#;
    assert_eq!(reason(own, &flat, &column), None);
    // Scores in a column are one to a row, whoever writes them so.
    let label = r#"{"shape":"squeeze","default":{"label":{"by":{"threshold":{"at":0.5}}}}}"#;
    let scores = of("[2]", "[0.2,0.9]");
    assert_eq!(reason(label, &scores, &of("[2,1]", "[0.3,0.8]")), None);
    assert_eq!(reason(label, &scores, &of("[2,1]", "[0.6,0.8]")), Some(Reason::Label));
    // V1 predictions, and numbers in JSON that are compared as such.
    let list = |text: &str| answer(PREDICT, &format!(r#"{{"predictions":{text}}}"#));
    assert_eq!(reason("{}", &list("[1,2]"), &list("[[1],[2]]")), Some(Reason::Shape));
    assert_eq!(reason(squeeze, &list("[1,2]"), &list("[[1],[2]]")), None);
    let json = |text: &str| answer(OTHER, &format!(r#"{{"s":{text}}}"#));
    let at = r#"{"outputs":[{"output":"/s","compare":{"numeric":{}},"shape":"squeeze"}]}"#;
    assert_eq!(reason(at, &json("[1,2]"), &json("[[1],[2]]")), None);
}
