//! The outputs of an answer under their names, as values that comparators take.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::pattern::escaped;
use crate::inference::answer::{Json, Output, numbers};
use crate::inference::tensor::{Tensor, TensorData};

/// An output.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    /// Name that rules use.
    pub(super) name: Cow<'a, str>,
    /// JSON pointer with wildcards that rules may use as well.
    pub(super) pointer: Option<String>,
    /// Name in reports.
    pub(super) label: Cow<'a, str>,
    /// What it holds.
    pub(super) value: Value<'a>,
}

/// What an output holds.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// A tensor, with its type.
    Tensor(&'a Tensor),
    /// Numbers that JSON gave no type.
    Numbers(Numbers),
    /// Anything else of JSON.
    Json(Cow<'a, Json>),
    /// What a language model said.
    Said(Cow<'a, str>),
}

/// Numbers with a shape.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    /// Dimensions.
    pub(super) shape: Vec<i64>,
    /// Values in row-major order.
    pub(super) values: Vec<f64>,
    /// The same without rounding, where all of them are written as integers.
    pub(super) integers: Option<Vec<i128>>,
}

/// The last dimension of a shape, 1 for a scalar's.
pub(super) fn width(shape: &[i64]) -> usize {
    shape.last().map_or(1, |width| usize::try_from(*width).unwrap_or(0))
}

/// The numbers of a JSON value, if it is made of numbers alone and not ragged.
pub(super) fn json_numbers(json: &Json) -> Option<Numbers> {
    let (shape, values) = numbers(json)?;
    Some(Numbers { shape, values, integers: integers(json) })
}

/// The integers of a JSON value in row-major order, if there is nothing else in it.
fn integers(json: &Json) -> Option<Vec<i128>> {
    fn gather(json: &Json, found: &mut Vec<i128>) -> bool {
        match json {
            Json::Integer(number) => {
                found.push(*number);
                true
            }
            Json::Array(items) => items.iter().all(|item| gather(item, found)),
            _ => false,
        }
    }
    let mut found = Vec::new();
    gather(json, &mut found).then_some(found)
}

/// The values of a tensor as doubles; none for strings.
pub(super) fn tensor_numbers(data: &TensorData) -> Option<Cow<'_, [f64]>> {
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is wanted")]
    let values = match data {
        TensorData::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        TensorData::Uint8(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Uint16(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Uint32(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Uint64(values) => values.iter().map(|value| *value as f64).collect(),
        TensorData::Int8(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Int16(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Int32(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Int64(values) => values.iter().map(|value| *value as f64).collect(),
        TensorData::Fp16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::Fp32(values) => values.iter().copied().map(f64::from).collect(),
        TensorData::Fp64(values) => return Some(Cow::Borrowed(values)),
        TensorData::Bytes(_) => return None,
    };
    Some(Cow::Owned(values))
}

/// The tensors of an answer. Strings that several messages of a stream send under one name are
/// joined: a model's text comes in pieces, and where they are cut means nothing. Other tensors of a
/// stream keep the number of their message. Further tensors of one name keep a number, too.
pub(super) fn tensors(outputs: &[Output]) -> Vec<Named<'_>> {
    let stream = outputs.iter().any(|output| output.message > 0);
    let mut seen: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut named = Vec::with_capacity(outputs.len());
    for Output { message, tensor } in outputs {
        let name = tensor.name();
        if let (true, TensorData::Bytes(pieces)) = (stream, tensor.data()) {
            texts.entry(name).or_default().extend(pieces.iter().map(String::as_str));
            continue;
        }
        let times = seen.entry((*message, name)).or_default();
        let label = match (stream, *times) {
            (false, 0) => Cow::Borrowed(name),
            (false, again) => Cow::Owned(format!("{name}#{again}")),
            (true, 0) => Cow::Owned(format!("{name}[{message}]")),
            (true, again) => Cow::Owned(format!("{name}[{message}]#{again}")),
        };
        *times += 1;
        named.push(Named { name: Cow::Borrowed(name), pointer: None, label, value: Value::Tensor(tensor) });
    }
    named.extend(texts.into_iter().map(|(name, text)| Named {
        name: Cow::Borrowed(name),
        pointer: None,
        label: Cow::Borrowed(name),
        value: Value::Said(Cow::Owned(text)),
    }));
    named
}

/// The outputs of V1 predictions: one for each key where rows or columns have keys, else one.
pub(super) fn predictions(json: &Json) -> Vec<Named<'_>> {
    if let Some(rows) = json.get("predictions") {
        return match rows.as_array().and_then(columns) {
            Some(columns) => columns
                .into_iter()
                .map(|(key, column)| {
                    output(key, format!("/predictions/*/{}", escaped(key)), Cow::Owned(column))
                })
                .collect(),
            None => vec![output("predictions", "/predictions".to_owned(), Cow::Borrowed(rows))],
        };
    }
    match json.get("outputs") {
        Some(Json::Object(members)) => members
            .iter()
            .map(|(key, value)| output(key, format!("/outputs/{}", escaped(key)), Cow::Borrowed(value)))
            .collect(),
        Some(whole) => vec![output("outputs", "/outputs".to_owned(), Cow::Borrowed(whole))],
        None => Vec::new(),
    }
}

fn output<'a>(name: &'a str, pointer: String, json: Cow<'a, Json>) -> Named<'a> {
    let value = match json_numbers(&json) {
        Some(numbers) => Value::Numbers(numbers),
        None => Value::Json(json),
    };
    Named { name: Cow::Borrowed(name), pointer: Some(pointer), label: Cow::Borrowed(name), value }
}

/// Rows that are objects of the same keys, turned to columns. Without any key there are none: then
/// only the rows themselves tell how many there are.
fn columns(rows: &[Json]) -> Option<Vec<(&str, Json)>> {
    let Some(Json::Object(first)) = rows.first().filter(|row| **row != Json::Object(Vec::new())) else {
        return None;
    };
    let same_keys = |row: &Json| match row {
        Json::Object(members) => {
            members.len() == first.len() && members.iter().zip(first).all(|((a, _), (b, _))| a == b)
        }
        _ => false,
    };
    if !rows.iter().all(same_keys) {
        return None;
    }
    let column = |at: usize| {
        let values = rows.iter().filter_map(|row| match row {
            Json::Object(members) => members.get(at).map(|(_, value)| value.clone()),
            _ => None,
        });
        Json::Array(values.collect())
    };
    Some(first.iter().enumerate().map(|(at, (key, _))| (key.as_ref(), column(at))).collect())
}
