//! Sends the body of a request as fast as flow control lets it (RFC 9113 section 5.2).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use http_body::{Body, Frame};

use crate::base::Fault;
use crate::upstream::form;

/// A request's body on its way.
pub(super) struct Upload<B> {
    /// `None` once there is nothing left to send, or nobody to send it to.
    stream: Option<SendStream<Bytes>>,
    /// Waits for the peer to have room, and whether it is the last.
    chunk: Option<(Bytes, bool)>,
    /// A chunk has been handed over.
    begun: bool,
    body: B,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error = Fault> + Unpin,
{
    /// Sends `body` on `stream`, or nothing where its end has been told.
    pub(super) fn new(stream: SendStream<Bytes>, body: B, ended: bool) -> Self {
        Self { stream: (!ended).then_some(stream), chunk: None, begun: false, body }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.stream.is_none()
    }

    pub(super) fn into_body(self) -> B {
        self.body
    }

    /// Sends what can be sent now. At most one chunk is held beyond what the peer has room for.
    /// A stream that takes no more ends it too: why is told to who reads the answer.
    ///
    /// # Errors
    /// The body's own. The stream must then be dropped.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(stream) = &mut self.stream {
            let (data, last) = match self.chunk.take() {
                Some(chunk) => {
                    match poll_room(stream, cx) {
                        Poll::Ready(true) => {}
                        Poll::Ready(false) => break,
                        Poll::Pending => {
                            self.chunk = Some(chunk);
                            return Poll::Pending;
                        }
                    }
                    chunk
                }
                None => match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => (Bytes::new(), true),
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(fault)),
                    Poll::Ready(Some(Ok(frame))) => {
                        let Some(data) = data_or_end(stream, frame) else { break };
                        let last = self.body.is_end_stream();
                        if self.begun && !data.is_empty() {
                            // Asks for little: what is asked for is kept from other streams.
                            stream.reserve_capacity(1);
                            self.chunk = Some((data, last));
                            continue;
                        }
                        (data, last)
                    }
                },
            };
            self.begun |= !data.is_empty();
            // An empty frame says nothing but that it is the last.
            if !data.is_empty() || last {
                let sent = stream.send_data(data, last);
                if last || sent.is_err() {
                    break;
                }
            }
        }
        self.stream = None;
        self.chunk = None;
        Poll::Ready(Ok(()))
    }
}

/// The data of `frame`; `None` once it was the trailers, which end the body.
fn data_or_end(stream: &mut SendStream<Bytes>, frame: Frame<Bytes>) -> Option<Bytes> {
    let frame = match frame.into_data() {
        Ok(data) => return Some(data),
        Err(frame) => frame,
    };
    let mut trailers = frame.into_trailers().unwrap_or_default();
    form::strip_connection(&mut trailers);
    // It fails on a stream that was reset, which the answer's reader is told.
    let _ = stream.send_trailers(trailers);
    None
}

/// Whether the peer has room; `false` when the stream takes nothing any more.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<bool> {
    while stream.capacity() == 0 {
        match stream.poll_capacity(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}

/// What goes on sending a request whose answer has begun.
pub(super) trait Pump {
    /// As [`Upload::poll`].
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>>;
}

impl<B> Pump for Upload<B>
where
    B: Body<Data = Bytes, Error = Fault> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Self::poll(self, cx)
    }
}
