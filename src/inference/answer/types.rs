//! What an answer is, once understood, and what it is read from.

use super::json::Json;
use crate::inference::path::Api;
use crate::inference::protobuf_fields::NotProtobuf;
use crate::inference::tensor::Tensor;

/// Most gaps between tokens that one answer keeps; later ones are counted, not kept.
pub const MAX_GAPS: usize = 4096;

/// A request or answer as it came, to be read by [`super::read`] or [`super::read_request`].
#[derive(Debug, Clone, Copy)]
pub struct RawAnswer<'a> {
    /// API of the request's path.
    pub api: Api<'a>,
    /// HTTP status.
    pub status: u16,
    /// gRPC status, of a gRPC answer.
    pub grpc: Option<u8>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`; for gRPC, `grpc-encoding`.
    pub content_encoding: Option<&'a str>,
    /// `Inference-Header-Content-Length`: bytes of JSON before binary tensors.
    pub inference_header_length: Option<usize>,
    /// The whole body, as it came.
    pub body: &'a [u8],
    /// For streams: where each chunk of the body begins and when it came, in nanoseconds since the
    /// request was sent, in order. Empty when nobody watched.
    pub chunk_times: &'a [(usize, u64)],
}

/// A request's body as it came.
#[derive(Debug, Clone, Copy)]
pub struct RawRequest<'a> {
    /// API of the request's path.
    pub api: Api<'a>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`; for gRPC, `grpc-encoding`.
    pub content_encoding: Option<&'a str>,
    /// `Inference-Header-Content-Length`: bytes of JSON before binary tensors.
    pub inference_header_length: Option<usize>,
    /// The whole body, as it came.
    pub body: &'a [u8],
}

/// How much of a body is read. What is beyond is [`Undecodable::Limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body after decompression.
    pub decoded_bytes: usize,
    /// How deep JSON may be nested.
    pub depth: usize,
    /// Values in one JSON text, keys included. Binary tensors are bounded by their bytes.
    pub elements: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
    /// Tensors in one answer, and choices of one.
    pub outputs: usize,
    /// Messages of a gRPC stream, events of an SSE stream.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decoded_bytes: 16 << 20,
            depth: 64,
            elements: 1 << 20,
            string_bytes: 1 << 20,
            outputs: 1024,
            messages: 1 << 16,
        }
    }
}

/// An answer, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// gRPC status, of a gRPC answer.
    pub grpc: Option<u8>,
    /// What it says.
    pub content: Content,
    /// When its tokens came, of a stream that was watched.
    pub timing: Option<Timing>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// Open Inference Protocol v2, in JSON, binary or gRPC; and OpenAI embeddings.
    Tensors(Vec<Output>),
    /// V1 `:predict`: the whole object, with `predictions` or `outputs` in it.
    Predictions(Json),
    /// OpenAI chat, completions or responses, and Triton's `generate`; streams are put together.
    Chat(Chat),
    /// Other JSON.
    Json(Json),
    /// Other text.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
    /// An error that stands in the body though the status says success: an error event of a
    /// stream, or the error field of a gRPC stream.
    Error(String),
    /// Not what its API or content type says.
    Undecodable {
        /// Why.
        why: Undecodable,
        /// The body as it came.
        body: Vec<u8>,
    },
}

impl Content {
    /// What kind of content it is, as it stands in reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Tensors(_) => "tensors",
            Self::Predictions(_) => "predictions",
            Self::Chat(_) => "chat",
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Error(_) => "error",
            Self::Undecodable { .. } => "undecodable",
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It breaks its protocol.
    #[error("{0}")]
    Malformed(String),
    /// It goes beyond what is read here; that says nothing about the answer itself.
    #[error("beyond the limit of {0}")]
    Limit(&'static str),
}

impl Undecodable {
    /// It breaks its protocol, so.
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::Malformed(why.into())
    }
}

impl From<NotProtobuf> for Undecodable {
    fn from(error: NotProtobuf) -> Self {
        Self::malformed(error.to_string())
    }
}

/// A tensor of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Which message of a stream it came in, from 0; always 0 outside of streams.
    pub message: usize,
    /// The tensor.
    pub tensor: Tensor,
}

/// What a language model answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// The choices by index, each index once.
    pub choices: Vec<Choice>,
    /// Whether the answer came to its end: always for a whole JSON answer; a stream ends with
    /// `[DONE]`, or with the event that says so.
    pub done: bool,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its index.
    pub index: u64,
    /// The text, with a refusal where there is one.
    pub text: String,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// Calls of tools, in order. Their ids are random and left out.
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments: JSON as text, as the model wrote it.
    pub arguments: String,
}

/// When the tokens of a stream came. A token is an event that adds text or a tool's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// From sending the request to the first token, in nanoseconds.
    pub first_token_ns: Option<u64>,
    /// Between each token and the next one, in nanoseconds; the first [`MAX_GAPS`] of them.
    pub gaps_ns: Vec<u64>,
    /// How many tokens came.
    pub tokens: u64,
}
