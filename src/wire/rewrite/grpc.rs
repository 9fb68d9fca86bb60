//! Overrides names in gRPC messages by appending to them.
//!
//! In protobuf the last occurrence of a singular field wins, and repeated occurrences of a
//! singular sub-message are merged (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>).
//! So a name is changed by writing it again behind the message: only the length in the message's
//! five-byte prefix changes in front of it, and 16 MiB of tensors stream through without a buffer.
//!
//! A compressed message (flag 1) has no end to append to: it is unpacked, within a limit, and
//! sent uncompressed, which the protocol allows for any single message.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderMap;

use super::json::Asked;
use super::out::Out;
use crate::base::{Fault, FaultKind};
use crate::inference::path::NameFields;
use crate::inference::protobuf::{Find, find_field, find_string, put_field};

/// Length of the prefix of a message: a flag and four bytes of length.
const PREFIX: usize = 5;
/// Largest compressed message that is unpacked, before and after, in bytes.
const MAX_UNPACKED: usize = 64 * 1024 * 1024;
/// As much of a message is looked at to tell whether a sub-message occurs in it.
const MAX_HEAD: usize = 64 * 1024;
/// As much of a request message is looked at for the names it has.
const MAX_LEARN: usize = 4096;

/// How messages of a body are compressed (`grpc-encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Unknown,
}

/// What is appended.
#[derive(Debug)]
pub(super) enum Append {
    /// To requests: these bytes.
    Names {
        /// Fields, encoded.
        fields: Bytes,
        /// Where the names the client used are kept.
        learn: Option<Learn>,
    },
    /// To answers: what the client asked for, once that is known.
    Asked {
        /// Where answers name the model.
        at: NameFields,
        /// The model.
        model: Option<Asked>,
        /// The version.
        version: Option<Asked>,
    },
}

/// Reads the names in the first message of a request.
#[derive(Debug)]
pub(super) struct Learn {
    pub(super) at: NameFields,
    pub(super) model: Option<Asked>,
    pub(super) version: Option<Asked>,
    pub(super) head: BytesMut,
}

/// The editor of a gRPC body.
#[derive(Debug)]
pub(super) struct GrpcEdit {
    append: Append,
    encoding: Encoding,
    prefix: BytesMut,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before or in the prefix of a message.
    Prefix,
    /// In a message that passes untouched.
    Pass { left: usize },
    /// In a message behind which `tail` comes.
    Append { left: usize, tail: Bytes },
    /// In a message of which it is not known yet whether something is appended.
    Decide { length: usize, head: BytesMut, tail: Bytes },
    /// In a compressed message.
    Collect { length: usize, packed: BytesMut },
}

impl Encoding {
    /// What the headers of a body say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get("grpc-encoding").map(|v| v.as_bytes()) {
            None | Some(b"identity") => Self::Identity,
            Some(b"gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            Some(_) => Self::Unknown,
        }
    }
}

impl GrpcEdit {
    pub(super) fn new(append: Append, encoding: Encoding) -> Self {
        Self { append, encoding, prefix: BytesMut::new(), state: State::Prefix }
    }

    pub(super) fn push(&mut self, out: &mut Out) -> Result<(), Fault> {
        while !out.rest().is_empty() {
            match &mut self.state {
                State::Prefix => {
                    let piece = out.cut(PREFIX - self.prefix.len().min(PREFIX));
                    self.prefix.extend_from_slice(&piece);
                    if let Some(prefix) = self.prefix.first_chunk::<PREFIX>().copied() {
                        self.begin(prefix, out)?;
                    }
                }
                State::Pass { left } => {
                    let count = out.rest().len().min(*left);
                    *left -= count;
                    out.pass(count);
                }
                State::Append { left, .. } => {
                    let count = out.rest().len().min(*left);
                    *left -= count;
                    let complete = *left == 0;
                    self.append.learn(out.rest().get(..count).unwrap_or_default(), complete);
                    out.pass(count);
                }
                State::Decide { length, head, .. } => {
                    let count = out.rest().len().min((*length).min(MAX_HEAD).saturating_sub(head.len()));
                    head.extend_from_slice(&out.cut(count));
                    self.decide(out)?;
                }
                State::Collect { length, packed } => {
                    let count = out.rest().len().min(length.saturating_sub(packed.len()));
                    packed.extend_from_slice(&out.cut(count));
                }
            }
            self.end_message(out)?;
        }
        Ok(())
    }

    /// The body ends: whatever is held passes, for a truncated message is the receiver's to judge.
    pub(super) fn finish(&mut self, out: &mut Out) {
        let state = std::mem::replace(&mut self.state, State::Prefix);
        if let State::Prefix | State::Decide { .. } | State::Collect { .. } = state {
            out.put(self.prefix.split().freeze());
        }
        if let State::Decide { head: held, .. } | State::Collect { packed: held, .. } = state {
            out.put(held.freeze());
        }
    }

    fn begin(&mut self, [flag, a, b, c, d]: [u8; PREFIX], out: &mut Out) -> Result<(), Fault> {
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let tail = self.append.tail();
        self.state = match (flag, tail) {
            (0, Some(tail)) if self.append.within().is_some() => {
                State::Decide { length, head: BytesMut::new(), tail }
            }
            (0, Some(tail)) => {
                out.put(prefix_of(length, &tail)?);
                State::Append { left: length, tail }
            }
            (1, Some(_)) if self.can_unpack(length)? => State::Collect { length, packed: BytesMut::new() },
            // Other flags are gRPC-Web's trailers or nothing known.
            _ => State::Pass { left: length },
        };
        if let State::Pass { .. } = self.state {
            out.put(self.prefix.split().freeze());
        } else if let State::Append { .. } = self.state {
            self.prefix.clear();
        }
        self.end_message(out)
    }

    /// Whether the message just begun is unpacked; otherwise it passes. Sending a request on
    /// under the wrong name is no way out, so that is a fault.
    fn can_unpack(&self, length: usize) -> Result<bool, Fault> {
        let request = self.append.is_request();
        let fault = match self.encoding {
            Encoding::Gzip | Encoding::Deflate if length <= MAX_UNPACKED => return Ok(true),
            Encoding::Gzip | Encoding::Deflate => too_large(),
            Encoding::Unknown => Fault::new(
                FaultKind::NotImplemented,
                "the model of a compressed gRPC message can be renamed with grpc-encoding gzip, deflate or identity only",
            ),
            Encoding::Identity => {
                Fault::new(FaultKind::BadRequest, "a compressed gRPC message without grpc-encoding")
            }
        };
        if request { Err(fault) } else { Ok(false) }
    }

    /// Moves on where the message at hand is complete.
    fn end_message(&mut self, out: &mut Out) -> Result<(), Fault> {
        match &mut self.state {
            State::Pass { left: 0 } => self.state = State::Prefix,
            State::Append { left: 0, tail } => {
                out.put(std::mem::take(tail));
                self.state = State::Prefix;
            }
            State::Decide { length: 0, .. } => self.decide(out)?,
            State::Collect { length, packed } if packed.len() >= *length => {
                let packed = std::mem::take(packed);
                self.unpack(&packed, out)?;
                self.prefix.clear();
                self.state = State::Prefix;
            }
            _ => {}
        }
        Ok(())
    }

    fn decide(&mut self, out: &mut Out) -> Result<(), Fault> {
        let Some(within) = self.append.within() else { return Ok(()) };
        let State::Decide { length, head, tail } = &mut self.state else { return Ok(()) };
        let found = match find_field(head, within, head.len() >= *length) {
            Find::Found(()) => true,
            // So much of an error text is not a case worth a buffer; there will be an answer too.
            Find::NeedMore if head.len() >= MAX_HEAD => true,
            Find::NeedMore => return Ok(()),
            Find::Absent | Find::Malformed => false,
        };
        let left = length.saturating_sub(head.len());
        let (head, tail) = (std::mem::take(head).freeze(), std::mem::take(tail));
        if found {
            out.put(prefix_of(*length, &tail)?);
            self.state = State::Append { left, tail };
        } else {
            out.put(self.prefix.split().freeze());
            self.state = State::Pass { left };
        }
        self.prefix.clear();
        out.put(head);
        self.end_message(out)
    }

    fn unpack(&mut self, packed: &[u8], out: &mut Out) -> Result<(), Fault> {
        let mut message = Vec::new();
        let limit = u64::try_from(MAX_UNPACKED).unwrap_or(u64::MAX) + 1;
        let read = match self.encoding {
            Encoding::Gzip => GzDecoder::new(packed).take(limit).read_to_end(&mut message),
            _ => ZlibDecoder::new(packed).take(limit).read_to_end(&mut message),
        };
        if read.is_err() {
            let kind =
                if self.append.is_request() { FaultKind::BadRequest } else { FaultKind::UpstreamProtocol };
            return Err(Fault::new(kind, "a compressed gRPC message that cannot be unpacked"));
        }
        if message.len() > MAX_UNPACKED {
            return Err(too_large());
        }
        self.append.learn(&message, true);
        let wanted = self.append.within().is_none_or(|f| find_field(&message, f, true) == Find::Found(()));
        let tail = self.append.tail().filter(|_| wanted).unwrap_or_default();
        out.put(prefix_of(message.len(), &tail)?);
        out.put(message.into());
        out.put(tail);
        Ok(())
    }
}

// === impl Append ===

impl Append {
    fn is_request(&self) -> bool {
        matches!(self, Self::Names { .. })
    }

    fn within(&self) -> Option<u32> {
        match self {
            Self::Names { .. } => None,
            Self::Asked { at, .. } => at.within,
        }
    }

    /// What comes behind the next message; `None` is nothing.
    fn tail(&self) -> Option<Bytes> {
        match self {
            Self::Names { fields, .. } => Some(fields.clone()),
            Self::Asked { at, model, version } => {
                let mut fields = BytesMut::new();
                if let Some(model) = model.as_ref().and_then(|asked| asked.get()) {
                    put_field(&mut fields, at.model, model);
                }
                if let (Some(field), Some(version)) = (at.version, version.as_ref().and_then(|a| a.get())) {
                    put_field(&mut fields, field, version);
                }
                if fields.is_empty() {
                    return None;
                }
                let Some(within) = at.within else { return Some(fields.freeze()) };
                let mut outer = BytesMut::new();
                put_field(&mut outer, within, &fields);
                Some(outer.freeze())
            }
        }
    }

    /// Reads the next bytes of the first request message.
    fn learn(&mut self, bytes: &[u8], complete: bool) {
        let Self::Names { learn, .. } = self else { return };
        let Some(reading) = learn else { return };
        let room = MAX_LEARN.saturating_sub(reading.head.len());
        reading.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        let full = bytes.len() > room;
        if !complete && !full {
            return;
        }
        let read = |field, asked: &Option<Asked>| {
            if let (Some(asked), Find::Found(name)) = (asked, find_string(&reading.head, field, !full))
                && !name.is_empty()
            {
                let _ = asked.set(Bytes::copy_from_slice(name.as_bytes()));
            }
        };
        read(reading.at.model, &reading.model);
        if let Some(field) = reading.at.version {
            read(field, &reading.version);
        }
        *learn = None;
    }
}

/// The prefix of an uncompressed message of `length` bytes and `tail`.
fn prefix_of(length: usize, tail: &Bytes) -> Result<Bytes, Fault> {
    let length = length.checked_add(tail.len()).and_then(|l| u32::try_from(l).ok()).ok_or_else(too_large)?;
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(0);
    prefix.put_u32(length);
    Ok(prefix.freeze())
}

fn too_large() -> Fault {
    Fault::new(FaultKind::PayloadTooLarge, "a gRPC message too large to rename its model (64 MiB compressed)")
}
