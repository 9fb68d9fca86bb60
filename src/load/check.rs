//! Whether an answer is a good one: fast nonsense is not a pass.
//!
//! Statuses are looked at in any case. Values and classes are read from the body, which is then
//! kept for that, up to a limit. Binary and gRPC answers are pointed into as the JSON protocol has
//! them, so a check means the same whatever carries the tensors.

use super::series::{CheckKind, Failure};
use super::spec::{CheckSpec, Format, LabelCheck, ValueCheck};
use crate::inference::answer::{Json, Limits, RawAnswer, parse_json, read, to_json};
use crate::inference::path::{self, Api, GrpcMethod};
use crate::inference::pointer;

/// Longest body that is kept for checks, in bytes.
pub const LONGEST: usize = 16 << 20;
/// Values of a tensor that a check can point at.
const MOST_VALUES: usize = 1 << 20;

/// An answer as far as checks look at it.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// HTTP status.
    pub status: u16,
    /// gRPC status, from trailers or head.
    pub grpc: Option<u8>,
    /// `Inference-Header-Content-Length`.
    pub inference_header_length: Option<usize>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The body, if it was kept.
    pub body: &'a [u8],
    /// Whether it was longer than what is kept.
    pub too_long: bool,
}

/// The first thing that is wrong with an answer; `expected` is the label of the row that was sent.
pub fn judge(
    check: &CheckSpec,
    format: Format,
    answer: &Answered<'_>,
    expected: Option<&str>,
) -> Option<Failure> {
    let good = check.status.map_or((200..300).contains(&answer.status), |wanted| answer.status == wanted);
    if !good {
        return Some(Failure::Status(answer.status));
    }
    if format == Format::Grpc {
        match answer.grpc {
            Some(0) => {}
            Some(status) => return Some(Failure::Grpc(status)),
            None => return Some(Failure::Check(CheckKind::NoStatus)),
        }
    }
    if !check.reads_body() {
        return None;
    }
    if answer.too_long {
        return Some(Failure::Check(CheckKind::TooLong));
    }
    let body = Body::of(format, answer);
    if !check.values.iter().all(|value| holds(value, &body)) {
        return Some(Failure::Check(CheckKind::Value));
    }
    match (&check.label, expected) {
        (Some(label), Some(expected)) if class(label, &body).as_deref() != Some(expected) => {
            Some(Failure::Check(CheckKind::Label))
        }
        _ => None,
    }
}

/// What pointers point into.
enum Body<'a> {
    /// JSON as it came.
    Text(&'a [u8]),
    /// Tensors of another form, as JSON.
    Tensors(Option<Json>),
}

impl<'a> Body<'a> {
    fn of(format: Format, answer: &Answered<'a>) -> Self {
        let api = match format {
            Format::Grpc => Api::Grpc(GrpcMethod::ModelInfer),
            Format::V2Binary => path::parse("/v2/models/m/infer"),
            _ => return Self::Text(answer.body),
        };
        let raw = RawAnswer {
            api,
            status: answer.status,
            grpc: answer.grpc,
            content_type: answer.content_type,
            content_encoding: None,
            inference_header_length: answer.inference_header_length,
            body: answer.body,
            chunk_times: &[],
        };
        Self::Tensors(to_json(&read(&raw, &Limits::default()).content, "outputs", MOST_VALUES))
    }

    fn text_at(&self, at: &str) -> Option<String> {
        match self {
            Self::Text(text) => pointer::read(text, at),
            Self::Tensors(json) => scalar(json.as_ref()?.at(at)?),
        }
    }

    fn scores_at(&self, at: &str) -> Option<Vec<f64>> {
        let numbers = |json: &Json| json.as_array()?.iter().map(Json::as_f64).collect::<Option<Vec<f64>>>();
        match self {
            Self::Text(text) => numbers(parse_json(text, &Limits::default()).ok()?.at(at)?),
            Self::Tensors(json) => numbers(json.as_ref()?.at(at)?),
        }
    }

    fn has(&self, at: &str) -> bool {
        match self {
            Self::Text(text) => parse_json(text, &Limits::default()).is_ok_and(|json| json.at(at).is_some()),
            Self::Tensors(json) => json.as_ref().is_some_and(|json| json.at(at).is_some()),
        }
    }
}

fn scalar(json: &Json) -> Option<String> {
    match json.as_str() {
        Some(text) => Some(text.to_owned()),
        None if json.as_array().is_some() => None,
        None => Some(json.to_string()),
    }
}

fn holds(check: &ValueCheck, body: &Body<'_>) -> bool {
    match &check.equals {
        None => body.has(&check.pointer),
        Some(wanted) => body.text_at(&check.pointer).is_some_and(|found| same(&found, wanted)),
    }
}

/// The same text, or the same number written otherwise.
fn same(found: &str, wanted: &str) -> bool {
    found == wanted
        || matches!((found.parse::<f64>(), wanted.parse::<f64>()), (Ok(a), Ok(b)) if a == b && a.is_finite())
}

fn class(check: &LabelCheck, body: &Body<'_>) -> Option<String> {
    if !check.argmax {
        return body.text_at(&check.pointer).map(|text| plain(&text));
    }
    let scores = body.scores_at(&check.pointer)?;
    let largest = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    Some(largest.0.to_string())
}

/// A whole number as it is written without a fraction: a class that is 1.0 is class 1.
fn plain(text: &str) -> String {
    match text.strip_suffix(".0") {
        Some(whole) if whole.bytes().all(|b| b.is_ascii_digit() || b == b'-') => whole.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Answered<'_> {
        Answered {
            status,
            grpc: None,
            inference_header_length: None,
            content_type: Some("application/json"),
            body: body.as_bytes(),
            too_long: false,
        }
    }

    fn value(pointer: &str, equals: Option<&str>) -> CheckSpec {
        let values = vec![ValueCheck { pointer: pointer.into(), equals: equals.map(str::to_owned) }];
        CheckSpec { values, ..CheckSpec::default() }
    }

    #[test]
    fn any_good_status_or_the_one_that_is_wanted() {
        let any = CheckSpec::default();
        assert_eq!(judge(&any, Format::V2, &answered(204, ""), None), None);
        assert_eq!(judge(&any, Format::V2, &answered(503, ""), None), Some(Failure::Status(503)));
        let only = CheckSpec { status: Some(404), ..any };
        assert_eq!(judge(&only, Format::Plain, &answered(404, ""), None), None);
        assert_eq!(judge(&only, Format::Plain, &answered(200, ""), None), Some(Failure::Status(200)));
    }

    #[test]
    fn a_grpc_answer_is_good_by_its_own_status() {
        let check = CheckSpec::default();
        let with = |grpc| Answered { grpc, ..answered(200, "") };
        assert_eq!(judge(&check, Format::Grpc, &with(Some(0)), None), None);
        assert_eq!(judge(&check, Format::Grpc, &with(Some(14)), None), Some(Failure::Grpc(14)));
        let none = Some(Failure::Check(CheckKind::NoStatus));
        assert_eq!(judge(&check, Format::Grpc, &with(None), None), none);
    }

    #[test]
    fn values_are_there_or_are_what_they_should_be() {
        let body = r#"{"outputs":[{"data":[1, "a", [2.50]]}]}"#;
        let wrong = Some(Failure::Check(CheckKind::Value));
        for (pointer, equals, expected) in [
            ("/outputs/0/data/0", Some("1"), None),
            ("/outputs/0/data/0", Some("1.0"), None),
            ("/outputs/0/data/1", Some("a"), None),
            ("/outputs/0/data/2/0", Some("2.5"), None),
            ("/outputs/0/data", None, None),
            ("/outputs/0/data/0", Some("2"), wrong),
            ("/outputs/1", None, wrong),
            ("/outputs/0/data", Some("1"), wrong),
        ] {
            let found = judge(&value(pointer, equals), Format::V2, &answered(200, body), None);
            assert_eq!(found, expected, "{pointer} {equals:?}");
        }
        assert_eq!(judge(&value("/x", None), Format::V2, &answered(200, "no json"), None), wrong);
    }

    #[test]
    fn a_class_is_the_value_or_the_largest_scores_place() {
        let check = |pointer: &str, argmax| CheckSpec {
            label: Some(LabelCheck { pointer: pointer.into(), argmax }),
            ..CheckSpec::default()
        };
        let body = r#"{"predictions":[[0.1,0.7,0.2]],"class":1.0}"#;
        let wrong = Some(Failure::Check(CheckKind::Label));
        let judge = |check: &CheckSpec, expected| judge(check, Format::V1, &answered(200, body), expected);
        assert_eq!(judge(&check("/predictions/0", true), Some("1")), None);
        assert_eq!(judge(&check("/predictions/0", true), Some("2")), wrong);
        assert_eq!(judge(&check("/class", false), Some("1")), None);
        assert_eq!(judge(&check("/class", false), Some("x")), wrong);
        // A row without a label cannot be wrong.
        assert_eq!(judge(&check("/class", false), None), None);
    }

    #[test]
    fn what_was_too_long_to_keep_is_not_called_good() {
        let long = Answered { too_long: true, ..answered(200, "{") };
        let said = judge(&value("/x", None), Format::V2, &long, None);
        assert_eq!(said, Some(Failure::Check(CheckKind::TooLong)));
    }
}
