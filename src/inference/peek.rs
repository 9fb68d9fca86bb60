//! Reading a request body ahead, just as far as routing needs it.
//!
//! The caller feeds chunks as they arrive (and keeps them, to send them on) until the answer is
//! there. Of a name that occurs twice the first one counts: what follows it is not read, and the
//! rewriting of names changes every one. What cannot be read — compressed, malformed, too long — is absent, never an error: the
//! request is then routed without it, and its server says what is wrong with it.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};

use super::json_scan::{Field, Mark, Scanner};
use super::path::Api;
use super::pointer;
use super::protobuf::{Find, find_string, find_string_in_order};

/// What must be known of a body before its request can be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The string at the top-level key `model` of a JSON object: the OpenAI API.
    JsonModel,
    /// A string field of the first gRPC message.
    GrpcString {
        /// Its field number.
        field: u32,
        /// Whether it is absent once a field with a higher number is met.
        in_order: bool,
    },
    /// The scalar at a JSON pointer (RFC 6901). Needs the whole body.
    JsonPointer(Arc<str>),
}

impl Need {
    /// What must be read to know the model that a request of `api` names. Where the path names it,
    /// or nothing does, that is [`Need::Nothing`].
    pub fn model_of(api: &Api<'_>) -> Self {
        match api {
            Api::OpenAi(_) => Self::JsonModel,
            Api::Grpc(method) => match method.request_fields() {
                Some(fields) => Self::GrpcString { field: fields.model, in_order: false },
                None => Self::Nothing,
            },
            Api::V2(_) | Api::V1(_) | Api::GrpcServer(_) | Api::Server | Api::Other => Self::Nothing,
        }
    }
}

/// What a [`Peek`] says to a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peeked {
    /// More of the body is needed.
    More,
    /// The answer; `None` when the body has none.
    Done(Option<String>),
}

/// One reading ahead.
#[derive(Debug)]
pub struct Peek {
    reader: Reader,
    /// Bytes that may still be read.
    left: usize,
}

#[derive(Debug)]
enum Reader {
    Settled,
    Json { scanner: Scanner, value: Option<Vec<u8>> },
    Grpc { field: u32, in_order: bool, read: BytesMut },
    Pointer { pointer: Arc<str>, first: Bytes, more: BytesMut },
}

static MODEL: &[Field] = &[Field::top("model")];

/// Longest name that is read, escapes included, in bytes.
const MAX_NAME: usize = 4096;
/// As much of a gRPC message is searched for a name: it stands in the first field by custom.
const MAX_MESSAGE_HEAD: usize = 64 * 1024;
/// Length of the gRPC message prefix: a flag and four bytes of length.
const PREFIX: usize = 5;

impl Peek {
    /// A reading for `need` of at most `max_bytes`; what stands behind them counts as absent.
    pub fn new(need: &Need, max_bytes: usize) -> Self {
        let reader = match need {
            Need::Nothing => Reader::Settled,
            Need::JsonModel => Reader::Json { scanner: Scanner::new(MODEL), value: None },
            Need::GrpcString { field, in_order } => {
                Reader::Grpc { field: *field, in_order: *in_order, read: BytesMut::new() }
            }
            Need::JsonPointer(pointer) => {
                Reader::Pointer { pointer: pointer.clone(), first: Bytes::new(), more: BytesMut::new() }
            }
        };
        Self { reader, left: max_bytes }
    }

    /// Reads the next chunk of the body. After [`Peeked::Done`] every further one says
    /// `Done(None)`.
    pub fn push(&mut self, chunk: &Bytes) -> Peeked {
        let over = chunk.len() > self.left;
        self.left = self.left.saturating_sub(chunk.len());
        let said = match &mut self.reader {
            Reader::Settled => Peeked::Done(None),
            Reader::Json { scanner, value } => read_json(scanner, value, chunk),
            Reader::Grpc { field, in_order, read } => {
                let room = (MAX_MESSAGE_HEAD + PREFIX).saturating_sub(read.len());
                read.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
                read_grpc(read, *field, *in_order, chunk.len() >= room)
            }
            Reader::Pointer { first, more, .. } => {
                match first.is_empty() {
                    _ if over => {}
                    true => *first = chunk.clone(),
                    false => more.extend_from_slice(chunk),
                }
                Peeked::More
            }
        };
        let said = if over && said == Peeked::More { Peeked::Done(None) } else { said };
        if matches!(said, Peeked::Done(_)) {
            self.reader = Reader::Settled;
        }
        said
    }

    /// The answer when the body has ended.
    pub fn finish(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.reader, Reader::Settled) {
            Reader::Settled | Reader::Json { .. } | Reader::Grpc { .. } => None,
            Reader::Pointer { pointer, first, more } => match more.is_empty() {
                true => pointer::read(&first, &pointer),
                false => pointer::read(&[&*first, &*more].concat(), &pointer),
            },
        }
    }
}

fn read_json(scanner: &mut Scanner, value: &mut Option<Vec<u8>>, mut rest: &[u8]) -> Peeked {
    loop {
        let (consumed, mark) = scanner.advance(rest);
        let Some((passed, after)) = rest.split_at_checked(consumed) else { return Peeked::Done(None) };
        rest = after;
        match (mark, &mut *value) {
            (Some(Mark::Begin(_)), value) => *value = Some(vec![b'"']),
            (_, Some(text)) => {
                if text.len() + passed.len() > MAX_NAME {
                    return Peeked::Done(None);
                }
                text.extend_from_slice(passed);
                if mark.is_some() {
                    return Peeked::Done(serde_json::from_slice(text).ok());
                }
            }
            _ => {}
        }
        if scanner.is_settled() {
            return Peeked::Done(None);
        }
        if rest.is_empty() {
            return Peeked::More;
        }
    }
}

/// The string in the first message of `read`, compressed or not.
fn read_grpc(read: &[u8], field: u32, in_order: bool, full: bool) -> Peeked {
    let Some((&[flag, a, b, c, d], message)) = read.split_first_chunk::<PREFIX>() else {
        return Peeked::More;
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let mut complete = message.len() >= length;
    let message = message.get(..length).unwrap_or(message);
    let message = match flag {
        0 => Cow::Borrowed(message),
        1 => {
            let plain = inflate(message);
            complete &= plain.len() < MAX_MESSAGE_HEAD;
            Cow::Owned(plain)
        }
        _ => return Peeked::Done(None),
    };
    let full = full || message.len() >= MAX_MESSAGE_HEAD;
    let find = if in_order { find_string_in_order } else { find_string };
    match find(&message, field, complete) {
        Find::Found(name) if name.len() <= MAX_NAME => Peeked::Done(Some(name.to_owned())),
        Find::NeedMore if !full => Peeked::More,
        _ => Peeked::Done(None),
    }
}

/// The first bytes of a message compressed by gzip or deflate, of which `packed` is read so far; nothing
/// where it is neither.
fn inflate(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let limit = u64::try_from(MAX_MESSAGE_HEAD).unwrap_or(u64::MAX);
    // An end in the middle is an error of the reader, and what was read before it stays.
    let _ = match packed {
        [0x1f, 0x8b, ..] => GzDecoder::new(packed).take(limit).read_to_end(&mut plain),
        _ => ZlibDecoder::new(packed).take(limit).read_to_end(&mut plain),
    };
    plain
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::inference::path::parse;
    use crate::inference::protobuf::put_field;

    /// The answer, and how many bytes it took, feeding `size` bytes at a time.
    fn peek(need: &Need, body: &[u8], size: usize) -> (Option<String>, usize) {
        let mut peek = Peek::new(need, 1 << 20);
        let mut read = 0;
        for chunk in body.chunks(size.max(1)) {
            read += chunk.len();
            if let Peeked::Done(answer) = peek.push(&Bytes::copy_from_slice(chunk)) {
                return (answer, read);
            }
        }
        (peek.finish(), read)
    }

    #[test]
    fn the_path_says_what_must_be_read() {
        assert_eq!(Need::model_of(&parse("/v1/embeddings")), Need::JsonModel);
        let grpc = |method| Need::model_of(&parse(&format!("/inference.GRPCInferenceService/{method}")));
        assert_eq!(grpc("ModelStreamInfer"), Need::GrpcString { field: 1, in_order: false });
        assert_eq!(grpc("ServerLive"), Need::Nothing);
        assert_eq!(Need::model_of(&parse("/v2/models/m/infer")), Need::Nothing);
    }

    #[test]
    fn a_json_model_is_read_as_far_as_needed() {
        let body = br#"{"stream":true,"model":"a\u002fb","messages":[]}"#;
        for size in 1..=body.len() {
            assert_eq!(peek(&Need::JsonModel, body, size).0.as_deref(), Some("a/b"));
        }
        assert_eq!(peek(&Need::JsonModel, body, 1).1, body.len() - 16 + 1);
        assert_eq!(peek(&Need::JsonModel, b"\x1f\x8b\x08\0\0\0", 1), (None, 1));
        assert_eq!(peek(&Need::JsonModel, br#"{"model":5}"#, 3).0, None);
        assert_eq!(peek(&Need::JsonModel, br#"{"model":"a"#, 3).0, None);
        let long = format!("{{\"model\":\"{}\"}}", "x".repeat(5000));
        assert_eq!(peek(&Need::JsonModel, long.as_bytes(), 100).0, None);
    }

    #[test]
    fn a_grpc_name_is_read_from_the_head_of_a_large_message() {
        let mut message = BytesMut::new();
        put_field(&mut message, 1, b"fraud");
        put_field(&mut message, 7, &vec![0; 1 << 20]);
        let body = framed(0, &message);
        let need = Need::GrpcString { field: 1, in_order: false };
        assert_eq!(peek(&need, &body, 1), (Some("fraud".into()), 12));
        assert_eq!(peek(&need, &body, 1000).1, 1000);
        // Said to be compressed, and it is not.
        assert_eq!(peek(&need, &framed(1, &message), 16_000).0, None);
        assert_eq!(peek(&Need::GrpcString { field: 9, in_order: false }, &body, 16_000).0, None);
        assert_eq!(peek(&need, &[0, 0, 0, 0, 0], 5), (None, 5));
        // The field behind it shows soon that there is no version.
        assert_eq!(peek(&Need::GrpcString { field: 2, in_order: true }, &body, 1), (None, 16));
    }

    #[test]
    fn a_grpc_name_is_read_from_the_head_of_a_compressed_message() {
        let mut message = BytesMut::new();
        put_field(&mut message, 1, b"fraud");
        put_field(&mut message, 7, &(0..1 << 18).map(|n| ((n * 7919) >> 3) as u8).collect::<Vec<_>>());
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&message).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&message).unwrap();
        let need = Need::GrpcString { field: 1, in_order: false };
        for packed in [gzip.finish().unwrap(), zlib.finish().unwrap()] {
            let body = framed(1, &packed);
            let (name, read) = peek(&need, &body, 512);
            assert_eq!(name.as_deref(), Some("fraud"));
            assert!(read < body.len(), "{read} of {}", body.len());
        }
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    #[test]
    fn a_pointer_reads_the_whole_body_within_the_limit() {
        let body = br#"{"user":{"id":42},"x":[1,2,3]}"#;
        let need = Need::JsonPointer("/user/id".into());
        for size in 1..=body.len() {
            assert_eq!(peek(&need, body, size), (Some("42".into()), body.len()));
        }
        let mut peek = Peek::new(&need, body.len() - 1);
        assert_eq!(peek.push(&Bytes::from_static(body)), Peeked::Done(None));
        assert_eq!(peek.finish(), None);
    }
}
