//! Chat completions: a few prompts for when there are none, and bodies around prompts.

use serde_json::{Map, Value, json};

use super::Sample;
use crate::load::spec::{Format, RequestSpec};

/// Prompts of different lengths, for when nobody brought any.
pub fn prompts() -> [&'static str; 4] {
    [
        "Say hello.",
        "Explain in two sentences what a load balancer does.",
        "List five questions that an engineer should ask before a new model version gets traffic.",
        "A service answers 400 requests a second with a 99th percentile of 80 milliseconds. Describe, step by \
         step, how you would find out what limits it.",
    ]
}

/// A body for `input`: a prompt, or a whole body to which is added what it lacks.
///
/// # Errors
/// One line that says what it should be.
pub fn with_prompt(spec: &RequestSpec, input: Value) -> Result<Sample, String> {
    let mut body = match input {
        Value::String(prompt) => ask(&prompt),
        Value::Object(mut fields) => match (fields.contains_key("messages"), fields.remove("prompt")) {
            (true, None) => fields,
            (false, Some(Value::String(prompt))) => ask(&prompt),
            _ => return Err("a row needs \"messages\", or a text under \"prompt\"".to_owned()),
        },
        _ => return Err("a row is a text, or an object with \"messages\" or \"prompt\"".to_owned()),
    };
    let mut default = |key: &str, value: Value| {
        body.entry(key).or_insert(value);
    };
    default("model", json!(spec.model.as_deref().unwrap_or_default()));
    default("max_tokens", json!(spec.max_tokens));
    if spec.format == Format::ChatStream {
        default("stream_options", json!({ "include_usage": true }));
        body.insert("stream".to_owned(), json!(true));
    } else {
        body.insert("stream".to_owned(), json!(false));
    }
    Ok(Sample::new(Value::Object(body).to_string()))
}

fn ask(prompt: &str) -> Map<String, Value> {
    Map::from_iter([("messages".to_owned(), json!([{ "role": "user", "content": prompt }]))])
}
