//! A model's metadata over gRPC, for servers that speak nothing else (`grpc_predict_v2.proto`).

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::inference::protobuf::put_field;
use crate::inference::tensor::Dtype;
use crate::load::inputs::InputMeta;
use crate::load::spec::RequestSpec;

/// The call that asks for the metadata of a kind's model: its body and its path.
pub fn metadata_request(spec: &RequestSpec) -> (Bytes, String) {
    let mut message = BytesMut::new();
    put_field(&mut message, 1, spec.model.as_deref().unwrap_or_default().as_bytes());
    if let Some(version) = &spec.version {
        put_field(&mut message, 2, version.as_bytes());
    }
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(0));
    body.put_slice(&message);
    (body.freeze(), "/inference.GRPCInferenceService/ModelMetadata".to_owned())
}

/// The inputs that a `ModelMetadataResponse` in its frame names.
///
/// # Errors
/// One line: what is wrong with it.
pub fn metadata_answer(body: &[u8]) -> Result<Vec<InputMeta>, String> {
    let garbled = || "the metadata is no ModelMetadataResponse".to_owned();
    let (frame, message) = body.split_first_chunk::<5>().ok_or_else(garbled)?;
    if frame.first() != Some(&0) {
        return Err("the metadata is compressed, which was not asked for".to_owned());
    }
    let mut inputs = Vec::new();
    for (number, value) in fields(message).ok_or_else(garbled)? {
        let (4, Value::Bytes(input)) = (number, value) else { continue };
        let (mut name, mut datatype, mut shape) = (String::new(), String::new(), Vec::new());
        for (number, value) in fields(input).ok_or_else(garbled)? {
            match (number, value) {
                (1, Value::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
                (2, Value::Bytes(text)) => datatype = String::from_utf8_lossy(text).into_owned(),
                (3, Value::Number(dim)) => shape.push(dim.cast_signed()),
                (3, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        shape.push(varint(&mut packed).ok_or_else(garbled)?.cast_signed());
                    }
                }
                _ => {}
            }
        }
        let dtype = Dtype::from_name(&datatype)
            .ok_or_else(|| format!("input {name:?} has the unknown type {datatype:?}"))?;
        inputs.push(InputMeta { name, dtype, shape });
    }
    match inputs.is_empty() {
        true => Err("the metadata names no inputs: give a file of inputs".to_owned()),
        false => Ok(inputs),
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Value::Bytes(bytes)
            }
            1 => skipped(&mut message, 8)?,
            5 => skipped(&mut message, 4)?,
            _ => return None,
        };
        found.push((tag >> 3, value));
    }
    Some(found)
}

fn skipped<'a>(message: &mut &'a [u8], width: usize) -> Option<Value<'a>> {
    let (bytes, rest) = message.split_at_checked(width)?;
    *message = rest;
    Some(Value::Bytes(bytes))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_packed_or_not_with_open_dimensions() {
        let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let mut packed = BytesMut::new();
        put_field(&mut packed, 1, b"x");
        put_field(&mut packed, 2, b"FP32");
        put_field(&mut packed, 3, &[&minus_one[..], &[4]].concat());
        let mut loose = BytesMut::new();
        put_field(&mut loose, 1, b"k");
        put_field(&mut loose, 2, b"INT64");
        loose.put_slice(&[0x18, 7]);
        let mut message = BytesMut::new();
        put_field(&mut message, 1, b"model");
        put_field(&mut message, 4, &packed);
        put_field(&mut message, 4, &loose);
        let body = [&[0, 0, 0, 0, message.len() as u8], &message[..]].concat();
        let inputs = metadata_answer(&body).unwrap();
        assert_eq!((inputs[0].name.as_str(), inputs[0].shape.as_slice()), ("x", &[-1, 4][..]));
        assert_eq!((inputs[1].dtype, inputs[1].shape.as_slice()), (Dtype::Int64, &[7][..]));
        for cut in 0..body.len() {
            let _ = metadata_answer(&body[..cut]);
        }
    }
}
