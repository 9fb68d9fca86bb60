//! What a model is, as the protocols' metadata documents.

use serde_json::{Value, json};

use crate::inference::tensor::Dtype;

use super::engine::State;
use super::signature::{Dim, Signature, Slot};

/// `GET /v2/models/{model}` (Open Inference Protocol v2, "Model Metadata").
pub(super) fn v2_metadata(model: &str, version: &str, signature: &Signature) -> Value {
    let slots = |slots: &[Slot]| -> Vec<Value> {
        let one =
            |slot: &Slot| json!({"name": slot.name, "datatype": slot.dtype.name(), "shape": slot.shape()});
        slots.iter().map(one).collect()
    };
    json!({
        "name": model,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": slots(&signature.inputs),
        "outputs": slots(&signature.outputs),
    })
}

/// `GET /v2/models/{model}/ready` (Open Inference Protocol v2, "Model Ready").
pub(super) fn v2_ready(model: &str, state: &State) -> Value {
    with_error(json!({"name": model, "ready": *state == State::Ready}), state)
}

/// `GET /v1/models/{model}`: TensorFlow Serving's version status and KServe's `ready` in one.
pub(super) fn v1_status(model: &str, version: &str, state: &State) -> Value {
    let (name, code, message) = match state {
        State::Ready => ("AVAILABLE", "OK", ""),
        State::Loading => ("LOADING", "OK", ""),
        State::Unavailable { reason } => ("END", "UNKNOWN", &**reason),
    };
    let status = json!({
        "version": version,
        "state": name,
        "status": {"error_code": code, "error_message": message},
    });
    let ready = *state == State::Ready;
    with_error(json!({"name": model, "ready": ready, "model_version_status": [status]}), state)
}

/// `GET /v1/models/{model}/metadata`, as TensorFlow Serving has it.
pub(super) fn v1_metadata(model: &str, version: &str, signature: &Signature) -> Value {
    let slots = |slots: &[Slot]| -> Value {
        let dim = |dim: &Dim| match dim {
            Dim::Fixed(length) => json!({"size": length.to_string(), "name": ""}),
            Dim::Any(symbol) => json!({"size": "-1", "name": symbol}),
        };
        let one = |slot: &Slot| {
            let dims: Vec<Value> = slot.dims.iter().map(dim).collect();
            let shape = json!({"dim": dims, "unknown_rank": false});
            let about = json!({"dtype": v1_dtype(slot.dtype), "tensor_shape": shape, "name": slot.name});
            (slot.name.clone(), about)
        };
        slots.iter().map(one).collect::<serde_json::Map<_, _>>().into()
    };
    let serving_default = json!({
        "inputs": slots(&signature.inputs),
        "outputs": slots(&signature.outputs),
        "method_name": "tensorflow/serving/predict",
    });
    json!({
        "model_spec": {"name": model, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {"serving_default": serving_default}}},
    })
}

/// A document about a model that is not ready is an error body as well.
fn with_error(mut document: Value, state: &State) -> Value {
    let error = match state {
        State::Ready => None,
        State::Loading => Some("the model is being loaded".to_owned()),
        State::Unavailable { reason } => Some(format!("the model is unavailable: {reason}")),
    };
    if let (Some(error), Some(fields)) = (error, document.as_object_mut()) {
        fields.insert("error".to_owned(), error.into());
    }
    document
}

/// TensorFlow's names of the types.
fn v1_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bool => "DT_BOOL",
        Dtype::Uint8 => "DT_UINT8",
        Dtype::Uint16 => "DT_UINT16",
        Dtype::Uint32 => "DT_UINT32",
        Dtype::Uint64 => "DT_UINT64",
        Dtype::Int8 => "DT_INT8",
        Dtype::Int16 => "DT_INT16",
        Dtype::Int32 => "DT_INT32",
        Dtype::Int64 => "DT_INT64",
        Dtype::Fp16 => "DT_HALF",
        Dtype::Fp32 => "DT_FLOAT",
        Dtype::Fp64 => "DT_DOUBLE",
        Dtype::Bytes => "DT_STRING",
        Dtype::Bf16 => "DT_BFLOAT16",
    }
}
