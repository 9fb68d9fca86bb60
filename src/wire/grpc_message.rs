//! gRPC messages in their frames: five bytes, a flag and a length, before each (the gRPC over HTTP/2
//! specification, "Length-Prefixed-Message").
//!
//! Here are both directions for calls that are answered in this process. A message that came in one
//! piece is not copied. Compressed ones are undone; what leaves is never compressed, which every
//! client must read.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::{Fault, FaultKind};
use crate::inference::content::{self, ContentError};

/// `grpc-encoding`: how a body's compressed messages are compressed.
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// `grpc-accept-encoding`: what may be sent.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What is read here.
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,deflate,gzip");

/// Bytes before a message.
const PREFIX: usize = 5;

/// Room that a message is given before it comes, at most.
const AHEAD: usize = 1024 * 1024;

/// Takes a body apart into its messages.
#[derive(Debug)]
pub struct Messages {
    /// The last piece of the body, as far as it is not taken yet.
    piece: Bytes,
    /// Several pieces that a message is spread over; `piece` is empty then.
    gathered: BytesMut,
    /// Longest message, before and after decompression.
    limit: usize,
    encoding: Option<String>,
}

impl Messages {
    /// The messages of a request with `headers`, each of at most `limit` bytes.
    pub fn new(headers: &HeaderMap, limit: usize) -> Self {
        let encoding = headers.get(GRPC_ENCODING);
        let encoding = encoding.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self { piece: Bytes::new(), gathered: BytesMut::new(), limit, encoding }
    }

    /// Adds a piece of the body. Take every message out before the next one: what is held is then
    /// bounded by the limit.
    pub fn push(&mut self, piece: Bytes) {
        if self.held().is_empty() {
            self.piece = piece;
            return;
        }
        if self.gathered.is_empty() {
            let coming = self.length().unwrap_or(0).min(AHEAD);
            self.gathered.reserve(coming.max(self.piece.len() + piece.len()) + PREFIX);
            self.gathered.extend_from_slice(&self.piece);
            self.piece = Bytes::new();
        }
        self.gathered.extend_from_slice(&piece);
    }

    /// The next message, decompressed; `None` when it has not all come.
    ///
    /// # Errors
    /// `PayloadTooLarge` for a message beyond the limit, `NotImplemented` for an encoding that is not
    /// known, `BadRequest` for what is no message.
    pub fn take_next(&mut self) -> Result<Option<Bytes>, Fault> {
        let (Some(length), Some(&flag)) = (self.length(), self.held().first()) else { return Ok(None) };
        if length > self.limit {
            return Err(self.too_large(&format!("{length} bytes")));
        }
        if self.held().len() - PREFIX < length {
            return Ok(None);
        }
        self.take(PREFIX);
        let message = self.take(length);
        match flag {
            0 => Ok(Some(message)),
            1 => self.decompress(&message).map(Some),
            _ => Err(Fault::new(FaultKind::BadRequest, "a gRPC message has an unknown flag")),
        }
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// `BadRequest` in the middle of a message.
    pub fn end(&self) -> Result<(), Fault> {
        match self.held() {
            [] => Ok(()),
            _ => Err(Fault::new(FaultKind::BadRequest, "the request ends in the middle of a gRPC message")),
        }
    }

    fn held(&self) -> &[u8] {
        if self.gathered.is_empty() { &self.piece } else { &self.gathered }
    }

    /// Length of the next message, where its prefix has come.
    fn length(&self) -> Option<usize> {
        let ([_, length @ ..], _) = self.held().split_first_chunk::<PREFIX>()?;
        Some(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX))
    }

    /// The next `length` bytes, which are there.
    fn take(&mut self, length: usize) -> Bytes {
        if self.gathered.is_empty() {
            return self.piece.split_to(length);
        }
        self.gathered.split_to(length).freeze()
    }

    fn decompress(&self, message: &[u8]) -> Result<Bytes, Fault> {
        let encoding = match self.encoding.as_deref() {
            Some(known @ ("gzip" | "deflate")) => known,
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                let detail =
                    format!("grpc-encoding {other:?} is not known here, expected identity, deflate or gzip");
                return Err(Fault::new(FaultKind::NotImplemented, detail));
            }
            None => {
                let detail = "a gRPC message is compressed, and no grpc-encoding says how";
                return Err(Fault::new(FaultKind::BadRequest, detail));
            }
        };
        content::decode(Some(encoding), message, self.limit).map(|bytes| bytes.into_owned().into()).map_err(
            |error| match error {
                ContentError::Limit(_) => self.too_large("more bytes when decompressed"),
                other => Fault::new(FaultKind::BadRequest, format!("a gRPC message: {other}")),
            },
        )
    }

    fn too_large(&self, found: &str) -> Fault {
        let detail = format!("a gRPC message has {found}, the limit is {} (maxBodyBytes)", self.limit);
        Fault::new(FaultKind::PayloadTooLarge, detail)
    }
}

/// A message of `size` bytes in its frame; `write` appends it.
///
/// # Errors
/// `Internal` for a message of 4 GiB and more, which no frame can hold.
pub fn frame(size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Bytes, Fault> {
    let Ok(length) = u32::try_from(size) else {
        return Err(Fault::new(FaultKind::Internal, "the answer is too long for a gRPC message"));
    };
    let mut out = Vec::with_capacity(PREFIX + size);
    out.push(0);
    out.extend_from_slice(&length.to_be_bytes());
    write(&mut out);
    debug_assert_eq!(out.len(), PREFIX + size, "the size was said wrong");
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn messages(encoding: Option<&'static str>, limit: usize) -> Messages {
        let headers = encoding.map(|name| (GRPC_ENCODING, HeaderValue::from_static(name)));
        Messages::new(&headers.into_iter().collect(), limit)
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn only(encoding: Option<&'static str>, body: Vec<u8>) -> Result<Option<Bytes>, Fault> {
        let mut messages = messages(encoding, 100);
        messages.push(body.into());
        messages.take_next()
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let body = Bytes::from(framed(0, b"hello"));
        let mut messages = messages(None, 100);
        messages.push(body.clone());
        let message = messages.take_next().unwrap().unwrap();
        assert_eq!(message.as_ptr(), body.slice(PREFIX..).as_ptr());
        assert_eq!((messages.take_next(), messages.end()), (Ok(None), Ok(())));
    }

    #[test]
    fn compressed_messages_are_undone_and_bounded() {
        assert_eq!(only(Some("gzip"), framed(1, &gzip(b"text"))).unwrap().unwrap(), "text");
        assert_eq!(only(Some("gzip"), framed(0, b"text")).unwrap().unwrap(), "text");
        let kind = |encoding, body| only(encoding, body).unwrap_err().kind;
        assert_eq!(kind(Some("snappy"), framed(1, b"x")), FaultKind::NotImplemented);
        assert_eq!(kind(None, framed(1, b"x")), FaultKind::BadRequest);
        assert_eq!(kind(Some("gzip"), framed(1, b"x")), FaultKind::BadRequest);
        assert_eq!(kind(None, framed(7, b"x")), FaultKind::BadRequest);
        assert_eq!(kind(Some("gzip"), framed(1, &gzip(&[0; 101]))), FaultKind::PayloadTooLarge);
        // Refused by what it says of itself, before it has come.
        assert_eq!(kind(None, vec![0, 0, 0, 0, 101]), FaultKind::PayloadTooLarge);
    }

    #[test]
    fn an_end_within_a_message_is_an_error() {
        let mut messages = messages(None, 100);
        messages.push(Bytes::from_static(&[0, 0, 0, 0, 3, b'a']));
        assert_eq!(messages.take_next(), Ok(None));
        assert_eq!(messages.end().unwrap_err().kind, FaultKind::BadRequest);
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_body_was_cut(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in prop::collection::vec(1..20_usize, 1..40),
        ) {
            let body: Vec<u8> = sent.iter().flat_map(|message| {
                frame(message.len(), |out| out.extend_from_slice(message)).unwrap()
            }).collect();
            let mut messages = messages(None, 100);
            let (mut rest, mut cuts, mut got) = (body.as_slice(), cuts.iter().cycle(), Vec::new());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                messages.push(Bytes::copy_from_slice(now));
                rest = later;
                while let Some(message) = messages.take_next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            prop_assert_eq!(messages.end(), Ok(()));
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut messages = messages(Some("gzip"), 50);
            messages.push(body.into());
            while let Ok(Some(_)) = messages.take_next() {}
        }
    }
}
