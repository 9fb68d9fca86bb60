//! What a model is and has done, as the protocols' documents; those of the Open Inference Protocol are
//! the messages of its gRPC form, which REST writes as JSON.

use serde_json::{Value, json};

use crate::inference::tensor::Dtype;
use crate::inference::v2_grpc::about::{ModelMetadata, TensorMetadata};
use crate::inference::v2_grpc::triton::{
    BatchStatistics, DynamicBatching, InferStatistics, InstanceGroup, KIND_CPU, ModelConfig, ModelInput,
    ModelOutput, ModelStatistics, Spent, StatisticsAnswer, TransactionPolicy, data_type,
};

use super::engine::{Engine, State};
use super::error::EngineError;
use super::family::Family;
use super::signature::{Dim, Signature, Slot};
use super::statistics::Timed;

/// "Model Metadata" of the Open Inference Protocol v2. The versions are those that may be asked for.
pub(super) fn metadata(
    model: &str,
    family: Option<&Family>,
    engine: &Engine,
) -> Result<ModelMetadata, EngineError> {
    let signature = engine.signature()?;
    let tensors = |slots: &[Slot]| {
        let one = |slot: &Slot| TensorMetadata {
            name: slot.name.clone(),
            datatype: slot.dtype.name().to_owned(),
            shape: slot.shape(),
        };
        slots.iter().map(one).collect()
    };
    let versions = family.map_or_else(|| vec![engine.spec().version], Family::ready_versions);
    Ok(ModelMetadata {
        name: model.to_owned(),
        versions: versions.iter().map(u64::to_string).collect(),
        platform: "onnxruntime_onnx".to_owned(),
        inputs: tensors(&signature.inputs),
        outputs: tensors(&signature.outputs),
    })
}

/// Triton's "Model Configuration". Where requests are put together, the first dimension is the batch
/// and left out, as Triton has it.
pub(super) fn config(model: &str, engine: &Engine) -> Result<ModelConfig, EngineError> {
    let (signature, spec) = (engine.signature()?, engine.spec());
    let mut slots = signature.inputs.iter().chain(&signature.outputs);
    let batches = spec.max_batch_size > 1 && slots.all(|slot| matches!(slot.dims.first(), Some(Dim::Any(_))));
    let dims = |slot: &Slot| slot.shape().split_off(usize::from(batches));
    let micros = u64::try_from(spec.max_queue_delay.as_micros()).unwrap_or(u64::MAX);
    Ok(ModelConfig {
        name: model.to_owned(),
        platform: "onnxruntime_onnx".to_owned(),
        backend: "onnxruntime".to_owned(),
        max_batch_size: if batches { i32::try_from(spec.max_batch_size).unwrap_or(i32::MAX) } else { 0 },
        input: signature
            .inputs
            .iter()
            .map(|slot| ModelInput {
                name: slot.name.clone(),
                data_type: data_type(slot.dtype),
                dims: dims(slot),
            })
            .collect(),
        output: signature
            .outputs
            .iter()
            .map(|slot| ModelOutput {
                name: slot.name.clone(),
                data_type: data_type(slot.dtype),
                dims: dims(slot),
            })
            .collect(),
        dynamic_batching: batches.then(|| DynamicBatching {
            preferred_batch_size: Vec::new(),
            max_queue_delay_microseconds: micros,
        }),
        instance_group: vec![InstanceGroup {
            name: model.to_owned(),
            kind: KIND_CPU,
            count: i32::try_from(spec.instances).unwrap_or(i32::MAX),
        }],
        default_model_filename: "model.onnx".to_owned(),
        model_transaction_policy: Some(TransactionPolicy { decoupled: false }),
    })
}

/// Triton's "Statistics", of every version of `family`, or of `engine` alone.
pub(super) fn statistics(model: &str, family: Option<&Family>, engine: &Engine) -> StatisticsAnswer {
    let model_stats = match family {
        Some(family) => family.engines().iter().map(|engine| version_statistics(model, engine)).collect(),
        None => vec![version_statistics(model, engine)],
    };
    StatisticsAnswer { model_stats }
}

/// What one version has done, in Triton's form, for a model that clients call `model`.
pub fn version_statistics(model: &str, engine: &Engine) -> ModelStatistics {
    let found = engine.statistics();
    let spent = |timed: Timed| Some(Spent { count: timed.count, ns: timed.ns });
    let batch = |batch: &super::statistics::BatchStatistics| BatchStatistics {
        batch_size: batch.size,
        compute_input: spent(batch.compute_input),
        compute_infer: spent(batch.compute_infer),
        compute_output: spent(batch.compute_output),
    };
    ModelStatistics {
        name: model.to_owned(),
        version: engine.spec().version.to_string(),
        last_inference: found.last_inference_ms,
        inference_count: found.inferences,
        execution_count: found.executions,
        inference_stats: Some(InferStatistics {
            success: spent(found.success),
            fail: spent(found.fail),
            queue: spent(found.queue),
            compute_input: spent(found.compute_input),
            compute_infer: spent(found.compute_infer),
            compute_output: spent(found.compute_output),
            cache_hit: spent(Timed::default()),
            cache_miss: spent(Timed::default()),
        }),
        batch_stats: found.batches.iter().map(batch).collect(),
    }
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
