//! Values of tensors, from JSON and from raw bytes.
//!
//! JSON is read more leniently than in a request that is served here: flat or nested in any way,
//! `null` for NaN (as serializers without a NaN write it), `1.0` for an integer, 0 and 1 for truth
//! values. Raw bytes are those of the Open Inference Protocol's binary extension and of gRPC's
//! `raw_*_contents`: little-endian, row-major, BYTES as a four-byte length before each string.

use half::{bf16, f16};

use super::json::Json;
use super::reader::{Reader, float, integer};
use super::types::Undecodable;
use crate::inference::raw;
use crate::inference::tensor::{Dtype, TensorData};

type Result<T> = std::result::Result<T, Undecodable>;

/// Appends the JSON values that come to `data`, arrays of any depth flattened.
pub(super) fn from_json(reader: &mut Reader<'_>, data: &mut TensorData) -> Result<()> {
    if reader.peek() == Some(b'[') {
        return reader.array(|reader| from_json(reader, data));
    }
    reader.count()?;
    if let TensorData::Bytes(texts) = data {
        texts.push(text(reader)?);
        return Ok(());
    }
    let dtype = data.dtype();
    let token = reader.token();
    push(data, token).ok_or_else(|| {
        let found: String = token.chars().take(24).collect();
        Undecodable::malformed(format!("value {found:?} is no {dtype}"))
    })
}

/// An element of a BYTES tensor: a string, or whatever else stands there as its JSON text.
fn text(reader: &mut Reader<'_>) -> Result<String> {
    match reader.peek() {
        Some(b'"') => Ok(reader.string()?.into_owned()),
        _ => Ok(reader.value()?.to_string()),
    }
}

fn push(data: &mut TensorData, token: &str) -> Option<()> {
    match data {
        TensorData::Bool(values) => values.push(match token {
            "true" | "1" | "1.0" => true,
            "false" | "0" | "0.0" => false,
            _ => return None,
        }),
        TensorData::Uint8(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Uint16(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Uint32(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Uint64(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Int8(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Int16(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Int32(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Int64(values) => values.push(whole(token)?.try_into().ok()?),
        TensorData::Fp16(values) => values.push(f16::from_f64(number(token)?)),
        TensorData::Bf16(values) => values.push(bf16::from_f64(number(token)?)),
        TensorData::Fp64(values) => values.push(number(token)?),
        // Parsed as a single at once: by way of a double it could be rounded twice.
        TensorData::Fp32(values) => values.push(match token.parse::<f32>() {
            Ok(single) if single.is_finite() => single,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "NaN and infinities, or too large for a single"
            )]
            _ => number(token)? as f32,
        }),
        TensorData::Bytes(_) => return None,
    }
    Some(())
}

fn whole(token: &str) -> Option<i128> {
    integer(token).or_else(|| integer(token.strip_suffix(".0")?))
}

fn number(token: &str) -> Option<f64> {
    if token == "null" { Some(f64::NAN) } else { float(token) }
}

/// The values of `raw`. More is let through than in a request that is served here: any byte for a
/// truth value, and strings that are not UTF-8.
pub(super) fn from_raw(dtype: Dtype, raw: &[u8]) -> Result<TensorData> {
    match dtype {
        Dtype::Bool => Ok(TensorData::Bool(raw.iter().map(|byte| *byte != 0).collect())),
        Dtype::Bytes => Ok(TensorData::Bytes(strings(raw)?)),
        other => raw::decode(other, raw).map_err(Undecodable::malformed),
    }
}

fn strings(mut raw: &[u8]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let element = raw.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        let (text, rest) = element.ok_or_else(|| Undecodable::malformed("a BYTES element is cut off"))?;
        texts.push(bytes_as_text(text));
        raw = rest;
    }
    Ok(texts)
}

/// An element of a BYTES tensor as text. What is not UTF-8 is escaped behind a replacement
/// character, so that different bytes stay different.
pub(super) fn bytes_as_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("\u{fffd}{}", bytes.escape_ascii()),
    }
}

/// A tree of JSON as one list of numbers with a shape; none when it is ragged, or holds anything
/// but numbers and `null`s (which are NaN). A bare number has shape `[]`.
pub fn numbers(json: &Json) -> Option<(Vec<i64>, Vec<f64>)> {
    let mut shape = Vec::new();
    let mut values = Vec::new();
    gather(json, 0, &mut shape, &mut values).then_some((shape, values))
}

fn gather(json: &Json, depth: usize, shape: &mut Vec<i64>, values: &mut Vec<f64>) -> bool {
    match json {
        Json::Array(items) => {
            let Ok(length) = i64::try_from(items.len()) else { return false };
            match shape.get(depth) {
                Some(known) if *known != length => return false,
                Some(_) => {}
                // A deeper array after a number is ragged.
                None if !values.is_empty() => return false,
                None => shape.push(length),
            }
            items.iter().all(|item| gather(item, depth + 1, shape, values))
        }
        Json::Integer(_) | Json::Float(_) if depth == shape.len() => {
            values.extend(json.as_f64());
            true
        }
        Json::Null if depth == shape.len() && depth > 0 => {
            values.push(f64::NAN);
            true
        }
        _ => false,
    }
}
