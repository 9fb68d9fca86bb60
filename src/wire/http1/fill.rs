//! Reading from a socket into buffers that are owned by nobody.

use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Lender;

/// Room for the rest of a head that did not come in one piece.
const HEAD_READ: usize = 4 * 1024;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// Something.
    Some {
        /// It filled all the room there was; more may be waiting.
        full: bool,
    },
    /// The end of the stream.
    End,
}

/// Reads once, behind what `rest` holds; `long` for a long body. Where `rest` is empty, what is
/// read is a slice of a buffer of `lender`'s; a connection that waits owns nothing.
///
/// # Errors
/// The socket's.
pub fn poll_fill(
    io: &mut (impl AsyncRead + Unpin),
    rest: &mut Bytes,
    lender: &Lender,
    long: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Filled>> {
    if !rest.is_empty() {
        return poll_append(io, rest, cx);
    }
    // Even an empty slice of a block would keep it from being used.
    *rest = Bytes::new();
    lender.with_input(long, |buffer| {
        let read = poll_read(io, buffer, cx);
        if !buffer.is_empty() {
            *rest = buffer.split().freeze();
        }
        read
    })
}

/// Reads behind a part of a head, which must be in one piece to be parsed. It leaves the shared
/// block for one of its own that has room to grow.
fn poll_append(
    io: &mut (impl AsyncRead + Unpin),
    rest: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Filled>> {
    let part = std::mem::take(rest);
    let mut buffer = match part.try_into_mut() {
        Ok(buffer) => buffer,
        Err(part) => {
            let mut buffer = BytesMut::with_capacity(part.len() + HEAD_READ);
            buffer.extend_from_slice(&part);
            buffer
        }
    };
    if buffer.capacity() - buffer.len() < HEAD_READ / 4 {
        buffer.reserve(HEAD_READ);
    }
    let read = poll_read(io, &mut buffer, cx);
    *rest = buffer.freeze();
    read
}

fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Filled>> {
    let read = pin!(io.read_buf(buffer)).poll(cx);
    read.map_ok(|read| match read {
        0 => Filled::End,
        _ => Filled::Some { full: buffer.len() == buffer.capacity() },
    })
}

/// Whether an empty line came with the bytes behind `scanned`. Spares parsing a head again for
/// each of the pieces it comes in.
pub fn ends_head(input: &[u8], scanned: usize) -> bool {
    let fresh = input.get(scanned.saturating_sub(3)..).unwrap_or_default();
    fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
}
