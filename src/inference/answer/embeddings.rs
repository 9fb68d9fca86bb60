//! OpenAI embeddings as a tensor: one row for each input, from numbers or from base64 of
//! little-endian singles, which the API's own client asks for.

use super::elements::numbers;
use super::json::Json;
use super::types::Output;
use crate::inference::tensor::{Tensor, TensorData};

/// Name of the tensor.
const NAME: &str = "embedding";

/// The embeddings in an answer; none when it holds anything else, or rows of different lengths.
pub(super) fn read(object: &Json) -> Option<Vec<Output>> {
    let items = object.get("data")?.as_array()?;
    let mut rows = items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let index = match item.get("index") {
                Some(Json::Integer(index)) => *index,
                _ => i128::try_from(at).ok()?,
            };
            Some((index, row(item.get("embedding")?)?))
        })
        .collect::<Option<Vec<_>>>()?;
    rows.sort_by_key(|(index, _)| *index);
    let width = rows.first().map_or(0, |(_, row)| row.len());
    if rows.iter().any(|(_, row)| row.len() != width) {
        return None;
    }
    let shape = vec![i64::try_from(rows.len()).ok()?, i64::try_from(width).ok()?];
    let values = rows.into_iter().flat_map(|(_, row)| row).collect();
    let tensor = Tensor::new(NAME, shape, TensorData::Fp32(values)).ok()?;
    Some(vec![Output { message: 0, tensor }])
}

fn row(embedding: &Json) -> Option<Vec<f32>> {
    if let Some(text) = embedding.as_str() {
        let bytes = base64(text)?;
        let (singles, rest) = bytes.as_chunks::<4>();
        return rest.is_empty().then(|| singles.iter().map(|single| f32::from_le_bytes(*single)).collect());
    }
    let (shape, values) = numbers(embedding)?;
    #[expect(clippy::cast_possible_truncation, reason = "embeddings are singles")]
    (shape.len() == 1).then(|| values.into_iter().map(|value| value as f32).collect())
}

/// The bytes of base64 (RFC 4648 section 4), with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | sextet(*byte)?;
        }
        bits <<= 6 * (4 - group.len());
        let whole = match group.len() {
            1 => return None,
            length => length - 1,
        };
        out.extend(bits.to_be_bytes().iter().skip(1).take(whole));
    }
    Some(out)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
