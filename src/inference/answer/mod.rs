//! Answers understood: what a model said, whichever protocol and coding carried it.
//!
//! [`read()`] takes the bytes of an answer and the API of its request and gives an [`Answer`]:
//! tensors (Open Inference Protocol v2 in JSON, binary or gRPC), V1 predictions, what a language
//! model said (also in a stream, with the times of its tokens), other JSON, text or bytes. It is
//! for comparison only and off the path of the answer. Everything is bounded by [`Limits`]; what
//! cannot be read is kept as bytes with the reason. Pure: bytes in, data out.

mod chat;
mod elements;
mod embeddings;
mod grpc;
mod json;
mod read;
mod reader;
mod render;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
mod types;
mod v2;

pub use elements::numbers;
pub use json::{Json, index};
pub use read::{read, read_request};
pub use render::{element, to_json};
pub use types::{
    Answer, Chat, Choice, Content, Limits, MAX_GAPS, Output, RawAnswer, RawRequest, Timing, ToolCall,
    Undecodable,
};

/// The JSON value that `text` is, NaN and infinities included.
///
/// # Errors
/// [`Undecodable`] when it is no JSON or goes beyond `limits`.
pub fn parse_json(text: &[u8], limits: &Limits) -> Result<Json, Undecodable> {
    reader::Reader::read(text, limits)
}
