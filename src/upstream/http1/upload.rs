//! Sending a request: its head and its body, in as few writes as possible.
//!
//! Head, small chunks and their frames gather in one buffer; a large chunk goes out of its own
//! bytes, in one vectored write with what frames it. The body is asked for more only when what it
//! gave before is written, so at most one chunk beside [`GATHER`] bytes is ever held.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite as _;

use super::encode::{self, Framing, Size};
use super::{Broken, Connection, Lender};
use crate::base::{Fault, FaultKind};
use crate::upstream::io::Io;

/// Chunks up to this size are copied behind the head; copying them costs less than a third slice.
const COPIED: usize = 4 * 1024;
/// No more is gathered once the buffer holds this much.
const GATHER: usize = 16 * 1024;

/// A request that is being sent.
pub(in crate::upstream) struct Upload {
    /// Written up to `at`.
    out: Vec<u8>,
    at: usize,
    /// A chunk written from where it lies, behind `out`.
    chunk: Bytes,
    /// What frames the end of `chunk`.
    tail: &'static [u8],
    framing: Framing,
    /// The body was asked for its content; it cannot be given back whole.
    touched: bool,
    /// The body is over.
    ended: bool,
    /// A byte has left.
    begun: bool,
    unflushed: bool,
}

impl Upload {
    /// Prepares to send `request`.
    ///
    /// # Errors
    /// `BadRequest` for a request that cannot be written unambiguously.
    pub(in crate::upstream) fn new<B: Body>(request: &Request<B>, lender: &Lender) -> Result<Self, Fault> {
        let mut out = lender.take_output();
        let size = Size::of(request.body());
        let framing = match encode::head(request.method(), request.uri(), request.headers(), size, &mut out) {
            Ok(framing) => framing,
            Err(fault) => {
                lender.give_output(out);
                return Err(fault);
            }
        };
        let ended = size.is_ended();
        Ok(Self {
            out,
            at: 0,
            chunk: Bytes::new(),
            tail: b"",
            framing,
            touched: false,
            ended,
            begun: false,
            unflushed: true,
        })
    }

    /// Whether all of it has left.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.is_written() && !self.unflushed
    }

    /// Whether any of it has left.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the body is as it was.
    pub(in crate::upstream) fn is_untouched(&self) -> bool {
        !self.touched
    }

    fn is_written(&self) -> bool {
        self.at >= self.out.len() && self.chunk.is_empty() && self.tail.is_empty()
    }

    /// Sends what can be sent now. `Pending` while the body has nothing or the socket takes
    /// nothing.
    pub(super) fn poll<B>(
        &mut self,
        connection: &mut Connection,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        B: Body<Data = Bytes, Error = Fault> + Unpin,
    {
        loop {
            let starved = self.gather(body, cx).map_err(Broken::Body)?;
            while !self.is_written() {
                ready!(self.poll_write(&mut connection.io, cx)).map_err(Broken::Io)?;
            }
            if self.unflushed {
                ready!(Pin::new(&mut connection.io).poll_flush(cx)).map_err(Broken::Io)?;
                self.unflushed = false;
            }
            self.out.clear();
            self.at = 0;
            if self.ended {
                connection.lender.give_output(std::mem::take(&mut self.out));
                return Poll::Ready(Ok(()));
            }
            if starved {
                return Poll::Pending;
            }
        }
    }

    /// Takes from the body what there is room for; `true` where the body has nothing now.
    fn gather<B>(&mut self, body: &mut B, cx: &mut Context<'_>) -> Result<bool, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Unpin,
    {
        while !self.ended && self.chunk.is_empty() && self.out.len() < GATHER {
            self.touched = true;
            match Pin::new(&mut *body).poll_frame(cx) {
                // All that was declared is there. Whether more would come need not be waited for:
                // it would not be sent.
                Poll::Pending if self.framing == Framing::Length(0) => self.ended = true,
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Err(fault))) => return Err(fault),
                Poll::Ready(Some(Ok(frame))) => self.push(frame)?,
            }
            if !self.ended && body.is_end_stream() {
                self.end(None)?;
            }
        }
        Ok(false)
    }

    fn push(&mut self, frame: Frame<Bytes>) -> Result<(), Fault> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(Some(frame)),
        };
        if data.is_empty() {
            // An empty chunk would be the last one.
            return Ok(());
        }
        self.tail = match &mut self.framing {
            Framing::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left
                    .checked_sub(length)
                    .ok_or_else(|| broken("the request body is longer than its Content-Length"))?;
                b""
            }
            Framing::Chunked => {
                encode::push_chunk_size(data.len(), &mut self.out);
                b"\r\n"
            }
        };
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.chunk = data;
        }
        Ok(())
    }

    /// The body is over. Trailers find a place only behind chunks (RFC 9112 section 7.1.2).
    fn end(&mut self, trailers: Option<Frame<Bytes>>) -> Result<(), Fault> {
        self.ended = true;
        match self.framing {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(broken("the request body is shorter than its Content-Length")),
            Framing::Chunked => match trailers.and_then(|frame| frame.into_trailers().ok()) {
                Some(trailers) => encode::push_end(&trailers, &mut self.out),
                None if self.chunk.is_empty() => {
                    self.out.extend_from_slice(b"0\r\n\r\n");
                    Ok(())
                }
                None => {
                    self.tail = b"\r\n0\r\n\r\n";
                    Ok(())
                }
            },
        }
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head = self.out.get(self.at..).unwrap_or_default();
        let io = Pin::new(io);
        let written = if self.chunk.is_empty() && self.tail.is_empty() {
            ready!(io.poll_write(cx, head))?
        } else {
            let slices = [IoSlice::new(head), IoSlice::new(&self.chunk), IoSlice::new(self.tail)];
            let from = slices.iter().take_while(|slice| slice.is_empty()).count();
            ready!(io.poll_write_vectored(cx, slices.get(from..).unwrap_or_default()))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.begun = true;
        self.unflushed = true;
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.out.len().saturating_sub(self.at));
        self.at += of_head;
        let of_chunk = (written - of_head).min(self.chunk.len());
        // A chunk is let go of as soon as it is written.
        match of_chunk == self.chunk.len() {
            true => self.chunk = Bytes::new(),
            false => drop(self.chunk.split_to(of_chunk)),
        }
        let (_, tail) = self.tail.split_at_checked(written - of_head - of_chunk).unwrap_or_default();
        self.tail = tail;
    }
}

/// A request whose answer has come while it is still being sent: what goes on sending it.
pub(super) trait Pump {
    /// As [`Upload::poll`].
    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;
}

/// The body with its upload.
pub(super) struct Uploading<B> {
    pub(super) upload: Upload,
    pub(super) body: B,
}

impl<B> Pump for Uploading<B>
where
    B: Body<Data = Bytes, Error = Fault> + Unpin,
{
    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.upload.poll(connection, &mut self.body, cx)
    }
}

#[cold]
fn broken(detail: &'static str) -> Fault {
    Fault::new(FaultKind::BadRequest, detail)
}
