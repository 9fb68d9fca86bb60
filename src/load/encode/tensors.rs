//! Tensors in the three forms of the Open Inference Protocol v2: JSON, JSON with binary tensors
//! behind it, and gRPC.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use super::Sample;
use crate::inference::protobuf::put_field;
use crate::inference::raw;
use crate::inference::tensor::{Tensor, TensorData};

/// `inputs` as JSON.
pub(super) fn json(inputs: &[Tensor]) -> Result<Sample, String> {
    let inputs = inputs
        .iter()
        .map(|tensor| {
            Ok(json!({
                "name": tensor.name(), "datatype": tensor.dtype().name(), "shape": tensor.shape(),
                "data": values(tensor)?,
            }))
        })
        .collect::<Result<Vec<Value>, String>>()?;
    Ok(Sample::new(json!({ "inputs": inputs }).to_string()))
}

fn values(tensor: &Tensor) -> Result<Value, String> {
    let floats = |values: &mut dyn Iterator<Item = f64>| {
        values
            .map(|v| match serde_json::Number::from_f64(v) {
                Some(number) => Ok(Value::Number(number)),
                None => Err(format!(
                    "input {:?} holds NaN or an infinity, which JSON cannot carry",
                    tensor.name()
                )),
            })
            .collect::<Result<Vec<Value>, String>>()
            .map(Value::Array)
    };
    Ok(match tensor.data() {
        TensorData::Bool(v) => json!(v),
        TensorData::Uint8(v) => json!(v),
        TensorData::Uint16(v) => json!(v),
        TensorData::Uint32(v) => json!(v),
        TensorData::Uint64(v) => json!(v),
        TensorData::Int8(v) => json!(v),
        TensorData::Int16(v) => json!(v),
        TensorData::Int32(v) => json!(v),
        TensorData::Int64(v) => json!(v),
        TensorData::Fp16(v) => floats(&mut v.iter().map(|v| v.to_f64()))?,
        // The shortest text of a single is not that of the double it becomes.
        TensorData::Fp32(v) => floats(&mut v.iter().map(|v| v.to_string().parse().unwrap_or(f64::NAN)))?,
        TensorData::Fp64(v) => floats(&mut v.iter().copied())?,
        TensorData::Bf16(v) => floats(&mut v.iter().map(|v| v.to_f64()))?,
        TensorData::Bytes(v) => json!(v),
    })
}

/// `inputs` as JSON with their values behind it, answers asked for in the same form.
pub(super) fn binary(inputs: &[Tensor]) -> Result<Sample, String> {
    let mut values = Vec::new();
    let mut described = Vec::with_capacity(inputs.len());
    for tensor in inputs {
        let before = values.len();
        raw::encode(tensor.data(), &mut values);
        described.push(json!({
            "name": tensor.name(), "datatype": tensor.dtype().name(), "shape": tensor.shape(),
            "parameters": { "binary_data_size": values.len() - before },
        }));
    }
    let head = json!({ "inputs": described, "parameters": { "binary_data_output": true } }).to_string();
    let mut body = BytesMut::with_capacity(head.len() + values.len());
    body.put_slice(head.as_bytes());
    body.put_slice(&values);
    Ok(Sample { json_bytes: Some(head.len()), ..Sample::new(body.freeze()) })
}

/// `inputs` as a `ModelInferRequest` in its frame; values go raw.
pub(super) fn grpc(model: &str, version: &str, inputs: &[Tensor]) -> Result<Sample, String> {
    let mut message = BytesMut::new();
    put_field(&mut message, 1, model.as_bytes());
    if !version.is_empty() {
        put_field(&mut message, 2, version.as_bytes());
    }
    for tensor in inputs {
        let mut input = BytesMut::new();
        put_field(&mut input, 1, tensor.name().as_bytes());
        put_field(&mut input, 2, tensor.dtype().name().as_bytes());
        let mut shape = BytesMut::new();
        tensor.shape().iter().for_each(|dim| put_varint(&mut shape, dim.cast_unsigned()));
        put_field(&mut input, 3, &shape);
        put_field(&mut message, 5, &input);
    }
    for tensor in inputs {
        let mut values = Vec::new();
        raw::encode(tensor.data(), &mut values);
        put_field(&mut message, 7, &values);
    }
    Ok(Sample::new(frame(&message)?))
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A message behind its five bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
fn frame(message: &[u8]) -> Result<Bytes, String> {
    let length = u32::try_from(message.len()).map_err(|_| "a gRPC message has at most 4 GiB".to_owned())?;
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(length);
    body.put_slice(message);
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::answer::{Content, Limits, RawRequest, read_request};
    use crate::inference::path::parse;

    fn inputs() -> Vec<Tensor> {
        vec![
            Tensor::new("x", vec![1, 3], TensorData::Fp32(vec![0.1, -2.0, 3.5])).unwrap(),
            Tensor::new("k", vec![2], TensorData::Int64(vec![-1, 1 << 40])).unwrap(),
            Tensor::new("s", vec![2], TensorData::Bytes(vec!["a".into(), "über".into()])).unwrap(),
        ]
    }

    /// What a server that speaks the protocol understands of it.
    fn understood(path: &str, content_type: &str, sample: &Sample) -> Vec<Tensor> {
        let raw = RawRequest {
            api: parse(path),
            content_type: Some(content_type),
            content_encoding: None,
            inference_header_length: sample.json_bytes,
            body: &sample.body,
        };
        match read_request(&raw, &Limits::default()) {
            Content::Tensors(found) => found.into_iter().map(|output| output.tensor).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_is_understood_as_the_same_tensors() {
        let inputs = inputs();
        let json = understood("/v2/models/m/infer", "application/json", &json(&inputs).unwrap());
        assert_eq!(json, inputs);
        let binary = understood("/v2/models/m/infer", "application/octet-stream", &binary(&inputs).unwrap());
        assert_eq!(binary, inputs);
        let path = "/inference.GRPCInferenceService/ModelInfer";
        assert_eq!(understood(path, "application/grpc", &grpc("m", "2", &inputs).unwrap()), inputs);
    }

    #[test]
    fn what_json_cannot_carry_is_refused_by_name() {
        let nan = [Tensor::new("x", vec![1], TensorData::Fp32(vec![f32::NAN])).unwrap()];
        assert!(json(&nan).unwrap_err().contains("\"x\" holds NaN"));
        assert!(binary(&nan).is_ok());
    }
}
