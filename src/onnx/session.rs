//! One ONNX Runtime session: loading, warming up and running it. Everything here blocks.
//!
//! A session is owned by one thread (`run` takes `&mut`). Values cross the border here: inputs move
//! into ONNX Runtime without a copy, outputs are copied out.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use ort::ErrorCode;
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue, SessionOutputs,
};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType};

use crate::inference::tensor::{Tensor, TensorData};

use super::abort::Abort;
use super::error::EngineError;
use super::queue::Runner;
use super::runtime::Runtime;
use super::signature::Signature;
use super::spec::EngineSpec;

/// Inputs of a model that takes more than this are not warmed up with zeros.
const WARM_UP_BYTES: usize = 256 * 1024 * 1024;

/// A loaded session.
pub(super) struct OnnxRunner {
    session: Session,
    /// Names of the inputs, in order.
    names: Vec<String>,
    /// Selects the outputs that can be served, and keeps the library from logging failed requests.
    options: RunOptions<HasSelectedOutputs>,
}

/// Loads the model of `spec` and runs it once. Ends early when `abort` says so.
///
/// # Errors
/// The reason, in one line that names the file.
pub(super) fn load(
    spec: &EngineSpec,
    runtime: &Runtime,
    abort: &Abort,
) -> Result<(Signature, OnnxRunner), String> {
    let path = spec.path();
    let about = |reason: &dyn std::fmt::Display| format!("{}: {}", path.display(), line(&reason.to_string()));
    // The library says of a folder or an unreadable file only that it failed.
    let mut first = [0];
    let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut first));
    if read.map_err(|error| about(&error))? == 0 {
        return Err(about(&"the file is empty"));
    }

    let mut builder = builder(spec, runtime).map_err(|error| about(&error))?;
    let canceler = builder.canceler();
    abort.when(move || drop(canceler.cancel()));
    let mut session = builder.commit_from_file(&path).map_err(|error| about(&error))?;
    let outlet = |outlet| {
        let outlet: &ort::value::Outlet = outlet;
        (outlet.name(), outlet.dtype())
    };
    let signature = Signature::new(session.inputs().iter().map(outlet), session.outputs().iter().map(outlet))
        .map_err(|error| about(&error))?;
    if !signature.hidden.is_empty() {
        tracing::warn!(model = %path.display(), hidden = ?signature.hidden, "outputs that are not tensors are left out");
    }
    warm_up(&mut session, &signature, abort).map_err(|error| about(&format!("warm-up: {error}")))?;

    let names = signature.inputs.iter().map(|slot| slot.name.clone()).collect();
    let options = options(&signature).map_err(|error| about(&error))?;
    Ok((signature, OnnxRunner { session, names, options }))
}

fn builder(spec: &EngineSpec, runtime: &Runtime) -> ort::Result<SessionBuilder> {
    // Spinning threads double the CPU that a request costs, beside a proxy that needs it.
    Ok(Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(spec.intra_op_threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_log_level(LogLevel::Warning)?)
}

fn options(signature: &Signature) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let names = signature.outputs.iter().map(|slot| slot.name.as_str());
    let mut options =
        RunOptions::new()?.with_outputs(names.fold(OutputSelector::no_default(), OutputSelector::with));
    // A request that fails is answered with the reason; a client must not fill the log.
    options.set_log_level(LogLevel::Fatal)?;
    Ok(options)
}

/// One run on zeros: the first run allocates and is many times slower than the next. Only a model for
/// which zeros must work is refused when they do not.
fn warm_up(session: &mut Session, signature: &Signature, abort: &Abort) -> Result<(), String> {
    let Some(zeros) = signature.zeros(WARM_UP_BYTES) else { return Ok(()) };
    let quiet = || {
        let mut options = RunOptions::new()?;
        options.set_log_level(LogLevel::Fatal)?;
        Ok(options)
    };
    let options = Arc::new(quiet().map_err(|error: ort::Error| error.to_string())?);
    let terminate = Arc::clone(&options);
    abort.when(move || drop(terminate.terminate()));
    let inputs = zeros
        .into_iter()
        .map(|tensor| {
            let (name, shape, data) = tensor.into_parts();
            Ok((name, into_ort(shape, data)?))
        })
        .collect::<ort::Result<Vec<_>>>()
        .map_err(|error| error.to_string())?;
    match session.run_with_options(inputs, &*options) {
        Ok(_) => Ok(()),
        Err(error) if signature.zeros_must_work() || abort.is_set() => Err(error.to_string()),
        Err(error) => {
            tracing::debug!(%error, "the model does not run on zeros of length 1");
            Ok(())
        }
    }
}

impl Runner for OnnxRunner {
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError> {
        let inputs = self
            .names
            .iter()
            .zip(inputs)
            .map(|(name, tensor)| {
                let (_, shape, data) = tensor.into_parts();
                Ok((Cow::from(name.as_str()), into_ort(shape, data)?))
            })
            .collect::<ort::Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>>>()
            .map_err(|error| failure(&error))?;
        let outputs = self.session.run_with_options(inputs, &self.options);
        from_ort(outputs.map_err(|error| failure(&error))?)
    }
}

/// ONNX Runtime's messages as one line.
fn line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failure(error: &ort::Error) -> EngineError {
    let message = line(error.message());
    match error.code() {
        ErrorCode::InvalidArgument => EngineError::Refused(message),
        _ => EngineError::Failed(message),
    }
}

fn into_ort(shape: Vec<i64>, data: TensorData) -> ort::Result<SessionInputValue<'static>> {
    Ok(match data {
        TensorData::Bool(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Uint8(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Uint16(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Uint32(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Uint64(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Int8(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Int16(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Int32(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Int64(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Fp16(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Fp32(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Fp64(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Bf16(values) => OrtTensor::from_array((shape, values))?.into(),
        TensorData::Bytes(texts) => OrtTensor::from_string_array((shape, texts.as_slice()))?.into(),
    })
}

fn from_ort(outputs: SessionOutputs<'_>) -> Result<Vec<Tensor>, EngineError> {
    outputs
        .into_iter()
        .map(|(name, value)| {
            let (shape, data) = copy(&value).map_err(|error| failure(&error))?;
            Tensor::new(name, shape, data)
                .map_err(|error| EngineError::Failed(format!("output {name:?}: {error}")))
        })
        .collect()
}

fn copy(value: &DynValue) -> ort::Result<(Vec<i64>, TensorData)> {
    macro_rules! values {
        ($kind:ident) => {{
            let (shape, values) = value.try_extract_tensor()?;
            (shape.to_vec(), TensorData::$kind(values.to_vec()))
        }};
    }
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Bool) => values!(Bool),
        Some(TensorElementType::Uint8) => values!(Uint8),
        Some(TensorElementType::Uint16) => values!(Uint16),
        Some(TensorElementType::Uint32) => values!(Uint32),
        Some(TensorElementType::Uint64) => values!(Uint64),
        Some(TensorElementType::Int8) => values!(Int8),
        Some(TensorElementType::Int16) => values!(Int16),
        Some(TensorElementType::Int32) => values!(Int32),
        Some(TensorElementType::Int64) => values!(Int64),
        Some(TensorElementType::Float16) => values!(Fp16),
        Some(TensorElementType::Float32) => values!(Fp32),
        Some(TensorElementType::Float64) => values!(Fp64),
        Some(TensorElementType::Bfloat16) => values!(Bf16),
        Some(TensorElementType::String) => {
            let (shape, texts) = value.try_extract_strings()?;
            (shape.to_vec(), TensorData::Bytes(texts))
        }
        _ => return Err(ort::Error::new(format!("an output is {}, not a tensor", value.dtype()))),
    })
}
