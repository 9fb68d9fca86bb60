//! Sending a message: its head and its body, in as few writes as possible.
//!
//! Head, small chunks and their frames gather in one buffer; a large chunk goes out of its own
//! bytes, in one vectored write with what frames it. The body is asked for more only when what it
//! gave before is written, so at most one chunk beside [`GATHER`] bytes is ever held.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::lender::LARGE_READ;
use super::stuck::Stuck;
use super::{Lender, text};
use crate::base::{Fault, FaultKind};
use crate::wire::body::Side;
use crate::wire::splice::{self, Passage, Pipe, Spliced};

/// Chunks up to this size are copied behind the head; copying them costs less than a third slice.
const COPIED: usize = 4 * 1024;
/// No more is gathered once the buffer holds this much.
const GATHER: usize = 16 * 1024;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length; bytes still to come.
    Length(u64),
    /// By chunks.
    Chunked {
        /// Whether the receiver takes trailers behind them.
        trailers: bool,
    },
    /// By the end of the connection.
    Close,
    /// Not sent: an answer that must not have a body. What is given is read and dropped, so that
    /// whoever watches it sees it end.
    Nothing,
}

/// What a body tells of itself before it is read.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// It said that nothing will come.
    pub ended: bool,
    /// Its length, where it knows it.
    pub exact: Option<u64>,
}

impl Size {
    /// What `body` tells.
    pub fn of(body: &impl Body) -> Self {
        Self { ended: body.is_end_stream(), exact: body.size_hint().exact() }
    }

    /// Whether there is no content and nothing behind it.
    pub fn is_ended(self) -> bool {
        self.ended || self.exact == Some(0)
    }
}

/// What a body put into a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Something.
    Some,
    /// It has nothing now.
    Later,
    /// Nothing, for it cannot: its next frame is to be taken.
    Nothing,
}

/// A message that is being sent.
pub struct Outgoing {
    /// Written up to `at`.
    out: Vec<u8>,
    at: usize,
    /// A chunk written from where it lies, behind `out`.
    chunk: Bytes,
    /// What frames the end of `chunk`.
    tail: &'static [u8],
    /// What the body put between two sockets. It holds nothing while anything is in `out` or `chunk`.
    pipe: Option<Pipe>,
    /// Some of the body went that way; the rest may follow, however short it is.
    spliced: bool,
    framing: Framing,
    side: Side,
    /// The body was asked for its content; it cannot be given back whole.
    touched: bool,
    /// The body is over.
    ended: bool,
    /// A byte has left.
    begun: bool,
    unflushed: bool,
    /// Nobody takes a large chunk.
    stuck: Option<Stuck>,
}

impl Outgoing {
    /// Begins with `head`, before a body of `framing`; `ended` where there is none. `side` says
    /// whose body it is, and who is to blame for one that is not as long as was declared.
    pub fn new(head: Vec<u8>, framing: Framing, ended: bool, side: Side) -> Self {
        Self {
            out: head,
            at: 0,
            chunk: Bytes::new(),
            tail: b"",
            pipe: None,
            spliced: false,
            framing,
            side,
            touched: false,
            ended,
            begun: false,
            unflushed: true,
            stuck: None,
        }
    }

    /// Whether the whole body has been taken.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether all of it has left.
    pub fn is_done(&self) -> bool {
        self.ended && self.is_written() && !self.unflushed
    }

    /// Whether any of it has left.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the body is as it was.
    pub fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Gives back the buffer and the pipe, once they are no longer needed.
    pub fn give_back(&mut self, lender: &Lender) {
        lender.give_output(std::mem::take(&mut self.out));
        if let Some(pipe) = self.pipe.take() {
            lender.pipes().give(pipe);
        }
    }

    /// Bytes that were gathered and have not left.
    pub fn left(&self) -> usize {
        self.out.len().saturating_sub(self.at) + self.chunk.len() + self.tail.len()
    }

    fn is_written(&self) -> bool {
        let piped = self.pipe.as_ref().is_none_or(Pipe::is_empty);
        self.at >= self.out.len() && self.chunk.is_empty() && self.tail.is_empty() && piped
    }

    /// Lets the body put what it can into a pipe, where everything else has left. What it put there
    /// is written by [`poll_drain`](Self::poll_drain).
    ///
    /// # Errors
    /// The body's own fault, or that it is not as long as was declared.
    pub fn splice<B>(&mut self, body: &mut B, lender: &Lender, cx: &mut Context<'_>) -> Result<Put, Fault>
    where
        B: Spliced,
    {
        let Framing::Length(left) = self.framing else { return Ok(Put::Nothing) };
        if self.ended || (left < splice::LEAST && !self.spliced) || !self.is_written() {
            return Ok(Put::Nothing);
        }
        self.touched = true;
        let pipes = lender.pipes();
        let put = body.poll_splice(&mut Passage::new(&mut self.pipe, pipes, left), cx);
        if let Poll::Ready(Ok(Some(bytes))) = put {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.framing = Framing::Length(left.checked_sub(bytes).ok_or_else(|| too_long(self.side))?);
            self.spliced = true;
            if body.is_end_stream() {
                self.end(None)?;
            }
            return Ok(Put::Some);
        }
        // Whoever waits holds nothing.
        if let Some(pipe) = self.pipe.take() {
            pipes.give(pipe);
        }
        match put {
            Poll::Pending => Ok(Put::Later),
            Poll::Ready(put) => put.map(|_| Put::Nothing),
        }
    }

    /// Writes what the body put into the pipe.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
            ready!(splice::poll_drain(pipe, to, cx))?;
            self.begun = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes from the body what there is room for; `true` where the body has nothing now. While the pipe
    /// holds anything there is room for nothing: it goes first.
    ///
    /// # Errors
    /// The body's own fault, or that it is not as long as was declared.
    pub fn gather<B>(&mut self, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Result<bool, Fault>
    where
        B: Body<Data = Bytes, Error = Fault>,
    {
        if self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty()) {
            return Ok(false);
        }
        // What is gathered goes before the chunk and its tail, so neither may be left over.
        while !self.ended && self.chunk.is_empty() && self.tail.is_empty() && self.out.len() < GATHER {
            self.touched = true;
            match body.as_mut().poll_frame(cx) {
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
            Framing::Nothing => return Ok(()),
            Framing::Close => b"",
            Framing::Length(left) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                *left = left.checked_sub(length).ok_or_else(|| too_long(self.side))?;
                b""
            }
            Framing::Chunked { .. } => {
                text::push_chunk_size(data.len(), &mut self.out);
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
    fn end(&mut self, last: Option<Frame<Bytes>>) -> Result<(), Fault> {
        self.ended = true;
        match self.framing {
            Framing::Length(0) | Framing::Close | Framing::Nothing => Ok(()),
            Framing::Length(_) => Err(too_short(self.side)),
            Framing::Chunked { trailers } => {
                let section = last.filter(|_| trailers).and_then(|frame| frame.into_trailers().ok());
                match section {
                    Some(section) => text::push_end(&section, &mut self.out)
                        .map_err(|injected| broken(self.side, injected.to_string())),
                    None if self.chunk.is_empty() => {
                        self.out.extend_from_slice(b"0\r\n\r\n");
                        Ok(())
                    }
                    None => {
                        self.tail = b"\r\n0\r\n\r\n";
                        Ok(())
                    }
                }
            }
        }
    }

    /// Writes what was gathered to `io`, and flushes it.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_write_out(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            let written = self.poll_write(io, cx);
            if written.is_pending() && self.chunk.len() >= LARGE_READ {
                self.stuck.get_or_insert_with(Stuck::begin);
            }
            ready!(written)?;
        }
        self.stuck = None;
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
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

#[cold]
fn too_long(side: Side) -> Fault {
    broken(side, format!("{} is longer than its Content-Length", whose(side)))
}

#[cold]
fn too_short(side: Side) -> Fault {
    broken(side, format!("{} is shorter than its Content-Length", whose(side)))
}

fn whose(side: Side) -> &'static str {
    match side {
        Side::Request => "the request body",
        Side::Response => "the body of the answer",
    }
}

fn broken(side: Side, detail: String) -> Fault {
    let kind = match side {
        Side::Request => FaultKind::BadRequest,
        Side::Response => FaultKind::UpstreamProtocol,
    };
    Fault::new(kind, detail)
}
