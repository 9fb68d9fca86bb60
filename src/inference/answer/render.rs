//! What was understood as JSON again, in the form of the API it belongs to, for people to read and
//! for JSON pointers to point into.

use super::json::Json;
use super::types::{Chat, Content, Output};
use crate::inference::tensor::{TensorData, with_values};

/// `content` as JSON; none for text, bytes and nothing. Tensors stand under `list` (`outputs` or
/// `inputs`) and show their first `most` values.
pub fn to_json(content: &Content, list: &str, most: usize) -> Option<Json> {
    match content {
        Content::Tensors(outputs) => {
            let tensors = outputs.iter().map(|output| tensor(output, most)).collect();
            Some(Json::object(vec![(list.into(), Json::Array(tensors))]))
        }
        Content::Predictions(json) | Content::Json(json) => Some(json.clone()),
        Content::Chat(answer) => Some(chat(answer)),
        Content::Error(why) => Some(Json::object(vec![("error".into(), Json::string(why.as_str()))])),
        Content::Empty | Content::Text(_) | Content::Bytes(_) | Content::Undecodable { .. } => None,
    }
}

fn tensor(output: &Output, most: usize) -> Json {
    let tensor = &output.tensor;
    let mut members = vec![
        ("name".into(), Json::string(tensor.name())),
        ("datatype".into(), Json::string(tensor.dtype().name())),
        (
            "shape".into(),
            Json::Array(tensor.shape().iter().map(|dim| Json::Integer(i128::from(*dim))).collect()),
        ),
        ("data".into(), Json::Array(values(tensor.data(), most))),
    ];
    if output.message > 0 {
        members.push(("message".into(), Json::Integer(i128::try_from(output.message).unwrap_or(i128::MAX))));
    }
    Json::object(members)
}

fn values(data: &TensorData, most: usize) -> Vec<Json> {
    with_values!(data, values => values.iter().take(most).map(Element::json).collect())
}

/// The value at a position in row-major order.
pub fn element(data: &TensorData, index: usize) -> Option<Json> {
    with_values!(data, values => values.get(index).map(Element::json))
}

/// A tensor's value as JSON.
trait Element {
    fn json(&self) -> Json;
}

macro_rules! elements {
    ($($type:ty => |$value:ident| $json:expr),+ $(,)?) => {$(
        impl Element for $type {
            fn json(&self) -> Json {
                let $value = self;
                $json
            }
        }
    )+};
}

elements! {
    bool => |value| Json::Bool(*value),
    u8 => |value| Json::Integer(i128::from(*value)),
    u16 => |value| Json::Integer(i128::from(*value)),
    u32 => |value| Json::Integer(i128::from(*value)),
    u64 => |value| Json::Integer(i128::from(*value)),
    i8 => |value| Json::Integer(i128::from(*value)),
    i16 => |value| Json::Integer(i128::from(*value)),
    i32 => |value| Json::Integer(i128::from(*value)),
    i64 => |value| Json::Integer(i128::from(*value)),
    half::f16 => |value| Json::Float(value.to_f64()),
    half::bf16 => |value| Json::Float(value.to_f64()),
    // By way of its shortest text, so that 0.1 stays 0.1.
    f32 => |value| Json::Float(value.to_string().parse().unwrap_or_else(|_| f64::from(*value))),
    f64 => |value| Json::Float(*value),
    String => |value| Json::string(value.as_str()),
}

/// In the form of a chat completion.
fn chat(chat: &Chat) -> Json {
    let choices = chat.choices.iter().map(|choice| {
        let mut message = vec![("content".into(), Json::string(choice.text.as_str()))];
        if !choice.tool_calls.is_empty() {
            let calls = choice.tool_calls.iter().map(|call| {
                let function = Json::object(vec![
                    ("name".into(), Json::string(call.name.as_str())),
                    ("arguments".into(), Json::string(call.arguments.as_str())),
                ]);
                Json::object(vec![("function".into(), function)])
            });
            message.push(("tool_calls".into(), Json::Array(calls.collect())));
        }
        let reason = choice.finish_reason.as_deref().map_or(Json::Null, Json::string);
        Json::object(vec![
            ("index".into(), Json::Integer(i128::from(choice.index))),
            ("message".into(), Json::object(message)),
            ("finish_reason".into(), reason),
        ])
    });
    Json::object(vec![("choices".into(), Json::Array(choices.collect()))])
}
