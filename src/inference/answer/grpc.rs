//! Open Inference Protocol v2 over gRPC: messages in their frames, tensors in their messages.
//!
//! Field numbers are those of the protocol's `grpc_predict_v2.proto`: a tensor has its values in
//! typed `contents`, or all tensors have theirs in `raw_*_contents`, in order. The same reading
//! serves `ModelInferResponse` and `ModelInferRequest`, whose fields differ by one number.

use half::f16;

use super::elements::{bytes_as_text, from_raw};
use super::types::{Content, Limits, Output, Undecodable};
use crate::inference::content;
use crate::inference::protobuf_fields::{Wire, fields, varint};
use crate::inference::tensor::{Dtype, Tensor, TensorData};

type Result<T> = std::result::Result<T, Undecodable>;

/// Field numbers of a message that holds tensors.
#[derive(Debug, Clone, Copy)]
struct TensorFields {
    /// The tensors.
    tensors: u32,
    /// The raw values.
    raw: u32,
}

/// `ModelInferResponse`.
const RESPONSE: TensorFields = TensorFields { tensors: 5, raw: 6 };
/// `ModelInferRequest`.
const REQUEST: TensorFields = TensorFields { tensors: 5, raw: 7 };

/// A message of a gRPC body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// Its bytes, decompressed.
    pub(super) bytes: Vec<u8>,
    /// Where it ends in the body.
    pub(super) end: usize,
}

/// The messages of `body`, decompressed by `encoding` (gzip, where none is named) if they say so.
pub(super) fn messages(body: &[u8], encoding: Option<&str>, limits: &Limits) -> Result<Vec<Message>> {
    let mut found = Vec::new();
    let mut left = limits.decoded_bytes;
    let mut rest = body;
    while !rest.is_empty() {
        if found.len() >= limits.messages {
            return Err(Undecodable::Limit("messages"));
        }
        let frame = rest.split_first_chunk::<5>().and_then(|([flag, length @ ..], rest)| {
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            Some((*flag, rest.split_at_checked(length)?))
        });
        let (flag, (message, after)) =
            frame.ok_or_else(|| Undecodable::malformed("a gRPC message is cut off"))?;
        let encoding = match flag {
            0 => None,
            1 => Some(encoding.filter(|name| *name != "identity").unwrap_or("gzip")),
            _ => return Err(Undecodable::malformed("a gRPC message has an unknown flag")),
        };
        let bytes = content::decode(encoding, message, left).map_err(of_content)?.into_owned();
        left -= bytes.len().min(left);
        rest = after;
        found.push(Message { bytes, end: body.len() - rest.len() });
    }
    Ok(found)
}

/// The fault of a body that could not be decompressed.
pub(super) fn of_content(error: content::ContentError) -> Undecodable {
    match error {
        content::ContentError::Limit(_) => Undecodable::Limit("decoded bytes"),
        other => Undecodable::malformed(other.to_string()),
    }
}

/// The tensors of one message.
fn tensors(bytes: &[u8], numbers: TensorFields, limits: &Limits) -> Result<Vec<Tensor>> {
    let mut described = Vec::new();
    let mut raw = Vec::new();
    for field in fields(bytes) {
        match field? {
            (number, Wire::Bytes(tensor)) if number == numbers.tensors => {
                if described.len() >= limits.outputs {
                    return Err(Undecodable::Limit("tensors"));
                }
                described.push(Described::read(tensor)?);
            }
            (number, Wire::Bytes(values)) if number == numbers.raw => {
                if raw.len() >= limits.outputs {
                    return Err(Undecodable::Limit("tensors"));
                }
                raw.push(values);
            }
            _ => {}
        }
    }
    if !raw.is_empty() && raw.len() != described.len() {
        let (raw, tensors) = (raw.len(), described.len());
        return Err(Undecodable::malformed(format!("{raw} raw contents for {tensors} tensors")));
    }
    let mut raw = raw.into_iter();
    described.into_iter().map(|tensor| tensor.with(raw.next())).collect()
}

/// The tensors of a whole answer of `ModelInfer`, or of `ModelStreamInfer` when `stream`, whose
/// messages hold an error or a response each.
pub(super) fn answer(messages: &[Message], stream: bool, limits: &Limits) -> Result<Content> {
    let mut outputs = Vec::new();
    for (message, Message { bytes, .. }) in messages.iter().enumerate() {
        let mut add = |bytes: &[u8]| {
            let found = tensors(bytes, RESPONSE, limits)?;
            outputs.extend(found.into_iter().map(|tensor| Output { message, tensor }));
            if outputs.len() > limits.messages { Err(Undecodable::Limit("tensors")) } else { Ok(()) }
        };
        if !stream {
            add(bytes)?;
            continue;
        }
        for field in fields(bytes) {
            match field? {
                (1, Wire::Bytes(error)) if !error.is_empty() => {
                    return Ok(Content::Error(bytes_as_text(error)));
                }
                (2, Wire::Bytes(response)) => add(response)?,
                _ => {}
            }
        }
    }
    Ok(Content::Tensors(outputs))
}

/// The tensors of `ModelInferRequest`s.
pub(super) fn request(messages: &[Message], limits: &Limits) -> Result<Content> {
    let mut inputs = Vec::new();
    for (message, Message { bytes, .. }) in messages.iter().enumerate() {
        let found = tensors(bytes, REQUEST, limits)?;
        inputs.extend(found.into_iter().map(|tensor| Output { message, tensor }));
        if inputs.len() > limits.messages {
            return Err(Undecodable::Limit("tensors"));
        }
    }
    Ok(Content::Tensors(inputs))
}

/// `InferOutputTensor` or `InferInputTensor`.
#[derive(Debug, Default)]
struct Described<'a> {
    name: String,
    dtype: Option<Dtype>,
    shape: Vec<i64>,
    /// `InferTensorContents`; the parts of it, where a writer cut it.
    contents: Vec<&'a [u8]>,
}

impl<'a> Described<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut tensor = Self::default();
        for field in fields(message) {
            match field? {
                (1, Wire::Bytes(name)) => tensor.name = bytes_as_text(name),
                (2, Wire::Bytes(name)) => {
                    let name = bytes_as_text(name);
                    let dtype = Dtype::from_name(&name);
                    tensor.dtype =
                        Some(dtype.ok_or_else(|| {
                            Undecodable::malformed(format!("datatype {name:?} is unknown"))
                        })?);
                }
                (3, wire) => varints(wire, &mut tensor.shape, u64::cast_signed)?,
                (5, Wire::Bytes(contents)) => tensor.contents.push(contents),
                _ => {}
            }
        }
        Ok(tensor)
    }

    fn with(self, raw: Option<&[u8]>) -> Result<Tensor> {
        let dtype = self.dtype.ok_or_else(|| Undecodable::malformed("a tensor has no datatype"))?;
        let data = match raw {
            Some(raw) => from_raw(dtype, raw)?,
            None => typed(dtype, &self.contents)?,
        };
        let name = self.name;
        Tensor::new(name.as_str(), self.shape, data)
            .map_err(|error| Undecodable::malformed(format!("tensor {name:?}: {error}")))
    }
}

/// The values of `InferTensorContents`. Narrow types stand in the fields of wider ones.
fn typed(dtype: Dtype, contents: &[&[u8]]) -> Result<TensorData> {
    let mut data = TensorData::with_capacity(dtype, 0);
    for field in contents.iter().flat_map(|contents| fields(contents)) {
        let (number, wire) = field?;
        match (&mut data, number, wire) {
            (TensorData::Bool(values), 1, wire) => varints(wire, values, |n| n != 0)?,
            (TensorData::Int8(values), 2, wire) => narrow(wire, values)?,
            (TensorData::Int16(values), 2, wire) => narrow(wire, values)?,
            (TensorData::Int32(values), 2, wire) => narrow(wire, values)?,
            (TensorData::Int64(values), 3, wire) => varints(wire, values, u64::cast_signed)?,
            (TensorData::Uint8(values), 4, wire) => narrow(wire, values)?,
            (TensorData::Uint16(values), 4, wire) => narrow(wire, values)?,
            (TensorData::Uint32(values), 4, wire) => narrow(wire, values)?,
            (TensorData::Uint64(values), 5, wire) => varints(wire, values, |n| n)?,
            (TensorData::Fp32(values), 6, Wire::Fixed32(one)) => values.push(f32::from_le_bytes(one)),
            (TensorData::Fp64(values), 7, Wire::Fixed64(one)) => values.push(f64::from_le_bytes(one)),
            (TensorData::Fp32(values), 6, Wire::Bytes(packed)) => {
                values.extend(whole_chunks(packed)?.iter().map(|one| f32::from_le_bytes(*one)));
            }
            (TensorData::Fp64(values), 7, Wire::Bytes(packed)) => {
                values.extend(whole_chunks(packed)?.iter().map(|one| f64::from_le_bytes(*one)));
            }
            // The protocol has no field for halves; some servers widen them.
            (TensorData::Fp16(values), 6, Wire::Bytes(packed)) => {
                values
                    .extend(whole_chunks(packed)?.iter().map(|one| f16::from_f32(f32::from_le_bytes(*one))));
            }
            (TensorData::Bytes(values), 8, Wire::Bytes(one)) => values.push(bytes_as_text(one)),
            _ => {
                return Err(Undecodable::malformed(format!("contents field {number} in a {dtype} tensor")));
            }
        }
    }
    Ok(data)
}

fn whole_chunks<const N: usize>(packed: &[u8]) -> Result<&[[u8; N]]> {
    match packed.as_chunks::<N>() {
        (chunks, []) => Ok(chunks),
        _ => Err(Undecodable::malformed("packed numbers are cut off")),
    }
}

/// Adds the numbers of a repeated field, packed or not.
fn varints<T>(wire: Wire<'_>, values: &mut Vec<T>, from: impl Fn(u64) -> T) -> Result<()> {
    match wire {
        Wire::Varint(number) => values.push(from(number)),
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                let number = varint(&mut packed);
                values
                    .push(from(number.ok_or_else(|| Undecodable::malformed("packed numbers are cut off"))?));
            }
        }
        _ => return Err(Undecodable::malformed("a repeated number has a wrong wire type")),
    }
    Ok(())
}

/// Adds numbers that stand in a wider type: negative ones with their sign spread to 64 bits.
fn narrow<T: TryFrom<i64>>(wire: Wire<'_>, values: &mut Vec<T>) -> Result<()> {
    let mut wide: Vec<i64> = Vec::new();
    varints(wire, &mut wide, u64::cast_signed)?;
    for number in wide {
        let number = T::try_from(number);
        values.push(number.map_err(|_| Undecodable::malformed("a number is out of its type's range"))?);
    }
    Ok(())
}
