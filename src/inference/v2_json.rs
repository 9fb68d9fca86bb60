//! The Open Inference Protocol v2 over REST: the bodies of an inference request and answer, in JSON and
//! in the binary tensor extension.
//!
//! A request is scanned once by `serde_json`; each input's `data` stays raw text and is then parsed
//! straight into its typed vector. Values may be flat or nested as `shape` says. In the binary
//! extension the JSON comes first, as long as `Inference-Header-Content-Length` says, and the bytes
//! of every input with `binary_data_size` follow in order; both forms may stand in one request, and
//! the client chooses the form of each output. Absent: Triton's shared memory and classification.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

pub use super::json_data::{EncodeError, InvalidRequest};
use super::json_data::{read, write_flat, write_json};
use super::raw;
use super::tensor::{Dtype, ShapeError, Tensor, TensorData, element_count};

/// Protocol parameters: named strings, numbers and truth values.
pub type Parameters = serde_json::Map<String, Value>;

/// Tensors of one request, and outputs it may ask for.
pub const MAX_TENSORS: usize = 1024;

/// An inference request.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The client's id, echoed in the answer.
    pub id: Option<String>,
    /// How long the client waits, from Triton's request parameter `timeout` (in microseconds).
    pub timeout: Option<Duration>,
    /// Input tensors in the order sent.
    pub inputs: Vec<Tensor>,
    /// Outputs asked for; empty means all of them.
    pub outputs: Vec<RequestedOutput>,
    /// Whether outputs that are not named are to come as binary data.
    pub binary_outputs: bool,
}

/// One output that the client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it is to come as binary data.
    pub binary: bool,
}

/// What an inference answer says beside its tensors.
#[derive(Debug, Clone, Copy)]
pub struct InferAnswer<'a> {
    /// Name of the model, as the client called it.
    pub model_name: &'a str,
    /// The model's version.
    pub model_version: &'a str,
    /// The request's id.
    pub id: Option<&'a str>,
}

/// The body of an inference answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The body.
    pub body: Vec<u8>,
    /// Bytes of JSON at its start, where binary data follows: `Inference-Header-Content-Length`.
    pub json: Option<usize>,
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<RawInput<'a>>,
    #[serde(default)]
    outputs: Vec<RawOutput>,
}

#[derive(Deserialize)]
struct RawInput<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Vec<i64>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Reads the body of `POST /v2/models/{model}/infer` that is JSON and nothing else.
///
/// # Errors
/// As [`decode_mixed`].
pub fn decode(body: &[u8]) -> Result<InferRequest, InvalidRequest> {
    decode_mixed(body, None)
}

/// Reads the body of `POST /v2/models/{model}/infer`, of which the first `json` bytes are JSON if the
/// client says so.
///
/// # Errors
/// [`InvalidRequest`] with one line for the client: the place, what was found, what was expected.
pub fn decode_mixed(body: &[u8], json: Option<usize>) -> Result<InferRequest, InvalidRequest> {
    let length = json.unwrap_or(body.len());
    let (text, mut binary) = body.split_at_checked(length).ok_or_else(|| {
        let found = body.len();
        InvalidRequest(format!(
            "Inference-Header-Content-Length is {length}, and the request body has only {found} bytes"
        ))
    })?;
    let raw: RawRequest<'_> = parse(text)?;
    if raw.inputs.len().max(raw.outputs.len()) > MAX_TENSORS {
        return Err(InvalidRequest(format!("more than {MAX_TENSORS} inputs or outputs")));
    }
    let place = |at: usize, name: &str, why: String| InvalidRequest(format!("inputs[{at}] {name:?}: {why}"));
    let mut inputs = Vec::with_capacity(raw.inputs.len());
    for (at, input) in raw.inputs.into_iter().enumerate() {
        let name = input.name.clone();
        let bytes = json.is_some().then_some(&mut binary);
        inputs.push(tensor(input, bytes).map_err(|why| place(at, &name, why))?);
    }
    if !binary.is_empty() {
        let left = binary.len();
        return Err(InvalidRequest(format!(
            "{left} bytes behind the inputs' binary data belong to no input"
        )));
    }
    let binary_outputs = flag(&raw.parameters, "binary_data_output").map_err(InvalidRequest)?;
    let outputs = raw.outputs.into_iter().enumerate().map(|(at, output)| {
        let binary = output_form(&output, binary_outputs.unwrap_or(false))
            .map_err(|why| InvalidRequest(format!("outputs[{at}] {:?}: {why}", output.name)))?;
        Ok(RequestedOutput { name: output.name, binary })
    });
    Ok(InferRequest {
        outputs: outputs.collect::<Result<_, InvalidRequest>>()?,
        id: raw.id,
        timeout: timeout(&raw.parameters).map_err(InvalidRequest)?,
        inputs,
        binary_outputs: binary_outputs.unwrap_or(false),
    })
}

/// Whether an output is to come as binary data.
fn output_form(output: &RawOutput, default: bool) -> Result<bool, String> {
    refuse_unserved(&output.parameters)?;
    Ok(flag(&output.parameters, "binary_data")?.unwrap_or(default))
}

/// Parameters that would change what an answer is, and that are not served here.
fn refuse_unserved(parameters: &Parameters) -> Result<(), String> {
    for name in ["shared_memory_region", "classification"] {
        if parameters.get(name).is_some_and(|value| value.as_i64() != Some(0)) {
            return Err(format!("the parameter {name:?} is not supported here"));
        }
    }
    Ok(())
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, String> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(other) => Err(format!("the parameter {name:?} is {other}, expected true or false")),
    }
}

fn timeout(parameters: &Parameters) -> Result<Option<Duration>, String> {
    match parameters.get("timeout") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            // As Triton has it: none.
            Some(0) => Ok(None),
            Some(micros) => Ok(Some(Duration::from_micros(micros))),
            None => Err(format!("the parameter \"timeout\" is {value}, expected whole microseconds")),
        },
    }
}

fn tensor(input: RawInput<'_>, binary: Option<&mut &[u8]>) -> Result<Tensor, String> {
    let dtype = dtype(&input.datatype)?;
    refuse_unserved(&input.parameters)?;
    let (data, what) = match (input.data, input.parameters.get("binary_data_size")) {
        (Some(_), Some(_)) => {
            return Err("\"data\" and binary_data_size are both there, expected one".to_owned());
        }
        (None, None) => return Err("\"data\" is missing".to_owned()),
        (None, Some(size)) => {
            let Some(rest) = binary else {
                return Err("binary_data_size needs the header Inference-Header-Content-Length, which says \
                            where the JSON ends and binary data begins"
                    .to_owned());
            };
            (
                raw::decode(dtype, take(rest, size)?).map_err(|why| format!("binary data: {why}"))?,
                "binary data",
            )
        }
        (Some(json), None) => (nested(json.get(), dtype, &input.shape)?, "\"data\""),
    };
    of_shape(input.name, input.shape, data, what)
}

/// The next `size` bytes of `rest`.
fn take<'a>(rest: &mut &'a [u8], size: &Value) -> Result<&'a [u8], String> {
    let Some(size) = size.as_u64().and_then(|size| usize::try_from(size).ok()) else {
        return Err(format!("binary_data_size is {size}, expected a number of bytes"));
    };
    let left = rest.len();
    let (bytes, after) = rest.split_at_checked(size).ok_or_else(|| {
        format!("binary_data_size is {size}, and only {left} bytes of binary data are left")
    })?;
    *rest = after;
    Ok(bytes)
}

/// The values of a JSON array of `dtype`, flat or nested as `shape` says.
fn nested(json: &str, dtype: Dtype, shape: &[i64]) -> Result<TensorData, String> {
    // One value takes two bytes of text at least, whatever the shape promises.
    let count = element_count(shape).unwrap_or(0);
    let mut data = TensorData::with_capacity(dtype, count.min(json.len() / 2 + 1));
    let nested = read(json, &mut data).map_err(|why| format!("\"data\": {why}"))?;
    if nested.len() > 1 && nested != shape {
        return Err(format!("\"data\" is nested as {nested:?}, shape says {shape:?}"));
    }
    Ok(data)
}

/// The type of that name, or a line that names them all.
pub(super) fn dtype(name: &str) -> Result<Dtype, String> {
    Dtype::from_name(name).ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        let known = Dtype::ALL.map(Dtype::name).join(", ");
        format!("datatype {name:?} is unknown, expected one of {known}")
    })
}

/// A tensor whose values stood in `what`.
pub(super) fn of_shape(
    name: impl Into<String>,
    shape: Vec<i64>,
    data: TensorData,
    what: &str,
) -> Result<Tensor, String> {
    Tensor::new(name, shape, data).map_err(|error| match error {
        ShapeError::Count { shape, expected, found } => {
            format!("{what} has {found} values, shape {shape:?} takes {expected}")
        }
        impossible @ ShapeError::Impossible(_) => impossible.to_string(),
    })
}

/// Reads a JSON body; errors name the path and the position.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidRequest> {
    serde_json::from_slice(body).map_err(|plain| {
        if body.trim_ascii().is_empty() {
            return InvalidRequest("the request body is empty, expected a JSON object".to_owned());
        }
        if not_a_number(body, &plain) {
            return InvalidRequest(format!(
                "the request body is not valid JSON: it has no NaN and no infinity, so send binary data or use gRPC ({plain})"
            ));
        }
        // Only a body that failed is read again, this time with a record of the path.
        let mut again = serde_json::Deserializer::from_slice(body);
        let located = serde_path_to_error::deserialize::<_, T>(&mut again).err();
        let place = located.map(|error| error.path().to_string()).filter(|path| path != ".");
        InvalidRequest(match (plain.classify(), place) {
            (serde_json::error::Category::Data, Some(place)) => format!("{place}: {plain}"),
            (serde_json::error::Category::Data, None) => plain.to_string(),
            _ => format!("the request body is not valid JSON: {plain}"),
        })
    })
}

/// Whether the parser stopped at one of the spellings of NaN and infinity that lax writers use.
fn not_a_number(body: &[u8], error: &serde_json::Error) -> bool {
    let line = body.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1));
    let from = error.column().saturating_sub(3);
    let near = line.and_then(|line| line.get(from..)).unwrap_or_default();
    let near = near.get(..12).unwrap_or(near);
    [&b"NaN"[..], b"nan", b"Infinity", b"inf"].iter().any(|word| near.windows(word.len()).any(|w| w == *word))
}

/// Writes the body of an inference answer as JSON, values flat in row-major order.
///
/// # Errors
/// As [`encode_mixed`].
pub fn encode<'a>(
    answer: InferAnswer<'_>,
    outputs: impl IntoIterator<Item = &'a Tensor>,
) -> Result<Vec<u8>, EncodeError> {
    encode_mixed(answer, outputs.into_iter().map(|output| (output, false))).map(|encoded| encoded.body)
}

/// Writes the body of an inference answer: for each output its values flat in row-major order, as JSON
/// or, where its flag is set, as binary data behind the JSON.
///
/// # Errors
/// [`EncodeError::NotFinite`] when an output that is to be JSON holds NaN or an infinity.
pub fn encode_mixed<'a>(
    answer: InferAnswer<'_>,
    outputs: impl IntoIterator<Item = (&'a Tensor, bool)>,
) -> Result<Encoded, EncodeError> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"model_name\":");
    write_json(&mut out, answer.model_name);
    out.extend_from_slice(b",\"model_version\":");
    write_json(&mut out, answer.model_version);
    if let Some(id) = answer.id {
        out.extend_from_slice(b",\"id\":");
        write_json(&mut out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    let mut binary = Vec::new();
    for (at, (tensor, is_binary)) in outputs.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write_json(&mut out, tensor.name());
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.dtype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        write_json(&mut out, tensor.shape());
        if is_binary {
            out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            write_json(&mut out, raw::size(tensor.data()));
            out.extend_from_slice(b"}}");
            binary.push(tensor);
        } else {
            out.extend_from_slice(b",\"data\":");
            write_flat(&mut out, tensor.name(), tensor.data())?;
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"]}");
    let json = (!binary.is_empty()).then_some(out.len());
    out.reserve_exact(binary.iter().map(|tensor| raw::size(tensor.data())).sum());
    for tensor in binary {
        raw::encode(tensor.data(), &mut out);
    }
    Ok(Encoded { body: out, json })
}

#[cfg(test)]
mod tests;
