//! What holds for all answers.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::divergence::distance::{edit_distance, token_overlap};
use crate::divergence::pairs::{Body, PairBook, PairSpec, Seen};
use crate::inference::answer::Content;

/// Numbers that are compared with each other often: some equal, some near, some not finite.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => prop::sample::select(vec![0.0, -0.0, 0.5, 0.50001, 1.0, 1.001, 1.0011, -1.0, 0.4999, f32::MAX, f32::MIN_POSITIVE]),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        2 => any::<f32>(),
    ]
}

fn floats(values: &[f32]) -> Answer {
    let mut data = String::new();
    for value in values {
        let comma = if data.is_empty() { "" } else { "," };
        match value {
            nan if nan.is_nan() => write!(data, "{comma}NaN"),
            other => write!(data, "{comma}{other:?}"),
        }
        .unwrap();
    }
    tensor("FP32", &format!("[{},3]", values.len() / 3), &format!("[{data}]"))
}

fn specs() -> Vec<CompareSpec> {
    [
        "{}",
        r#"{"default":"exact"}"#,
        r#"{"default":"status"}"#,
        r#"{"default":{"numeric":{"absolute":0.001,"relative":0.001}}}"#,
        r#"{"default":{"numeric":{"absolute":0,"relative":0}}}"#,
        r#"{"default":{"label":{}}}"#,
        r#"{"default":{"label":{"margin":0}}}"#,
        r#"{"default":{"label":{"by":{"topK":{"k":2}}}}}"#,
        r#"{"default":{"label":{"by":{"threshold":{"at":0.5}}}}}"#,
        r#"{"default":{"label":{"by":"class"}}}"#,
        r#"{"default":{"text":{}}}"#,
        r#"{"default":{"json":{}}}"#,
        r#"{"outputs":[{"output":"/a","compare":{"label":{}}},{"output":"/*/b","compare":{"text":{}}}]}"#,
    ]
    .map(spec)
    .to_vec()
}

/// Any answer: understood or not, of any kind.
fn any_answer() -> impl Strategy<Value = Answer> {
    let small = prop::sample::select(vec![
        "{}",
        "[]",
        "1",
        "NaN",
        "\"a b\"",
        r#"{"a":[0.5,0.5]}"#,
        r#"{"a":{"b":"x y z"}}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"predictions":[1,2]}"#,
        r#"{"predictions":[{"a":1},{"a":2.5}]}"#,
        r#"{"predictions":[[1],[2,3]]}"#,
        r#"{"outputs":{"a":[[0.2,0.8]]}}"#,
        r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1,null]}]}"#,
        r#"{"outputs":[{"name":"y","datatype":"BYTES","shape":[1],"data":["a"]}]}"#,
        r#"{"outputs":[]}"#,
        r#"{"choices":[{"message":{"content":"a b c"}}]}"#,
        "{",
        "",
        r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}}]}"#,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        "data: {\"error\":\"x\"}\n\n",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let body = prop_oneof![4 => small, 1 => prop::collection::vec(any::<u8>(), 0..60)];
    let path = prop::sample::select(vec![INFER, PREDICT, CHAT, OTHER]);
    let kind = prop::sample::select(vec!["application/json", "text/event-stream", "text/plain", "a/b"]);
    let status = prop::sample::select(vec![200, 200, 200, 404, 500]);
    (body, path, kind, status)
        .prop_map(|(body, path, kind, status)| Answer { status, ..of_type(path, kind, &body) })
}

proptest! {
    #[test]
    fn an_answer_agrees_with_itself(answer in any_answer(), values in prop::collection::vec(number(), 3..12)) {
        let values = floats(&values[..values.len() / 3 * 3]);
        for spec in specs() {
            prop_assert!(!compare(&spec, &values, &values).unwrap().diverged, "{spec:?}");
            match compare(&spec, &answer, &answer) {
                Ok(found) => prop_assert!(!found.diverged && found.reason.is_none(), "{spec:?} {found:?}"),
                Err(why) => prop_assert_eq!(why, NotComparable::BothFailed),
            }
        }
    }

    #[test]
    fn it_does_not_matter_which_answer_is_whose(
        pairs in prop::collection::vec((number(), number()), 3..12), a in any_answer(), b in any_answer(),
    ) {
        let pairs = &pairs[..pairs.len() / 3 * 3];
        let of_a = floats(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let of_b = floats(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
        for spec in specs() {
            let (one, other) = (compare(&spec, &of_a, &of_b).unwrap(), compare(&spec, &of_b, &of_a).unwrap());
            prop_assert_eq!(one.reason, other.reason, "{:?}", &spec);
            prop_assert_eq!(one.severity().to_bits(), other.severity().to_bits());
            if let (Ok(one), Ok(other)) = (compare(&spec, &a, &b), compare(&spec, &b, &a)) {
                prop_assert_eq!(one.diverged, other.diverged, "{:?}", &spec);
            }
        }
    }

    #[test]
    fn a_wider_tolerance_never_finds_more(
        pairs in prop::collection::vec((number(), number()), 3..12), narrow in 0.0..1.0_f64, more in 0.0..1.0_f64,
    ) {
        let pairs = &pairs[..pairs.len() / 3 * 3];
        let of_a = floats(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let of_b = floats(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
        let within = |absolute| {
            let spec = CompareSpec {
                default: Comparator::Numeric(Tolerance { absolute, relative: 0.0 }), ..CompareSpec::default()
            };
            compare(&spec, &of_a, &of_b).unwrap().comparators[0].measures.different
        };
        prop_assert!(within(narrow + more) <= within(narrow));
    }

    #[test]
    fn whatever_is_compared_and_kept_nothing_breaks(
        a in any_answer(), b in any_answer(), body in prop::collection::vec(any::<u8>(), 0..60),
        redact in prop::collection::vec("(/[a*~0-9]{0,2}){0,3}", 0..3), max in 0..100_usize,
    ) {
        for spec in specs() {
            let Ok(comparison) = compare(&spec, &a, &b) else { continue };
            prop_assert_eq!(comparison.diverged, comparison.reason.is_some());
            prop_assert_eq!(comparison.diverged, comparison.comparators.iter().any(|scores| scores.diverged));
            prop_assert!((0.0..6.0).contains(&comparison.severity()));
            let kept = PairSpec { redact: redact.clone(), max_body_bytes: max, max_bytes: 9000, ..PairSpec::default() };
            let mut book = PairBook::new(kept);
            let content = Content::Bytes(body.clone());
            book.offer(&Seen {
                at: 0, model: "m", primary_version: "a", shadow_version: "b", control: true,
                request: Body { bytes: &body, content: &content },
                primary: Body { bytes: &body, content: &a.content },
                shadow: Body { bytes: &body, content: &b.content },
                comparison: &comparison,
            });
            prop_assert!(book.bytes() <= 9000);
            for pair in book.latest() {
                prop_assert!(pair.shadow.text.as_ref().is_none_or(|text| text.len() <= max));
                prop_assert!(serde_json::to_string(&**pair).is_ok());
            }
        }
    }

    #[test]
    fn distances_are_shares_and_symmetric(a in "[ab ]{0,12}", b in "[ab ]{0,12}", c in "[ab ]{0,12}") {
        let distance = edit_distance(&a, &b);
        prop_assert!((0.0..=1.0).contains(&distance));
        prop_assert_eq!(distance.to_bits(), edit_distance(&b, &a).to_bits());
        prop_assert_eq!(distance == 0.0, a == b);
        prop_assert_eq!(token_overlap(&a, &b).to_bits(), token_overlap(&b, &a).to_bits());
        // The triangle, in edits.
        let edits = |a: &str, b: &str| {
            let longer = a.chars().count().max(b.chars().count());
            edit_distance(a, b) * f64::from(u32::try_from(longer).unwrap())
        };
        prop_assert!(edits(&a, &c) <= edits(&a, &b) + edits(&b, &c) + 1e-9);
    }
}
