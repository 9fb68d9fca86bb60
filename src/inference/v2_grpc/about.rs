//! Messages about servers and models. The same types serve the REST form, as `serde` writes them.

use prost::Message;
use serde::Serialize;

/// Asks for nothing (`ServerLiveRequest` and its like), or says nothing (`RepositoryModelLoadResponse`).
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Nothing {}

/// `ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct YesOrNo {
    /// The answer.
    #[prost(bool, tag = "1")]
    pub yes: bool,
}

/// `ServerMetadataResponse`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ServerMetadata {
    /// Name of the server.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Extensions of the protocol that it knows.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// A model and maybe a version of it: `ModelReadyRequest`, `ModelMetadataRequest`,
/// `ModelConfigRequest` and `ModelStatisticsRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ModelAndVersion {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version; empty for whichever the server chooses, or for all.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `ModelMetadataResponse`.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct ModelMetadata {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Versions that can be asked for.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// What runs it.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// What it takes.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<TensorMetadata>,
    /// What it gives.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<TensorMetadata>,
}

/// An input or output.
#[derive(Clone, PartialEq, Eq, Message, Serialize)]
pub struct TensorMetadata {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type of its values, under the protocol's name.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its dimensions, -1 for any length.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}
