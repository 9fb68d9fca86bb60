//! `ModelInferRequest` and `ModelInferResponse`: tensors in protobuf messages, read and written by
//! hand.
//!
//! The values of a request stand in typed `contents` of each tensor, or those of all tensors in
//! `raw_input_contents`, in order; the answer has the form of the request. FP16 and BF16 have no
//! typed form in the protocol: answers with such an output are raw. Absent: Triton's shared memory
//! and classification, which are refused.

use std::time::Duration;

use crate::inference::protobuf_fields::{NotProtobuf, Wire, fields, varint};
use crate::inference::raw;
use crate::inference::tensor::{Dtype, Tensor, TensorData};
use crate::inference::v2_json::{InferAnswer, InvalidRequest, MAX_TENSORS, dtype, of_shape};

/// An inference request.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The model asked for.
    pub model: String,
    /// The version asked for; empty for whichever the server chooses.
    pub version: String,
    /// The client's id, echoed in the answer; empty where there is none.
    pub id: String,
    /// How long the client waits, from Triton's request parameter `timeout` (in microseconds).
    pub timeout: Option<Duration>,
    /// Input tensors in the order sent.
    pub inputs: Vec<Tensor>,
    /// Names of the outputs asked for; empty means all of them.
    pub outputs: Vec<String>,
    /// Whether values came raw, and so are to leave raw.
    pub raw: bool,
}

/// Reads a `ModelInferRequest`.
///
/// # Errors
/// [`InvalidRequest`] with one line for the client: the place, what was found, what was expected.
pub fn decode(message: &[u8]) -> Result<InferRequest, InvalidRequest> {
    read(message).map_err(|error| InvalidRequest(error.0))
}

/// The id in a `ModelInferRequest`, as far as it can be read; empty where there is none.
pub fn id(message: &[u8]) -> String {
    let id = fields(message).find_map(|field| match field {
        Ok((3, Wire::Bytes(id))) => Some(String::from_utf8_lossy(id).into_owned()),
        _ => None,
    });
    id.unwrap_or_default()
}

/// Why a message is refused.
struct Refused(String);

impl From<NotProtobuf> for Refused {
    fn from(error: NotProtobuf) -> Self {
        Self(format!("the request is {error}"))
    }
}

impl From<String> for Refused {
    fn from(line: String) -> Self {
        Self(line)
    }
}

fn read(message: &[u8]) -> Result<InferRequest, Refused> {
    let (mut model, mut version, mut id, mut timeout) = Default::default();
    let (mut described, mut outputs, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields(message) {
        match field? {
            (1, Wire::Bytes(value)) => model = text("model_name", value)?,
            (2, Wire::Bytes(value)) => version = text("model_version", value)?,
            (3, Wire::Bytes(value)) => id = text("id", value)?,
            (4, Wire::Bytes(entry)) => {
                if let Some(("timeout", value)) = parameter(entry)? {
                    timeout = Some(value);
                }
            }
            (5, Wire::Bytes(input)) => described.push(Described::read(described.len(), input)?),
            (6, Wire::Bytes(output)) => outputs.push(requested(outputs.len(), output)?),
            (7, Wire::Bytes(values)) => raw.push(values),
            _ => {}
        }
        if described.len().max(outputs.len()).max(raw.len()) > MAX_TENSORS {
            return Err(Refused(format!("more than {MAX_TENSORS} inputs or outputs")));
        }
    }
    let is_raw = !raw.is_empty() || described.is_empty();
    if !raw.is_empty() && raw.len() != described.len() {
        let (found, expected) = (raw.len(), described.len());
        return Err(Refused(format!("{found} raw_input_contents for {expected} inputs, expected one each")));
    }
    let mut raw = raw.into_iter();
    let inputs = described.into_iter().enumerate().map(|(at, tensor)| {
        let place = format!("inputs[{at}] {:?}", tensor.name);
        tensor.with(raw.next()).map_err(|why| Refused(format!("{place}: {why}")))
    });
    let inputs = inputs.collect::<Result<_, _>>()?;
    Ok(InferRequest { model, version, id, timeout: duration(timeout)?, inputs, outputs, raw: is_raw })
}

fn text(what: &str, bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| format!("{what} is not UTF-8"))
}

/// The value of an `InferParameter`.
#[derive(Debug, Clone, PartialEq)]
enum Parameter {
    Number(i128),
    Other,
}

fn duration(timeout: Option<Parameter>) -> Result<Option<Duration>, String> {
    match timeout {
        None | Some(Parameter::Number(0)) => Ok(None),
        Some(Parameter::Number(micros)) if micros > 0 => {
            Ok(Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))))
        }
        Some(_) => Err("the parameter \"timeout\" is no whole number of microseconds".to_owned()),
    }
}

/// An entry of a map of parameters.
fn parameter(entry: &[u8]) -> Result<Option<(&str, Parameter)>, Refused> {
    let (mut name, mut found) = (None, Parameter::Other);
    for field in fields(entry) {
        match field? {
            (1, Wire::Bytes(key)) => name = std::str::from_utf8(key).ok(),
            (2, Wire::Bytes(value)) => {
                for field in fields(value) {
                    found = match field? {
                        (2, Wire::Varint(number)) => Parameter::Number(number.cast_signed().into()),
                        (5, Wire::Varint(number)) => Parameter::Number(number.into()),
                        _ => Parameter::Other,
                    };
                }
            }
            _ => {}
        }
    }
    Ok(name.map(|name| (name, found)))
}

/// Refuses a tensor's parameters that would change what an answer is, and that are not served here.
fn refuse_unserved(entry: &[u8]) -> Result<(), Refused> {
    match parameter(entry)? {
        Some((name @ ("shared_memory_region" | "classification"), value))
            if value != Parameter::Number(0) =>
        {
            Err(Refused(format!("the parameter {name:?} is not supported here")))
        }
        _ => Ok(()),
    }
}

/// The name in an `InferRequestedOutputTensor`.
fn requested(at: usize, message: &[u8]) -> Result<String, Refused> {
    let mut name = String::new();
    for field in fields(message) {
        match field? {
            (1, Wire::Bytes(value)) => name = text("its name", value)?,
            (2, Wire::Bytes(entry)) => refuse_unserved(entry)
                .map_err(|refused| Refused(format!("outputs[{at}] {name:?}: {}", refused.0)))?,
            _ => {}
        }
    }
    Ok(name)
}

/// `InferInputTensor`.
#[derive(Debug, Default)]
struct Described<'a> {
    name: String,
    datatype: &'a [u8],
    shape: Vec<i64>,
    /// `InferTensorContents`; the parts of it, where a writer cut it.
    contents: Vec<&'a [u8]>,
}

impl<'a> Described<'a> {
    fn read(at: usize, message: &'a [u8]) -> Result<Self, Refused> {
        let mut tensor = Self::default();
        let place = |why: String| Refused(format!("inputs[{at}]: {why}"));
        for field in fields(message) {
            match field? {
                (1, Wire::Bytes(value)) => tensor.name = text("its name", value).map_err(place)?,
                (2, Wire::Bytes(value)) => tensor.datatype = value,
                (3, wire) => each(wire, |number| tensor.shape.push(number.cast_signed())).map_err(place)?,
                (4, Wire::Bytes(entry)) => refuse_unserved(entry).map_err(|refused| place(refused.0))?,
                (5, Wire::Bytes(contents)) => tensor.contents.push(contents),
                _ => {}
            }
        }
        Ok(tensor)
    }

    fn with(self, raw: Option<&[u8]>) -> Result<Tensor, String> {
        let dtype = dtype(&String::from_utf8_lossy(self.datatype))?;
        let has_contents = self.contents.iter().any(|contents| !contents.is_empty());
        let (data, what) = match raw {
            Some(_) if has_contents => {
                return Err("contents and raw_input_contents are both there, expected one".to_owned());
            }
            Some(raw) => {
                (raw::decode(dtype, raw).map_err(|why| format!("raw contents: {why}"))?, "raw contents")
            }
            None => (typed(dtype, &self.contents)?, "contents"),
        };
        of_shape(self.name, self.shape, data, what)
    }
}

/// The values of `InferTensorContents`. Narrow types stand in the fields of wider ones.
fn typed(dtype: Dtype, contents: &[&[u8]]) -> Result<TensorData, String> {
    let mut data = TensorData::with_capacity(dtype, 0);
    for field in contents.iter().flat_map(|contents| fields(contents)) {
        let (number, wire) = field.map_err(|error| format!("contents: {error}"))?;
        match (&mut data, number, wire) {
            (TensorData::Bool(values), 1, wire) => each(wire, |number| values.push(number != 0))?,
            (TensorData::Int8(values), 2, wire) => narrow(dtype, wire, values)?,
            (TensorData::Int16(values), 2, wire) => narrow(dtype, wire, values)?,
            (TensorData::Int32(values), 2, wire) => narrow(dtype, wire, values)?,
            (TensorData::Int64(values), 3, wire) => each(wire, |number| values.push(number.cast_signed()))?,
            (TensorData::Uint8(values), 4, wire) => narrow(dtype, wire, values)?,
            (TensorData::Uint16(values), 4, wire) => narrow(dtype, wire, values)?,
            (TensorData::Uint32(values), 4, wire) => narrow(dtype, wire, values)?,
            (TensorData::Uint64(values), 5, wire) => each(wire, |number| values.push(number))?,
            (TensorData::Fp32(values), 6, Wire::Fixed32(one)) => values.push(f32::from_le_bytes(one)),
            (TensorData::Fp64(values), 7, Wire::Fixed64(one)) => values.push(f64::from_le_bytes(one)),
            (TensorData::Fp32(values), 6, Wire::Bytes(packed)) => {
                values.extend(chunks(packed)?.iter().map(|one| f32::from_le_bytes(*one)));
            }
            (TensorData::Fp64(values), 7, Wire::Bytes(packed)) => {
                values.extend(chunks(packed)?.iter().map(|one| f64::from_le_bytes(*one)));
            }
            (TensorData::Bytes(values), 8, Wire::Bytes(one)) => values.push(raw::text(values.len(), one)?),
            (TensorData::Fp16(_) | TensorData::Bf16(_), ..) => {
                return Err(format!("{dtype} has no typed contents in the protocol, use raw_input_contents"));
            }
            (_, 1..=8, _) => {
                let (found, expected) = (field_name(number), field_of(dtype));
                return Err(format!("the values of a {dtype} tensor stand in {found}, expected {expected}"));
            }
            _ => {}
        }
    }
    Ok(data)
}

/// The field of `InferTensorContents` that has the values of a type; 0 for none.
fn field_number(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::Bool => 1,
        Dtype::Int8 | Dtype::Int16 | Dtype::Int32 => 2,
        Dtype::Int64 => 3,
        Dtype::Uint8 | Dtype::Uint16 | Dtype::Uint32 => 4,
        Dtype::Uint64 => 5,
        Dtype::Fp32 => 6,
        Dtype::Fp64 => 7,
        Dtype::Bytes => 8,
        Dtype::Fp16 | Dtype::Bf16 => 0,
    }
}

fn field_of(dtype: Dtype) -> &'static str {
    field_name(field_number(dtype))
}

fn field_name(number: u32) -> &'static str {
    match number {
        1 => "bool_contents",
        2 => "int_contents",
        3 => "int64_contents",
        4 => "uint_contents",
        5 => "uint64_contents",
        6 => "fp32_contents",
        7 => "fp64_contents",
        8 => "bytes_contents",
        _ => "raw_input_contents",
    }
}

fn chunks<const N: usize>(packed: &[u8]) -> Result<&[[u8; N]], String> {
    match packed.as_chunks::<N>() {
        (chunks, []) => Ok(chunks),
        _ => Err("packed numbers are cut off".to_owned()),
    }
}

/// Hands every number of a repeated field, packed or not, to `take`.
fn each(wire: Wire<'_>, mut take: impl FnMut(u64)) -> Result<(), String> {
    match wire {
        Wire::Varint(number) => take(number),
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                take(varint(&mut packed).ok_or("packed numbers are cut off")?);
            }
        }
        _ => return Err("numbers have a wrong wire type".to_owned()),
    }
    Ok(())
}

/// Adds numbers that stand in a wider type: negative ones with their sign spread to 64 bits.
fn narrow<T: TryFrom<i64>>(dtype: Dtype, wire: Wire<'_>, values: &mut Vec<T>) -> Result<(), String> {
    let mut misfit = None;
    each(wire, |number| match T::try_from(number.cast_signed()) {
        Ok(number) => values.push(number),
        Err(_) => misfit = misfit.or(Some((values.len(), number.cast_signed()))),
    })?;
    match misfit {
        None => Ok(()),
        Some((index, found)) => Err(format!("value {index} is {found}, out of the range of {dtype}")),
    }
}

/// A `ModelInferResponse` that is not written yet.
#[derive(Debug)]
pub struct Answer<'a> {
    /// Everything but raw contents.
    head: Vec<u8>,
    /// Outputs whose values follow raw.
    raw: Vec<&'a Tensor>,
}

/// Number of `raw_output_contents`, with its wire type.
const RAW: u64 = 6 << 3 | LENGTH_DELIMITED;
const LENGTH_DELIMITED: u64 = 2;

impl<'a> Answer<'a> {
    /// The answer with `outputs`, raw or typed.
    pub fn new(answer: InferAnswer<'_>, outputs: Vec<&'a Tensor>, raw: bool) -> Self {
        let raw = raw || outputs.iter().any(|tensor| field_number(tensor.dtype()) == 0);
        let mut head = Vec::with_capacity(128);
        put_field(&mut head, 1, answer.model_name.as_bytes());
        put_field(&mut head, 2, answer.model_version.as_bytes());
        put_field(&mut head, 3, answer.id.unwrap_or_default().as_bytes());
        let (mut tensor, mut inside) = (Vec::new(), Vec::new());
        for output in &outputs {
            tensor.clear();
            put_field(&mut tensor, 1, output.name().as_bytes());
            put_field(&mut tensor, 2, output.dtype().name().as_bytes());
            inside.clear();
            output.shape().iter().for_each(|dim| put_varint(&mut inside, dim.cast_unsigned()));
            put_field(&mut tensor, 3, &inside);
            if !raw {
                inside.clear();
                put_typed(&mut inside, output.data());
                put_field(&mut tensor, 5, &inside);
            }
            put_varint(&mut head, 5 << 3 | LENGTH_DELIMITED);
            put_varint(&mut head, tensor.len() as u64);
            head.extend_from_slice(&tensor);
        }
        Self { head, raw: if raw { outputs } else { Vec::new() } }
    }

    /// How many bytes [`Answer::write`] writes.
    pub fn size(&self) -> usize {
        let raw = self.raw.iter().map(|tensor| {
            let size = raw::size(tensor.data());
            1 + varint_size(size as u64) + size
        });
        self.head.len() + raw.sum::<usize>()
    }

    /// Appends the message to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        for tensor in &self.raw {
            put_varint(out, RAW);
            put_varint(out, raw::size(tensor.data()) as u64);
            raw::encode(tensor.data(), out);
        }
    }

    /// How many bytes [`Answer::write_in_stream`] writes.
    pub fn size_in_stream(&self) -> usize {
        let size = self.size();
        1 + varint_size(size as u64) + size
    }

    /// Appends a `ModelStreamInferResponse` with this answer to `out`.
    pub fn write_in_stream(&self, out: &mut Vec<u8>) {
        put_varint(out, 2 << 3 | LENGTH_DELIMITED);
        put_varint(out, self.size() as u64);
        self.write(out);
    }
}

/// A `ModelStreamInferResponse` with an error: the line, and the id of the request that failed, as
/// Triton has it.
pub fn stream_error(message: &str, id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_field(&mut out, 1, message.as_bytes());
    let mut response = Vec::new();
    put_field(&mut response, 3, id.as_bytes());
    put_field(&mut out, 2, &response);
    out
}

/// Appends a length-delimited field; an empty one is its default and left out.
fn put_field(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        put_varint(out, u64::from(field) << 3 | LENGTH_DELIMITED);
        put_varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn varint_size(value: u64) -> usize {
    usize::try_from((64 - (value | 1).leading_zeros()).div_ceil(7)).unwrap_or(10)
}

/// Writes `InferTensorContents`.
fn put_typed(out: &mut Vec<u8>, data: &TensorData) {
    let field = field_number(data.dtype());
    let mut packed = Vec::new();
    let mut numbers =
        |values: &mut dyn Iterator<Item = u64>| values.for_each(|value| put_varint(&mut packed, value));
    match data {
        TensorData::Bool(values) => numbers(&mut values.iter().map(|value| u64::from(*value))),
        TensorData::Uint8(values) => numbers(&mut values.iter().map(|value| u64::from(*value))),
        TensorData::Uint16(values) => numbers(&mut values.iter().map(|value| u64::from(*value))),
        TensorData::Uint32(values) => numbers(&mut values.iter().map(|value| u64::from(*value))),
        TensorData::Uint64(values) => numbers(&mut values.iter().copied()),
        TensorData::Int8(values) => {
            numbers(&mut values.iter().map(|value| i64::from(*value).cast_unsigned()))
        }
        TensorData::Int16(values) => {
            numbers(&mut values.iter().map(|value| i64::from(*value).cast_unsigned()))
        }
        TensorData::Int32(values) => {
            numbers(&mut values.iter().map(|value| i64::from(*value).cast_unsigned()))
        }
        TensorData::Int64(values) => numbers(&mut values.iter().map(|value| value.cast_unsigned())),
        TensorData::Fp32(_) | TensorData::Fp64(_) => raw::encode(data, &mut packed),
        TensorData::Bytes(texts) => {
            for text in texts {
                put_varint(out, u64::from(field) << 3 | LENGTH_DELIMITED);
                put_varint(out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
        }
        // Written raw.
        TensorData::Fp16(_) | TensorData::Bf16(_) => {}
    }
    put_field(out, field, &packed);
}

#[cfg(test)]
mod tests;
