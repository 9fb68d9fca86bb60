//! The V1 protocol (TensorFlow Serving's REST API, KServe's V1): bodies of `:predict`.
//!
//! The row form `{"instances": [...]}` has one entry per row: a bare value or array for a model with
//! one input, or an object with a value per input. The column form `{"inputs": ...}` has whole
//! tensors. V1 names no types, so they come from the model. Absent on purpose: `b64` objects (the
//! strings of ONNX are text), `:classify` and `:regress`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_data::{EncodeError, InvalidRequest, read, write_json, write_nested};
use super::tensor::{Dtype, Tensor, TensorData};
use super::v2_json::parse;

/// An input that the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputType<'a> {
    /// Its name.
    pub name: &'a str,
    /// Type of its values.
    pub dtype: Dtype,
}

/// Which of the two forms a request has; the answer has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `instances` and `predictions`, with the number of instances.
    Rows(usize),
    /// `inputs` and `outputs`.
    Columns,
}

/// A `:predict` request.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictRequest {
    /// Its form.
    pub form: Form,
    /// Input tensors, in the model's order where the request leaves a choice.
    pub inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct RawPredict<'a> {
    signature_name: Option<String>,
    #[serde(borrow)]
    instances: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/models/{model}:predict` for a model that takes `types`.
///
/// # Errors
/// [`InvalidRequest`] with one line for the client: the place, what was found, what was expected.
pub fn decode(body: &[u8], types: &[InputType<'_>]) -> Result<PredictRequest, InvalidRequest> {
    let raw: RawPredict<'_> = parse(body)?;
    if let Some(name) = raw.signature_name.as_deref().filter(|name| !matches!(*name, "" | "serving_default"))
    {
        return Err(InvalidRequest(format!(
            "signature_name {name:?} is unknown, expected \"serving_default\""
        )));
    }
    let found = match (raw.instances, raw.inputs) {
        (Some(instances), None) => rows(instances.get(), types),
        (None, Some(inputs)) => columns(inputs.get(), types),
        (Some(_), Some(_)) => {
            Err("\"instances\" and \"inputs\" are both there, expected one of them".to_owned())
        }
        (None, None) => {
            Err("expected \"instances\" (rows) or \"inputs\" (columns), found neither".to_owned())
        }
    };
    found.map_err(InvalidRequest)
}

fn rows(json: &str, types: &[InputType<'_>]) -> Result<PredictRequest, String> {
    let Some(inside) = json.strip_prefix('[') else {
        return Err(format!("\"instances\" must be an array, found {}", excerpt(json)));
    };
    let inputs = if inside.trim_ascii_start().starts_with('{') {
        named_rows(json, types)?
    } else {
        vec![whole(json, only(types, "each instance")?).map_err(|why| format!("\"instances\": {why}"))?]
    };
    let count = inputs.first().and_then(|tensor| tensor.shape().first()).copied().unwrap_or(0);
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(PredictRequest { form: Form::Rows(count), inputs }),
        _ => Err("\"instances\" is empty, expected one row at least".to_owned()),
    }
}

/// Rows that are objects: every instance adds its values to each input's tensor.
fn named_rows(json: &str, types: &[InputType<'_>]) -> Result<Vec<Tensor>, String> {
    let rows: Vec<Fields<'_>> = serde_json::from_str(json).map_err(|error| {
        format!("\"instances\": every instance must be an object like the first: {error}")
    })?;
    let mut columns: Vec<(TensorData, Option<Vec<i64>>)> =
        types.iter().map(|input| (TensorData::with_capacity(input.dtype, rows.len()), None)).collect();
    for (at, row) in rows.iter().enumerate() {
        row.only_knows(types).map_err(|why| format!("instances[{at}]: {why}"))?;
        for (input, (data, shape)) in types.iter().zip(&mut columns) {
            let value =
                row.get(input.name).ok_or_else(|| format!("instances[{at}]: {:?} is missing", input.name))?;
            let place = || format!("instances[{at}].{}", input.name);
            let found = read(value, data).map_err(|why| format!("{}: {why}", place()))?;
            match shape {
                None => *shape = Some(found),
                Some(first) if *first == found => {}
                Some(first) => {
                    return Err(format!("{}: shape {found:?}, the instances before have {first:?}", place()));
                }
            }
        }
    }
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    types
        .iter()
        .zip(columns)
        .map(|(input, (data, shape))| {
            let shape = std::iter::once(count).chain(shape.unwrap_or_default()).collect();
            Tensor::new(input.name, shape, data).map_err(|error| format!("{:?}: {error}", input.name))
        })
        .collect()
}

fn columns(json: &str, types: &[InputType<'_>]) -> Result<PredictRequest, String> {
    let inputs = if json.starts_with('{') {
        let fields: Fields<'_> =
            serde_json::from_str(json).map_err(|error| format!("\"inputs\": {error}"))?;
        fields.only_knows(types).map_err(|why| format!("\"inputs\": {why}"))?;
        types
            .iter()
            .map(|&input| {
                let value =
                    fields.get(input.name).ok_or_else(|| format!("inputs.{} is missing", input.name))?;
                whole(value, input).map_err(|why| format!("inputs.{}: {why}", input.name))
            })
            .collect::<Result<_, _>>()?
    } else {
        vec![whole(json, only(types, "\"inputs\"")?).map_err(|why| format!("\"inputs\": {why}"))?]
    };
    Ok(PredictRequest { form: Form::Columns, inputs })
}

/// The tensor whose shape is the nesting of `json`.
fn whole(json: &str, input: InputType<'_>) -> Result<Tensor, String> {
    let mut data = TensorData::with_capacity(input.dtype, 0);
    let shape = read(json, &mut data)?;
    Tensor::new(input.name, shape, data).map_err(|error| error.to_string())
}

fn only<'a>(types: &[InputType<'a>], what: &str) -> Result<InputType<'a>, String> {
    match types {
        [input] => Ok(*input),
        _ => {
            let names: Vec<_> = types.iter().map(|input| input.name).collect();
            Err(format!("the model has several inputs: {what} must be an object with {}", names.join(", ")))
        }
    }
}

fn excerpt(json: &str) -> String {
    json.chars().take(40).collect()
}

/// The fields of an object, in order, values unread; a name that stands twice is an error.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.get())
    }

    fn only_knows(&self, types: &[InputType<'_>]) -> Result<(), String> {
        let unknown = self.0.iter().find(|(field, _)| types.iter().all(|input| input.name != field));
        unknown.map_or(Ok(()), |(field, _)| {
            let names: Vec<_> = types.iter().map(|input| input.name).collect();
            Err(format!("unknown input {field:?}, the model has {}", names.join(", ")))
        })
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a value per input")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    if fields.iter().any(|(known, _)| *known == name.0) {
                        return Err(serde::de::Error::custom(format_args!("{:?} stands twice", name.0)));
                    }
                    fields.push((name.0, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A field name, borrowed from the body where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes the answer to a request of `form`: `{"predictions": [...]}` or `{"outputs": ...}`. A
/// single output stands bare, several stand as an object, as TensorFlow Serving has it.
///
/// # Errors
/// [`EncodeError::NotFinite`] when an output holds NaN or an infinity; [`EncodeError::NotRows`] when
/// rows were asked for and an output has not one row per instance.
pub fn encode(form: Form, outputs: &[Tensor]) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(256);
    match form {
        Form::Rows(count) => {
            let rows = outputs.iter().map(|tensor| Row::of(tensor, count)).collect::<Result<Vec<_>, _>>()?;
            out.extend_from_slice(b"{\"predictions\":[");
            for at in 0..count {
                if at > 0 {
                    out.push(b',');
                }
                named(&mut out, &rows, |row| row.tensor.name(), |out, row| row.write(out, at))?;
            }
            out.extend_from_slice(b"]}");
        }
        Form::Columns => {
            out.extend_from_slice(b"{\"outputs\":");
            named(&mut out, outputs, Tensor::name, |out, tensor| {
                write_nested(out, tensor.name(), tensor.shape(), tensor.data(), 0)
            })?;
            out.push(b'}');
        }
    }
    Ok(out)
}

/// One item bare, several as an object by name.
fn named<T>(
    out: &mut Vec<u8>,
    items: &[T],
    name: impl Fn(&T) -> &str,
    mut write: impl FnMut(&mut Vec<u8>, &T) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    if let [item] = items {
        return write(out, item);
    }
    out.push(b'{');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json(out, name(item));
        out.push(b':');
        write(out, item)?;
    }
    out.push(b'}');
    Ok(())
}

/// An output cut into rows.
struct Row<'a> {
    tensor: &'a Tensor,
    dims: &'a [i64],
    length: usize,
}

impl<'a> Row<'a> {
    fn of(tensor: &'a Tensor, count: usize) -> Result<Self, EncodeError> {
        match tensor.shape().split_first() {
            Some((&first, dims)) if usize::try_from(first) == Ok(count) => {
                Ok(Self { tensor, dims, length: tensor.data().len() / count.max(1) })
            }
            _ => Err(EncodeError::NotRows {
                output: tensor.name().to_owned(),
                shape: tensor.shape().to_vec(),
                rows: count,
            }),
        }
    }

    fn write(&self, out: &mut Vec<u8>, at: usize) -> Result<(), EncodeError> {
        write_nested(out, self.tensor.name(), self.dims, self.tensor.data(), at * self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: InputType<'_> = InputType { name: "x", dtype: Dtype::Fp32 };
    const K: InputType<'_> = InputType { name: "k", dtype: Dtype::Int64 };

    fn message(body: &str, types: &[InputType<'_>]) -> String {
        decode(body.as_bytes(), types).unwrap_err().to_string()
    }

    fn tensor(name: &str, shape: &[i64], data: TensorData) -> Tensor {
        Tensor::new(name, shape.to_vec(), data).unwrap()
    }

    #[test]
    fn rows_of_one_input_may_be_bare_or_named() {
        for body in [r#"{"instances":[[1,2],[3,4]]}"#, r#"{"instances": [ {"x":[1,2]}, {"x":[3,4]}]}"#] {
            let request = decode(body.as_bytes(), &[X]).unwrap();
            assert_eq!(request.form, Form::Rows(2));
            assert_eq!(request.inputs, [tensor("x", &[2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0]))]);
        }
        let scalars = decode(br#"{"signature_name":"serving_default","instances":[1,2,3]}"#, &[X]).unwrap();
        assert_eq!(scalars.inputs[0].shape(), [3]);
    }

    #[test]
    fn rows_of_several_inputs_are_objects() {
        let request = decode(br#"{"instances":[{"k":1,"x":[1,2]},{"x":[3,4],"k":2}]}"#, &[X, K]).unwrap();
        assert_eq!(request.inputs[0].shape(), [2, 2]);
        assert_eq!(request.inputs[1], tensor("k", &[2], TensorData::Int64(vec![1, 2])));
    }

    #[test]
    fn columns_are_whole_tensors() {
        let request = decode(br#"{"inputs":[[1,2]]}"#, &[X]).unwrap();
        assert_eq!((request.form, request.inputs[0].shape()), (Form::Columns, &[1, 2][..]));
        let request = decode(br#"{"inputs":{"k":[7],"x":[[1,2]]}}"#, &[X, K]).unwrap();
        assert_eq!(request.inputs[1], tensor("k", &[1], TensorData::Int64(vec![7])));
    }

    #[test]
    fn every_mistake_is_named() {
        assert!(message("{}", &[X]).contains("found neither"));
        assert!(message(r#"{"instances":[1],"inputs":[1]}"#, &[X]).contains("both"));
        assert!(message(r#"{"instances":[]}"#, &[X]).contains("empty"));
        assert!(message(r#"{"instances":5}"#, &[X]).contains("must be an array"));
        assert!(message(r#"{"instances":[[1],[2,3]]}"#, &[X]).contains("different lengths"));
        assert!(message(r#"{"instances":[1]}"#, &[X, K]).contains("several inputs"));
        assert!(message(r#"{"instances":[{"x":1}]}"#, &[X, K]).contains("instances[0]: \"k\" is missing"));
        assert!(message(r#"{"instances":[{"y":1}]}"#, &[X]).contains("unknown input \"y\", the model has x"));
        assert!(message(r#"{"instances":[{"x":1,"x":2}]}"#, &[X]).contains("\"x\" stands twice"));
        assert!(message(r#"{"instances":[{"x":1},2]}"#, &[X]).contains("must be an object like the first"));
        assert!(
            message(r#"{"instances":[{"x":[1]},{"x":[1,2]}]}"#, &[X]).contains("instances[1].x: shape [2]")
        );
        assert!(message(r#"{"inputs":{"x":["a"]}}"#, &[X]).starts_with("inputs.x: value 0 is \"a\""));
        assert!(message(r#"{"signature_name":"s","inputs":1}"#, &[X]).contains("signature_name"));
    }

    #[test]
    fn answers_have_the_form_of_the_request() {
        let y = tensor("y", &[2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0]));
        let label = tensor("label", &[2], TensorData::Int64(vec![0, 1]));
        let text = |form, outputs: &[Tensor]| String::from_utf8(encode(form, outputs).unwrap()).unwrap();
        let y_only = [y.clone()];
        assert_eq!(text(Form::Rows(2), &y_only), r#"{"predictions":[[1.0,2.0],[3.0,4.0]]}"#);
        assert_eq!(text(Form::Columns, &y_only), r#"{"outputs":[[1.0,2.0],[3.0,4.0]]}"#);
        let both = [y, label];
        assert_eq!(
            text(Form::Rows(2), &both),
            r#"{"predictions":[{"y":[1.0,2.0],"label":0},{"y":[3.0,4.0],"label":1}]}"#
        );
        assert_eq!(text(Form::Columns, &both), r#"{"outputs":{"y":[[1.0,2.0],[3.0,4.0]],"label":[0,1]}}"#);
        assert!(matches!(encode(Form::Rows(3), &both), Err(EncodeError::NotRows { rows: 3, .. })));
    }
}
