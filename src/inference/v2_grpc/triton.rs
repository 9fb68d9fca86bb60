//! Triton's extensions: the configuration and statistics of models, and the repository.
//!
//! Of a configuration only what an ONNX model in process has is here; readers take what is absent for
//! its default. The same types serve the REST form, as `serde` writes them.

use prost::Message;
use serde::Serialize;

use crate::inference::tensor::Dtype;

/// `ModelConfigResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelConfigAnswer {
    /// The configuration.
    #[prost(message, optional, tag = "1")]
    pub config: Option<ModelConfig>,
}

/// `ModelConfig`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelConfig {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What runs it.
    #[prost(string, tag = "2")]
    pub platform: String,
    /// The same, under its newer name.
    #[prost(string, tag = "17")]
    pub backend: String,
    /// Rows that are run at once at most; 0 where the first dimension is no batch.
    #[prost(int32, tag = "4")]
    pub max_batch_size: i32,
    /// What it takes.
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<ModelInput>,
    /// What it gives.
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<ModelOutput>,
    /// How requests are put together, where they are.
    #[prost(message, optional, tag = "11")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    /// Sessions.
    #[prost(message, repeated, tag = "7")]
    pub instance_group: Vec<InstanceGroup>,
    /// Name of the file in the version's folder.
    #[prost(string, tag = "8")]
    pub default_model_filename: String,
    /// How requests and answers come.
    #[prost(message, optional, tag = "19")]
    pub model_transaction_policy: Option<TransactionPolicy>,
}

/// `ModelInput`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelInput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type of its values: Triton's `DataType`.
    #[prost(int32, tag = "2")]
    #[serde(serialize_with = "data_type_name")]
    pub data_type: i32,
    /// Its dimensions, -1 for any length; without the first one where that is the batch.
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
}

/// `ModelOutput`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelOutput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type of its values: Triton's `DataType`.
    #[prost(int32, tag = "2")]
    #[serde(serialize_with = "data_type_name")]
    pub data_type: i32,
    /// Its dimensions, as of a [`ModelInput`].
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

/// `ModelDynamicBatching`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct DynamicBatching {
    /// Batches that are waited for.
    #[prost(int32, repeated, tag = "1")]
    pub preferred_batch_size: Vec<i32>,
    /// How long a request waits for others at most.
    #[prost(uint64, tag = "2")]
    pub max_queue_delay_microseconds: u64,
}

/// `ModelInstanceGroup`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct InstanceGroup {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where it runs: 2 is `KIND_CPU`.
    #[prost(int32, tag = "4")]
    #[serde(serialize_with = "kind_name")]
    pub kind: i32,
    /// How many sessions.
    #[prost(int32, tag = "2")]
    pub count: i32,
}

/// `KIND_CPU`.
pub const KIND_CPU: i32 = 2;

/// `ModelTransactionPolicy`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct TransactionPolicy {
    /// Whether a request may have any number of answers.
    #[prost(bool, tag = "1")]
    pub decoupled: bool,
}

/// Triton's number of a type.
pub fn data_type(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::Bool => 1,
        Dtype::Uint8 => 2,
        Dtype::Uint16 => 3,
        Dtype::Uint32 => 4,
        Dtype::Uint64 => 5,
        Dtype::Int8 => 6,
        Dtype::Int16 => 7,
        Dtype::Int32 => 8,
        Dtype::Int64 => 9,
        Dtype::Fp16 => 10,
        Dtype::Fp32 => 11,
        Dtype::Fp64 => 12,
        Dtype::Bytes => 13,
        Dtype::Bf16 => 14,
    }
}

/// `TYPE_FP32` and its like, as protobuf's JSON has enums.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn data_type_name<S: serde::Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    let found = Dtype::ALL.into_iter().find(|dtype| data_type(*dtype) == *number);
    match found {
        Some(Dtype::Bytes) => to.serialize_str("TYPE_STRING"),
        Some(dtype) => to.collect_str(&format_args!("TYPE_{dtype}")),
        None => to.serialize_str("TYPE_INVALID"),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn kind_name<S: serde::Serializer>(kind: &i32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(if *kind == KIND_CPU { "KIND_CPU" } else { "KIND_AUTO" })
}

/// `ModelStatisticsResponse`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct StatisticsAnswer {
    /// One for each version.
    #[prost(message, repeated, tag = "1")]
    pub model_stats: Vec<ModelStatistics>,
}

/// `ModelStatistics`: what a version has done since it was loaded.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelStatistics {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// When it last ran, in milliseconds since 1970; 0 for never.
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    /// Rows that were answered.
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    /// Runs of the model; fewer than rows, where they are put together.
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    /// Where requests spent their time.
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<InferStatistics>,
    /// Where runs spent their time, by the number of rows in them.
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<BatchStatistics>,
}

/// `InferStatistics`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct InferStatistics {
    /// Requests that were answered, from their arrival to their answer.
    #[prost(message, optional, tag = "1")]
    pub success: Option<Spent>,
    /// Requests that failed.
    #[prost(message, optional, tag = "2")]
    pub fail: Option<Spent>,
    /// Waiting for a session.
    #[prost(message, optional, tag = "3")]
    pub queue: Option<Spent>,
    /// Putting inputs together.
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<Spent>,
    /// The model's own time.
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<Spent>,
    /// Taking outputs apart.
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<Spent>,
    /// Answers from a cache: there is none.
    #[prost(message, optional, tag = "7")]
    pub cache_hit: Option<Spent>,
    /// The same.
    #[prost(message, optional, tag = "8")]
    pub cache_miss: Option<Spent>,
}

/// `StatisticDuration`.
#[derive(Clone, Copy, PartialEq, Eq, Message, Serialize)]
pub struct Spent {
    /// How often.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// How long in all, in nanoseconds.
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

/// `InferBatchStatistics`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct BatchStatistics {
    /// Rows in a run.
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    /// Putting inputs together.
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<Spent>,
    /// The model's own time.
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<Spent>,
    /// Taking outputs apart.
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<Spent>,
}

/// `RepositoryIndexRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryIndexRequest {
    /// Which repository; empty for all.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// Whether only versions that are ready are asked for.
    #[prost(bool, tag = "2")]
    pub ready: bool,
}

/// `RepositoryIndexResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryIndexAnswer {
    /// Every version of every model.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

/// `RepositoryIndexResponse.ModelIndex`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelIndex {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version; empty where none is known.
    #[prost(string, tag = "2")]
    pub version: String,
    /// `READY`, `LOADING`, `UNAVAILABLE` or `UNLOADING`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Why it is in this state, where that needs a reason.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// `RepositoryModelLoadRequest` and `RepositoryModelUnloadRequest`, without their parameters.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RepositoryModelRequest {
    /// Which repository; empty for whichever has the model.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// The model.
    #[prost(string, tag = "2")]
    pub model_name: String,
}
