//! The body of an answer, which owns the connection that brings it.
//!
//! Chunks are handed out as slices of what was read. Whoever polls the body also moves what is
//! left of the request, so both go at the pace of their reader and nothing is spawned. An answer
//! that ends before its request does ends the connection: the upstream has said that it does not
//! want the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::upload::Pump;
use super::{Broken, Connection};
use crate::base::{Fault, FaultKind};
use crate::wire::http1::{Content, Filled, Length, Malformed};

/// The body of an answer by HTTP/1.1.
pub(in crate::upstream) struct Reply {
    /// `None` once the body is over.
    connection: Option<Box<Connection>>,
    content: Content,
    reusable: bool,
    /// What is left of the request.
    upload: Option<Box<dyn Pump>>,
    trailer_limit: usize,
}

impl Reply {
    pub(super) fn new(
        connection: Box<Connection>,
        length: Length,
        reusable: bool,
        trailer_limit: usize,
    ) -> Self {
        let content = Content::of_answer(length);
        Self { connection: Some(connection), content, reusable, upload: None, trailer_limit }
    }

    pub(super) fn forbid_reuse(&mut self) {
        self.reusable = false;
    }

    pub(super) fn goes_on_sending(&mut self, upload: Box<dyn Pump>) {
        self.upload = Some(upload);
    }

    /// Looks at what came with the head: the end may be there already.
    pub(super) fn begin(&mut self) {
        self.look_ahead();
    }

    /// Ends the body where nothing more of it can come, as far as what was read tells.
    fn look_ahead(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        self.content.look_ahead(&mut connection.rest);
        if self.content.is_over() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let clean = self.upload.take().is_none() && connection.rest.is_empty();
        if self.reusable && clean { connection.release() } else { connection.close() }
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.upload = None;
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
        Poll::Ready(Some(Err(fault)))
    }

    /// Moves the rest of the request. A connection that takes no more of it may still bring the
    /// rest of the answer.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let (Some(upload), Some(connection)) = (&mut self.upload, &mut self.connection) else {
            return Ok(());
        };
        match upload.poll(connection, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.upload = None,
            Poll::Ready(Err(Broken::Io(_))) => {
                self.upload = None;
                self.reusable = false;
            }
            Poll::Ready(Err(Broken::Body(fault))) => return Err(fault),
        }
        Ok(())
    }

    /// Takes a frame off what was read; `None` where more must be read.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, Malformed> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let frame = self.content.take(&mut connection.rest, self.trailer_limit)?;
        if self.content.is_over() {
            self.finish();
        }
        Ok(frame)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let long = self.content.is_long();
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        match ready!(connection.poll_fill(cx, long)) {
            Ok(Filled::Some { full }) => {
                self.content.note_read(connection.rest.len(), full);
                Poll::Ready(Ok(()))
            }
            Ok(Filled::End) if self.content.is_ended_by_close() => {
                self.finish();
                Poll::Ready(Ok(()))
            }
            Ok(Filled::End) => Poll::Ready(Err(broken_off(None))),
            Err(error) => Poll::Ready(Err(broken_off(Some(&error)))),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        if let Err(fault) = this.send_on(cx) {
            return this.fail(fault);
        }
        // One read may hold ten thousand chunks of a byte: taking them counts, so that whoever reads
        // an answer lets others run in between.
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            match this.take() {
                Ok(Some(frame)) => {
                    turn.made_progress();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(malformed) => return this.fail(malformed_body(malformed, this.trailer_limit)),
                Ok(None) if this.connection.is_none() => return Poll::Ready(None),
                Ok(None) => {}
            }
            if let Err(fault) = ready!(this.poll_fill(cx)) {
                return this.fail(fault);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

#[cold]
fn broken_off(error: Option<&io::Error>) -> Fault {
    let what = "the upstream closed before the end of its answer";
    match error {
        None => Fault::new(FaultKind::UpstreamReset, what),
        Some(error) => Fault::new(FaultKind::UpstreamReset, format!("{what}: {error}")),
    }
}

#[cold]
fn malformed_body(malformed: Malformed, limit: usize) -> Fault {
    let detail = match malformed {
        Malformed::TooLarge => format!("the trailers of the answer are larger than {limit} bytes"),
        Malformed::Rule(rule) => format!("the body of the answer breaks its protocol: {rule}"),
    };
    Fault::new(FaultKind::UpstreamProtocol, detail)
}
