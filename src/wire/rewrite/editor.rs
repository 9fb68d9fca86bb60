//! One editing of one body, whatever its format.

use bytes::{Bytes, BytesMut};

use super::grpc::GrpcEdit;
use super::json::JsonEdit;
use super::out::Out;
use super::sse::SseEdit;
use crate::base::Fault;

/// Edits a body: chunks in, pieces out. Made by [`super::Rewriter::request`] and
/// [`super::Restore::response`]; holds the value of one name at most, and a compressed gRPC
/// message of at most 64 MiB.
#[derive(Debug)]
pub struct Editor {
    format: Format,
    out: Out,
    growth: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Format {
    Json(JsonEdit),
    Sse(SseEdit),
    Grpc(GrpcEdit),
}

impl Editor {
    /// An editor whose output is longer than its input by `growth` bytes, if that is known.
    pub(super) fn new(format: Format, growth: Option<u64>) -> Self {
        Self { format, out: Out::default(), growth }
    }

    /// By how many bytes the edited body is longer than the one it is made of, where that is known
    /// in advance. It is whenever the body's length was declared and still is.
    pub fn growth(&self) -> Option<u64> {
        self.growth
    }

    /// Takes the next chunk. Call [`Editor::pop`] until it has no more before the next one, or
    /// what is edited is queued without limit.
    ///
    /// # Errors
    /// A [`Fault`] when a compressed gRPC message cannot be unpacked.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Fault> {
        self.out.start(chunk);
        match &mut self.format {
            Format::Json(edit) => edit.push(&mut self.out),
            Format::Sse(edit) => edit.push(&mut self.out),
            Format::Grpc(edit) => edit.push(&mut self.out)?,
        }
        self.out.pass_rest();
        Ok(())
    }

    /// The body has ended; pieces may still come.
    pub fn finish(&mut self) {
        match &mut self.format {
            Format::Json(edit) => edit.finish(&mut self.out),
            Format::Sse(edit) => edit.finish(&mut self.out),
            Format::Grpc(edit) => edit.finish(&mut self.out),
        }
    }

    /// The next edited piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.out.pop()
    }

    /// Bytes that wait to be popped.
    pub fn queued(&self) -> usize {
        self.out.queued()
    }

    /// Edits a whole body at once. Nothing is padded: the caller sets `Content-Length` to the
    /// length of the result, or removes it. (The JSON head of OIP's binary extension is the
    /// exception: the length of it is already declared.)
    ///
    /// # Errors
    /// Those of [`Editor::push`].
    pub fn edit_complete(mut self, body: Bytes) -> Result<Bytes, Fault> {
        if let Format::Json(edit) = &mut self.format {
            edit.unpad();
        }
        self.push(body)?;
        self.finish();
        let mut pieces = std::iter::from_fn(|| self.out.pop());
        let first = pieces.next().unwrap_or_default();
        let Some(second) = pieces.next() else { return Ok(first) };
        let mut all = BytesMut::from(first);
        all.extend_from_slice(&second);
        pieces.for_each(|piece| all.extend_from_slice(&piece));
        Ok(all.freeze())
    }
}
