//! What is taken of a request and of its answers to compare them: bodies as they passed, and what
//! says how to read them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header, request};

use crate::wire::grpc;

/// Bytes of JSON before binary tensors (OIP v2 binary extension).
const INFERENCE_HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Encoding of gRPC messages.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What says how a body is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// `Content-Type`.
    pub content_type: Option<Box<str>>,
    /// `Content-Encoding`, or of gRPC `grpc-encoding`.
    pub content_encoding: Option<Box<str>>,
    /// `Inference-Header-Content-Length`.
    pub inference_header_length: Option<usize>,
}

/// A request that is mirrored, as far as a comparison wants it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method.
    pub method: http::Method,
    /// Path, without its query.
    pub path: Box<str>,
    /// `x-request-id`, as both legs have it.
    pub request_id: Option<Box<str>>,
    /// How its body is to be read.
    pub form: Form,
    /// Its body, in pieces.
    pub body: Vec<Bytes>,
}

/// One whole answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// gRPC status, of a gRPC answer.
    pub grpc: Option<u8>,
    /// How its body is to be read.
    pub form: Form,
    /// Its body, in pieces.
    pub body: Vec<Bytes>,
    /// Of an event stream: where each chunk begins and when it came, in nanoseconds since the leg
    /// began.
    pub times: Vec<(usize, u64)>,
}

impl Form {
    /// What the fields of a message say.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().into())
        };
        let length = headers.get(&INFERENCE_HEADER_LENGTH).and_then(|value| value.to_str().ok());
        let encoding = if grpc::is_grpc(headers) { GRPC_ENCODING } else { header::CONTENT_ENCODING };
        Self {
            content_type: text(&header::CONTENT_TYPE),
            content_encoding: text(&encoding),
            inference_header_length: length.and_then(|value| value.trim().parse().ok()),
        }
    }

    /// Whether it is a stream of server-sent events.
    pub fn is_event_stream(&self) -> bool {
        self.content_type.as_ref().is_some_and(|value| value.starts_with("text/event-stream"))
    }
}

impl Asked {
    /// The request of `head`; its body comes with [`super::pair::Pairing::asked`].
    pub fn of(head: &request::Parts) -> Self {
        let id = head.headers.get(crate::wire::forward::X_REQUEST_ID).and_then(|id| id.to_str().ok());
        Self {
            method: head.method.clone(),
            path: head.uri.path().into(),
            request_id: id.map(Into::into),
            form: Form::of(&head.headers),
            body: Vec::new(),
        }
    }
}
