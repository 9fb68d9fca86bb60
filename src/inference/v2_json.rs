//! The Open Inference Protocol v2 over REST: the JSON bodies of an inference request and answer.
//!
//! A request is scanned once by `serde_json`; each input's `data` stays raw text and is then parsed
//! straight into its typed vector. Values may be flat or nested as `shape` says. The binary tensor
//! extension is not here: an input that announces binary data is refused with a line that says so.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use super::json_data::{EncodeError, InvalidRequest};
use super::json_data::{read, write_flat, write_json};
use super::tensor::{Dtype, ShapeError, Tensor, TensorData};

/// Protocol parameters: named strings, numbers and truth values.
pub type Parameters = serde_json::Map<String, serde_json::Value>;

/// An inference request.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The client's id, echoed in the answer.
    pub id: Option<String>,
    /// Parameters of the whole request.
    pub parameters: Parameters,
    /// Input tensors in the order sent.
    pub inputs: Vec<Tensor>,
    /// Outputs asked for; empty means all of them.
    pub outputs: Vec<RequestedOutput>,
}

/// One output that the client asks for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Parameters,
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

#[derive(Deserialize)]
struct RawRequest<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<RawInput<'a>>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
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

/// Reads the body of `POST /v2/models/{model}/infer`.
///
/// # Errors
/// [`InvalidRequest`] with one line for the client: the place, what was found, what was expected.
pub fn decode(body: &[u8]) -> Result<InferRequest, InvalidRequest> {
    let raw: RawRequest<'_> = parse(body)?;
    let inputs = raw
        .inputs
        .into_iter()
        .enumerate()
        .map(|(at, input)| {
            let name = input.name.clone();
            tensor(input).map_err(|why| InvalidRequest(format!("inputs[{at}] {name:?}: {why}")))
        })
        .collect::<Result<_, _>>()?;
    Ok(InferRequest { id: raw.id, parameters: raw.parameters, inputs, outputs: raw.outputs })
}

fn tensor(input: RawInput<'_>) -> Result<Tensor, String> {
    let Some(dtype) = Dtype::from_name(&input.datatype) else {
        let known = Dtype::ALL.map(Dtype::name).join(", ");
        return Err(format!("datatype {:?} is unknown, expected one of {known}", input.datatype));
    };
    let Some(json) = input.data else {
        return Err(if input.parameters.contains_key("binary_data_size") {
            "the binary tensor extension is not supported here yet, send \"data\" as JSON".to_owned()
        } else {
            "\"data\" is missing".to_owned()
        });
    };
    // One value takes two bytes of text at least, whatever the shape promises.
    let count = super::tensor::element_count(&input.shape).unwrap_or(0);
    let mut data = TensorData::with_capacity(dtype, count.min(json.get().len() / 2 + 1));
    let nested = read(json.get(), &mut data).map_err(|why| format!("\"data\": {why}"))?;
    if nested.len() > 1 && nested != input.shape {
        return Err(format!("\"data\" is nested as {nested:?}, shape says {:?}", input.shape));
    }
    Tensor::new(input.name, input.shape, data).map_err(|error| match error {
        ShapeError::Count { shape, expected, found } => {
            format!("\"data\" has {found} values, shape {shape:?} takes {expected}")
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
                "the request body is not valid JSON: it has no NaN and no infinity ({plain})"
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

/// Writes the body of an inference answer, values flat in row-major order.
///
/// # Errors
/// [`EncodeError::NotFinite`] when an output holds NaN or an infinity.
pub fn encode<'a>(
    answer: InferAnswer<'_>,
    outputs: impl IntoIterator<Item = &'a Tensor>,
) -> Result<Vec<u8>, EncodeError> {
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
    for (at, tensor) in outputs.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        write_json(&mut out, tensor.name());
        out.extend_from_slice(b",\"datatype\":\"");
        out.extend_from_slice(tensor.dtype().name().as_bytes());
        out.extend_from_slice(b"\",\"shape\":");
        write_json(&mut out, tensor.shape());
        out.extend_from_slice(b",\"data\":");
        write_flat(&mut out, tensor.name(), tensor.data())?;
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        decode(body.as_bytes()).unwrap_err().to_string()
    }

    fn input(fields: &str) -> String {
        format!(r#"{{"inputs":[{{"name":"x",{fields}}}]}}"#)
    }

    #[test]
    fn a_request_keeps_its_id_parameters_and_requested_outputs() {
        let request = decode(
            br#"{"id":"7","parameters":{"p":1},"extra":[{}],
                "inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4.5]]},
                          {"name":"s","shape":[1],"datatype":"BYTES","data":["a\"\u00e9\n"]}],
                "outputs":[{"name":"y","parameters":{"binary_data":false}}]}"#,
        )
        .unwrap();
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.parameters.get("p"), Some(&serde_json::json!(1)));
        assert_eq!(request.outputs[0].name, "y");
        assert_eq!(request.outputs[0].parameters.len(), 1);
        assert_eq!(request.inputs[0].shape(), [2, 2]);
        assert_eq!(request.inputs[0].data(), &TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.5]));
        assert_eq!(request.inputs[1].data(), &TensorData::Bytes(vec!["a\"é\n".to_owned()]));
    }

    #[test]
    fn flat_nested_and_scalar_data_are_the_same_to_a_reader() {
        for data in ["[1,2,3,4]", "[[1,2],[3,4]]"] {
            let body = input(&format!(r#""shape":[2,2],"datatype":"INT8","data":{data}"#));
            assert_eq!(
                decode(body.as_bytes()).unwrap().inputs[0].data(),
                &TensorData::Int8(vec![1, 2, 3, 4])
            );
        }
        for data in ["5", "[5]"] {
            let body = input(&format!(r#""shape":[],"datatype":"INT8","data":{data}"#));
            assert_eq!(decode(body.as_bytes()).unwrap().inputs[0].data(), &TensorData::Int8(vec![5]));
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_what_was_expected() {
        assert_eq!(message(""), "the request body is empty, expected a JSON object");
        assert!(message("{").starts_with("the request body is not valid JSON: EOF"));
        assert!(message("{}").starts_with("missing field `inputs`"));
        assert!(message(r#"{"inputs":[{"shape":[1]}]}"#).starts_with("inputs[0]: missing field `name`"));
        assert!(
            message(&input(r#""shape":[1,"a"]"#)).starts_with("inputs[0].shape[1]: invalid type: string")
        );
        assert!(
            message(&input(r#""shape":[1],"datatype":"FLOAT","data":[1]"#))
                .starts_with(r#"inputs[0] "x": datatype "FLOAT" is unknown, expected one of BOOL, UINT8"#)
        );
        assert_eq!(
            message(&input(r#""shape":[3],"datatype":"FP32","data":[1,2]"#)),
            r#"inputs[0] "x": "data" has 2 values, shape [3] takes 3"#
        );
        assert_eq!(
            message(&input(r#""shape":[2,3],"datatype":"FP32","data":[[1,2],[3,4],[5,6]]"#)),
            r#"inputs[0] "x": "data" is nested as [3, 2], shape says [2, 3]"#
        );
        assert!(message(&input(r#""shape":[-1],"datatype":"FP32","data":[1]"#)).contains("is not a shape"));
        assert!(message(&input(r#""shape":[1],"datatype":"FP32""#)).ends_with("\"data\" is missing"));
        assert!(
            message(&input(r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#))
                .contains("binary tensor extension is not supported")
        );
        assert!(
            message(&input(r#""shape":[1],"datatype":"FP32","data":[true]"#))
                .starts_with(r#"inputs[0] "x": "data": value 0 is true, expected FP32"#)
        );
    }

    #[test]
    fn nan_and_infinity_get_a_line_that_says_json_has_none() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            let line = message(&input(&format!(r#""shape":[2],"datatype":"FP32","data":[1,{word}]"#)));
            assert!(line.contains("no NaN and no infinity"), "{word}: {line}");
        }
    }

    #[test]
    fn a_huge_shape_reserves_no_memory() {
        let body = input(r#""shape":[1152921504606846975],"datatype":"FP64","data":[]"#);
        assert!(message(&body).contains("has 0 values"));
    }

    #[test]
    fn an_answer_is_written_field_by_field() {
        let outputs = [
            Tensor::new("label", vec![2], TensorData::Int64(vec![1, -2])).unwrap(),
            Tensor::new("p\"", vec![1, 2], TensorData::Fp32(vec![0.1, 1.0])).unwrap(),
            Tensor::new("b", vec![], TensorData::Bool(vec![true])).unwrap(),
        ];
        let answer = InferAnswer { model_name: "m", model_version: "3", id: Some("a\n") };
        let text = String::from_utf8(encode(answer, &outputs).unwrap()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"model_name":"m","model_version":"3","id":"a\n","outputs":["#,
                r#"{"name":"label","datatype":"INT64","shape":[2],"data":[1,-2]},"#,
                r#"{"name":"p\"","datatype":"FP32","shape":[1,2],"data":[0.1,1.0]},"#,
                r#"{"name":"b","datatype":"BOOL","shape":[],"data":[true]}]}"#
            )
        );
    }
}
