//! Values of tensors as raw bytes: the binary tensor extension of the Open Inference Protocol's REST
//! form and gRPC's `raw_*_contents`.
//!
//! Numbers are little-endian and row-major without padding, truth values are one byte, and each
//! element of a BYTES tensor has its length in four bytes before it. Every bit passes as it is, NaN
//! and infinities included. One copy is made in either direction: from the body that came into the
//! typed vector that a model takes, and from the model's answer into the body that leaves.

use half::{bf16, f16};

use super::tensor::{Dtype, TensorData, with_values};

/// Bytes before each element of a BYTES tensor.
const LENGTH: usize = 4;

/// The values in `raw`.
///
/// # Errors
/// What was found and what was expected, in one line.
pub fn decode(dtype: Dtype, raw: &[u8]) -> Result<TensorData, String> {
    Ok(match dtype {
        Dtype::Bool => TensorData::Bool(truths(raw)?),
        Dtype::Uint8 => TensorData::Uint8(raw.to_vec()),
        Dtype::Int8 => TensorData::Int8(raw.iter().map(|byte| byte.cast_signed()).collect()),
        Dtype::Uint16 => TensorData::Uint16(numbers(dtype, raw, u16::from_le_bytes)?),
        Dtype::Uint32 => TensorData::Uint32(numbers(dtype, raw, u32::from_le_bytes)?),
        Dtype::Uint64 => TensorData::Uint64(numbers(dtype, raw, u64::from_le_bytes)?),
        Dtype::Int16 => TensorData::Int16(numbers(dtype, raw, i16::from_le_bytes)?),
        Dtype::Int32 => TensorData::Int32(numbers(dtype, raw, i32::from_le_bytes)?),
        Dtype::Int64 => TensorData::Int64(numbers(dtype, raw, i64::from_le_bytes)?),
        Dtype::Fp16 => TensorData::Fp16(numbers(dtype, raw, f16::from_le_bytes)?),
        Dtype::Bf16 => TensorData::Bf16(numbers(dtype, raw, bf16::from_le_bytes)?),
        Dtype::Fp32 => TensorData::Fp32(numbers(dtype, raw, f32::from_le_bytes)?),
        Dtype::Fp64 => TensorData::Fp64(numbers(dtype, raw, f64::from_le_bytes)?),
        Dtype::Bytes => TensorData::Bytes(texts(raw)?),
    })
}

fn numbers<T, const N: usize>(
    dtype: Dtype,
    raw: &[u8],
    from: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    match raw.as_chunks::<N>() {
        (chunks, []) => Ok(chunks.iter().map(|chunk| from(*chunk)).collect()),
        _ => Err(format!("{} bytes are no whole number of {N}-byte {dtype} values", raw.len())),
    }
}

fn truths(raw: &[u8]) -> Result<Vec<bool>, String> {
    let truth = |(index, byte): (usize, &u8)| match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("value {index} is the byte {other}, expected BOOL: 0 or 1")),
    };
    raw.iter().enumerate().map(truth).collect()
}

fn texts(mut raw: &[u8]) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let index = texts.len();
        let element = raw.split_first_chunk::<LENGTH>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        let (bytes, rest) = element.ok_or_else(|| {
            format!(
                "value {index} is cut off, expected BYTES: four bytes of length (little-endian) before each value"
            )
        })?;
        texts.push(text(index, bytes)?);
        raw = rest;
    }
    Ok(texts)
}

/// Element `index` of a BYTES tensor.
pub(super) fn text(index: usize, bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|error| {
        format!(
            "value {index} is not UTF-8 from its byte {}: the strings of ONNX are text",
            error.valid_up_to()
        )
    })
}

/// How many bytes [`encode`] writes for `data`.
pub fn size(data: &TensorData) -> usize {
    match data {
        TensorData::Bytes(texts) => texts.iter().map(|text| LENGTH + text.len()).sum(),
        other => with_values!(other, values => size_of_val(values.as_slice())),
    }
}

/// Appends the values of `data` to `out`.
///
/// An element of a BYTES tensor longer than 4 GiB, which no message could hold, is cut at its end.
pub fn encode(data: &TensorData, out: &mut Vec<u8>) {
    out.reserve(size(data));
    match data {
        TensorData::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
        TensorData::Uint8(values) => out.extend_from_slice(values),
        TensorData::Int8(values) => out.extend(values.iter().map(|value| value.cast_unsigned())),
        TensorData::Uint16(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Uint32(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Uint64(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Int16(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Int32(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Int64(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Fp16(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Bf16(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Fp32(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Fp64(values) => put(out, values, |value| value.to_le_bytes()),
        TensorData::Bytes(texts) => {
            for text in texts {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                let end = usize::try_from(length).unwrap_or(usize::MAX);
                out.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
            }
        }
    }
}

/// Appends fixed-size values. Places are made first and filled in one loop without branches, which
/// the compiler turns into a copy.
fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    let places = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<N>().0;
    for (place, value) in places.iter_mut().zip(values) {
        *place = bytes(*value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(data: &TensorData) -> Vec<u8> {
        let mut out = Vec::new();
        encode(data, &mut out);
        assert_eq!(out.len(), size(data));
        out
    }

    #[test]
    fn values_are_little_endian_and_texts_have_their_length_before_them() {
        assert_eq!(bytes(&TensorData::Int16(vec![1, -2])), [1, 0, 0xfe, 0xff]);
        assert_eq!(bytes(&TensorData::Bool(vec![true, false])), [1, 0]);
        assert_eq!(bytes(&TensorData::Fp32(vec![1.0])), [0, 0, 0x80, 0x3f]);
        assert_eq!(
            bytes(&TensorData::Bytes(vec!["ä".into(), String::new()])),
            [2, 0, 0, 0, 0xc3, 0xa4, 0, 0, 0, 0]
        );
    }

    #[test]
    fn what_does_not_fit_the_type_is_named() {
        let message = |dtype, raw: &[u8]| decode(dtype, raw).unwrap_err();
        assert_eq!(message(Dtype::Fp32, &[0; 6]), "6 bytes are no whole number of 4-byte FP32 values");
        assert_eq!(message(Dtype::Bool, &[1, 2]), "value 1 is the byte 2, expected BOOL: 0 or 1");
        assert!(message(Dtype::Bytes, &[1, 0, 0, 0, b'a', 9, 0]).starts_with("value 1 is cut off"));
        assert!(message(Dtype::Bytes, &[255, 255, 255, 255, b'a']).starts_with("value 0 is cut off"));
        assert!(
            message(Dtype::Bytes, &[2, 0, 0, 0, b'a', 0xff])
                .starts_with("value 0 is not UTF-8 from its byte 1")
        );
    }

    #[test]
    fn every_bit_of_a_float_passes() {
        let odd =
            [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::from_bits(0x7f80_0001), 1e-45];
        let raw: Vec<u8> = odd.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(bytes(&decode(Dtype::Fp32, &raw).unwrap()), raw);
    }

    proptest! {
        /// Whatever can be read is written the same.
        #[test]
        fn any_bytes_are_refused_or_come_back(raw in prop::collection::vec(any::<u8>(), 0..64), at in 0..Dtype::ALL.len()) {
            if let Ok(data) = decode(Dtype::ALL[at], &raw) {
                prop_assert_eq!(bytes(&data), raw);
            }
        }

        #[test]
        fn texts_survive(texts in prop::collection::vec(any::<String>(), 0..8)) {
            let data = TensorData::Bytes(texts);
            prop_assert_eq!(decode(Dtype::Bytes, &bytes(&data)), Ok(data));
        }
    }
}
