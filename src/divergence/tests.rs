//! What diverges and what does not, by kind of answer and by rule; what is kept; properties.

mod auto;
mod kept;
mod measures;
mod properties;
mod readings;
mod rules;

use super::*;
use crate::inference::answer::{Answer, Limits, RawAnswer, read};
use crate::inference::path;

const INFER: &str = "/v2/models/m/infer";
const PREDICT: &str = "/v1/models/m:predict";
const CHAT: &str = "/v1/chat/completions";
const OTHER: &str = "/score";

/// A successful JSON answer to a request of `path`.
fn answer(path: &str, body: &str) -> Answer {
    of_type(path, "application/json", body.as_bytes())
}

fn of_type(path: &str, content_type: &str, body: &[u8]) -> Answer {
    let raw = RawAnswer {
        api: path::parse(path),
        status: 200,
        grpc: None,
        content_type: Some(content_type),
        content_encoding: None,
        inference_header_length: None,
        body,
        chunk_times: &[],
    };
    read(&raw, &Limits::default())
}

/// One output `y`.
fn tensor(dtype: &str, shape: &str, data: &str) -> Answer {
    let body =
        format!(r#"{{"outputs":[{{"name":"y","datatype":"{dtype}","shape":{shape},"data":{data}}}]}}"#);
    answer(INFER, &body)
}

/// What a model said.
fn said(text: &str) -> Answer {
    let text = serde_json::to_string(text).unwrap();
    answer(CHAT, &format!(r#"{{"choices":[{{"message":{{"content":{text}}},"finish_reason":"stop"}}]}}"#))
}

fn auto(a: &Answer, b: &Answer) -> Comparison {
    compare(&CompareSpec::default(), a, b).unwrap()
}

/// The spec that is written so.
fn spec(json: &str) -> CompareSpec {
    serde_json::from_str(json).unwrap()
}

fn kinds(comparison: &Comparison) -> Vec<ComparatorKind> {
    comparison.comparators.iter().map(|scores| scores.comparator).collect()
}
