//! Requests as they go out: paths, headers and bodies, all made before the first one is sent.

mod chat;
mod tensors;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, TE};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::spec::{Format, RequestSpec};
use crate::inference::tensor::Tensor;

pub use chat::{prompts, with_prompt};

/// Where the binary extension says how long its JSON part is.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// One request's body, and what its answer should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The body.
    pub body: Bytes,
    /// Bytes of JSON before binary tensors.
    pub json_bytes: Option<usize>,
    /// Label of the row that it was made of.
    pub expected: Option<Box<str>>,
}

impl Sample {
    /// A body without a label.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), json_bytes: None, expected: None }
    }

    /// The header of this body alone.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.json_bytes.map(|length| (HEADER_LENGTH, HeaderValue::from(length)))
    }
}

/// A name as a part of a path (RFC 3986 section 2.1).
fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The path of this kind of request.
pub fn path(spec: &RequestSpec) -> String {
    let model = segment(spec.model.as_deref().unwrap_or_default());
    let version = spec.version.as_deref().map(|v| format!("/versions/{}", segment(v))).unwrap_or_default();
    match (&spec.path, spec.format) {
        (Some(path), _) => path.clone(),
        (None, Format::V2 | Format::V2Binary) => format!("/v2/models/{model}{version}/infer"),
        (None, Format::Grpc) => "/inference.GRPCInferenceService/ModelInfer".to_owned(),
        (None, Format::V1) => format!("/v1/models/{model}{version}:predict"),
        (None, Format::Chat | Format::ChatStream) => "/v1/chat/completions".to_owned(),
        (None, Format::Plain) => "/".to_owned(),
    }
}

/// The path of the metadata of this kind's model.
pub fn metadata_path(spec: &RequestSpec) -> String {
    let model = segment(spec.model.as_deref().unwrap_or_default());
    let version = spec.version.as_deref().map(|v| format!("/versions/{}", segment(v))).unwrap_or_default();
    format!("/v2/models/{model}{version}")
}

/// Headers that every request of this format has, its own ones last.
pub fn headers(spec: &RequestSpec, has_body: bool) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = match spec.format {
        Format::V2 | Format::V1 | Format::Chat => vec![(CONTENT_TYPE, JSON)],
        Format::V2Binary => vec![(CONTENT_TYPE, OCTETS)],
        Format::Grpc => grpc_headers().to_vec(),
        Format::ChatStream => vec![(CONTENT_TYPE, JSON), (ACCEPT, EVENTS)],
        Format::Plain if has_body => vec![(CONTENT_TYPE, JSON)],
        Format::Plain => Vec::new(),
    };
    headers.retain(|(name, _)| spec.headers.iter().all(|(own, _)| own != name));
    headers.extend(spec.headers.iter().cloned());
    headers
}

/// Headers of every gRPC call.
pub fn grpc_headers() -> [(HeaderName, HeaderValue); 2] {
    [(CONTENT_TYPE, GRPC), (TE, HeaderValue::from_static("trailers"))]
}

/// The request that carries these tensors.
///
/// # Errors
/// One line that says what cannot be carried.
pub fn tensors(spec: &RequestSpec, inputs: &[Tensor]) -> Result<Sample, String> {
    match spec.format {
        Format::V2Binary => tensors::binary(inputs),
        Format::Grpc => tensors::grpc(
            spec.model.as_deref().unwrap_or_default(),
            spec.version.as_deref().unwrap_or_default(),
            inputs,
        ),
        _ => tensors::json(inputs),
    }
}

/// The request that carries these instances by V1.
pub fn instances(rows: Vec<Value>) -> Sample {
    Sample::new(json!({ "instances": rows }).to_string())
}
