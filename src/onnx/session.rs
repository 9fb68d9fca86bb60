//! One ONNX Runtime session: loading and running it. Everything here blocks.
//!
//! A session runs one inference at a time (`run` takes `&mut`). Values cross the border here: inputs move
//! into ONNX Runtime without a copy, outputs are copied out.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue, SessionOutputs,
};
use ort::value::{DynValue, Tensor as OrtTensor, TensorElementType};
use ort::{ErrorCode, ep};

use crate::inference::tensor::{Tensor, TensorData};

use super::abort::Abort;
use super::error::EngineError;
use super::inspect::line;
use super::lane::Runner;
use super::runtime::Runtime;
use super::signature::Signature;
#[cfg(any(feature = "cuda", feature = "tensorrt", feature = "openvino"))]
use super::spec::Provider;
use super::spec::{EngineSpec, Optimization};
use super::statistics::Took;

/// A loaded session.
pub(super) struct OnnxRunner {
    session: Session,
    /// Names of the inputs, in order.
    names: Vec<String>,
    options: Options,
}

/// Loads the model of `spec`. It, and every run of it before the abort is forgotten, ends early when
/// `abort` says so.
///
/// # Errors
/// The reason, in one line.
pub(super) fn load(
    spec: &EngineSpec,
    runtime: &Runtime,
    abort: &Abort,
) -> Result<(Signature, OnnxRunner), String> {
    let reason = |error: &dyn std::fmt::Display| line(&error.to_string());
    let mut builder = builder(spec, runtime)?;
    let canceler = builder.canceler();
    abort.when(move || drop(canceler.cancel()));
    let session = builder.commit_from_file(spec.path()).map_err(|error| reason(&error))?;
    let outlet = |outlet| {
        let outlet: &ort::value::Outlet = outlet;
        (outlet.name(), outlet.dtype())
    };
    let signature = Signature::new(session.inputs().iter().map(outlet), session.outputs().iter().map(outlet))
        .map_err(|error| reason(&error))?;
    if !signature.hidden.is_empty() {
        tracing::warn!(model = %spec.path().display(), hidden = ?signature.hidden, "outputs that are not tensors are left out");
    }
    let names = signature.inputs.iter().map(|slot| slot.name.clone()).collect();
    let options = Options::new(&signature).map_err(|error| reason(&error))?;
    if let Options::Plain(options) = &options {
        let terminate = Arc::clone(options);
        abort.when(move || drop(terminate.terminate()));
    }
    Ok((signature, OnnxRunner { session, names, options }))
}

fn builder(spec: &EngineSpec, runtime: &Runtime) -> Result<SessionBuilder, String> {
    let level = match spec.optimization {
        Optimization::None => GraphOptimizationLevel::Disable,
        Optimization::Basic => GraphOptimizationLevel::Level1,
        Optimization::Extended => GraphOptimizationLevel::Level2,
        Optimization::All => GraphOptimizationLevel::All,
    };
    let plain = || -> ort::Result<SessionBuilder> {
        Ok(Session::builder(runtime.environment())?
            .with_optimization_level(level)?
            .with_intra_threads(spec.intra_op_threads.max(1))?
            .with_inter_threads(1)?
            // Spinning threads double the CPU that a request costs, beside a proxy that needs it.
            .with_intra_op_spinning(spec.spinning)?
            .with_log_level(LogLevel::Warning)?)
    };
    let builder = plain().map_err(|error| line(error.message()))?;
    let name = spec.provider.as_str();
    if !spec.provider.is_built() {
        return Err(format!("this program was built without {name}: build it with --features {name}"));
    }
    let provided = builder.with_execution_providers(providers(spec));
    provided.map_err(|error| {
        let library = runtime.library().display();
        format!("provider {name}: {} (ONNX Runtime at {library})", line(error.message()))
    })
}

/// What runs the graph, in order of preference. One that the library lacks is an error: by itself the
/// library would take the processor and say nothing. What this program lacks was refused before.
fn providers(spec: &EngineSpec) -> Vec<ep::ExecutionProviderDispatch> {
    let cpu = ep::CPU::default().with_arena_allocator(spec.arena).build();
    let mut all: Vec<ep::ExecutionProviderDispatch> = Vec::with_capacity(3);
    #[cfg(feature = "tensorrt")]
    if spec.provider == Provider::TensorRt {
        all.push(ep::TensorRT::default().build().error_on_failure());
    }
    #[cfg(feature = "cuda")]
    if matches!(spec.provider, Provider::TensorRt | Provider::Cuda) {
        all.push(ep::CUDA::default().build().error_on_failure());
    }
    #[cfg(feature = "openvino")]
    if spec.provider == Provider::OpenVino {
        all.push(ep::OpenVINO::default().build().error_on_failure());
    }
    all.extend([cpu]);
    all
}

/// How a session is run. Requests that fail are answered with the reason, and must not fill the log,
/// so the library is told to keep quiet.
enum Options {
    /// Every output can be served.
    Plain(Arc<RunOptions>),
    /// Some cannot, and are left out. A run with these is not to be ended from another thread.
    Selected(RunOptions<HasSelectedOutputs>),
}

impl Options {
    fn new(signature: &Signature) -> ort::Result<Self> {
        let mut options = RunOptions::new()?;
        options.set_log_level(LogLevel::Fatal)?;
        if signature.hidden.is_empty() {
            return Ok(Self::Plain(Arc::new(options)));
        }
        let names = signature.outputs.iter().map(|slot| slot.name.as_str());
        let selector = names.fold(OutputSelector::no_default(), OutputSelector::with);
        Ok(Self::Selected(options.with_outputs(selector)))
    }
}

impl Runner for OnnxRunner {
    fn run(&mut self, inputs: Vec<Tensor>, took: &mut Took) -> Result<Vec<Tensor>, EngineError> {
        let start = Instant::now();
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
        let given = Instant::now();
        let outputs = match &self.options {
            Options::Plain(options) => self.session.run_with_options(inputs, &**options),
            Options::Selected(options) => self.session.run_with_options(inputs, options),
        };
        let ran = Instant::now();
        let outputs = from_ort(outputs.map_err(|error| failure(&error))?);
        took.input += given.saturating_duration_since(start);
        took.infer += ran.saturating_duration_since(given);
        took.output += ran.elapsed();
        outputs
    }
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
