//! From a byte stream to requests: tells HTTP/2 from HTTP/1.1 by what comes first, and runs hyper's
//! codec for HTTP/2 until the connection ends or is drained.
//!
//! Nothing is set up for a connection that has not yet sent a byte: waiting costs a timer and no
//! buffer. `h2c` by `Upgrade` is absent (RFC 9113 section 3.1 has withdrawn it), prior knowledge is
//! there (section 3.3).

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use super::drain::Latch;
use super::handler::{Handler, incoming};
use super::silent::Silent;
use super::transport::{Rewind, Transport};
use super::{ConnectionFault, DownstreamSpec};

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at once before the protocol is known; holds most request heads whole.
const FIRST_READ: usize = 4096;
/// How long a connection that has not sent anything yet is still listened to once draining starts:
/// its first request may be under way, and clients do not repeat what fails on a new connection.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
/// Answer bytes buffered for one HTTP/2 stream that its client does not read.
const H2_SEND_BUFFER: usize = 256 * 1024;
/// Streams a client may reset before they were taken up, and those we may reset for its mistakes,
/// until the connection is closed (CVE-2023-44487, RUSTSEC-2024-0003). h2's and hyper's own defaults.
const H2_PENDING_RESETS: usize = 20;
const H2_LOCAL_RESETS: usize = 1024;

/// The codecs, set up once for all connections of a listener and worker.
pub(super) struct Protocols {
    h2: http2::Builder<StreamSpawner>,
}

/// What the first bytes said.
pub(super) struct Opening {
    /// The bytes read ahead.
    pub(super) bytes: Bytes,
    /// Whether they are HTTP/2's.
    pub(super) http2: bool,
}

/// Reads until the protocol is known. `agreed` is what ALPN said: HTTP/2 or not; without it the
/// bytes decide. `None`: the client left, or is sent away by a drain, before saying anything.
///
/// # Errors
///
/// [`ConnectionFault::FirstByteTimeout`] after `limit`, [`ConnectionFault::ClientLeft`] when reading
/// fails.
pub(super) async fn opening(
    transport: &mut Transport,
    agreed: Option<bool>,
    limit: Duration,
    latch: &Latch,
) -> Result<Option<Opening>, ConnectionFault> {
    let mut deadline = pin!(sleep(limit));
    let mut in_grace = false;
    let mut seen = BytesMut::new();
    poll_fn(|cx| {
        while let Poll::Ready(read) = read_some(transport, cx, &mut seen) {
            let ended = read.map_err(|_| ConnectionFault::ClientLeft)? == 0;
            if ended && seen.is_empty() {
                return Poll::Ready(Ok(None));
            }
            let known = match agreed {
                // Under ALPN the whole preface is awaited as well, so that the timeout covers it.
                Some(true) => (ended || seen.len() >= PREFACE.len()).then_some(true),
                Some(false) => Some(false),
                None => speaks_http2(&seen).or(ended.then_some(false)),
            };
            if let Some(http2) = known {
                return Poll::Ready(Ok(Some(Opening { bytes: seen.split().freeze(), http2 })));
            }
        }
        if latch.fired() && !in_grace {
            in_grace = true;
            let grace = deadline.deadline().min(Instant::now() + DRAIN_GRACE);
            deadline.as_mut().reset(grace);
        }
        deadline
            .as_mut()
            .poll(cx)
            .map(|()| if in_grace { Ok(None) } else { Err(ConnectionFault::FirstByteTimeout) })
    })
    .await
}

/// Whether `seen` begins an HTTP/2 connection; `None` while it may still become one.
fn speaks_http2(seen: &[u8]) -> Option<bool> {
    if seen.starts_with(PREFACE) {
        Some(true)
    } else if PREFACE.starts_with(seen) {
        None
    } else {
        Some(false)
    }
}

/// Reads what is there, once. The array lives on the stack for this poll only: a waiting connection
/// owns no buffer.
fn read_some(
    transport: &mut Transport,
    cx: &mut Context<'_>,
    seen: &mut BytesMut,
) -> Poll<std::io::Result<usize>> {
    let mut array = [0; FIRST_READ];
    let mut buffer = ReadBuf::new(&mut array);
    Pin::new(transport).poll_read(cx, &mut buffer).map_ok(|()| {
        seen.extend_from_slice(buffer.filled());
        buffer.filled().len()
    })
}

impl Protocols {
    /// Codecs with the limits of `spec`.
    pub(super) fn new(spec: &DownstreamSpec) -> Self {
        let mut h2 = http2::Builder::new(StreamSpawner);
        h2.initial_stream_window_size(spec.h2_stream_window)
            .initial_connection_window_size(spec.h2_connection_window)
            .max_concurrent_streams(spec.h2_max_streams)
            .max_header_list_size(u32::try_from(spec.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_pending_accept_reset_streams(H2_PENDING_RESETS)
            .max_local_error_reset_streams(H2_LOCAL_RESETS);
        Self { h2 }
    }

    /// Serves HTTP/2 until the connection ends. When the latch fires the client gets a GOAWAY, and
    /// the connection closes after the streams it has.
    pub(super) async fn serve_h2<H: Handler>(
        &self,
        io: Rewind<Transport>,
        handler: H,
        latch: &Latch,
    ) -> Result<(), ConnectionFault> {
        let service = service_fn(move |request: Request<Incoming>| Http2Answer {
            silent: request.method() == Method::HEAD,
            // hyper moves a stream's future several times before it is first polled, so it is worth
            // a box; an HTTP/1.1 connection keeps one place for all of its futures.
            inner: Box::pin(handler.handle(request.map(incoming))),
        });
        let connection = pin!(self.h2.serve_connection(TokioIo::new(io), service));
        drive(connection, http2::Connection::graceful_shutdown, latch).await
    }
}

/// Runs a connection of hyper's. A poll costs a load on top of hyper's: whether a drain has begun. The
/// task is subscribed to the latch already.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    latch: &Latch,
) -> Result<(), ConnectionFault>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut told = false;
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        // After the poll, so that a request that had arrived is answered and not shut out.
        if latch.fired() && !told {
            told = true;
            shut_down(connection.as_mut());
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await;
    outcome.map_err(|error| fault_of(&error))
}

/// Why hyper gave up on a connection.
fn fault_of(error: &hyper::Error) -> ConnectionFault {
    if error.is_timeout() {
        ConnectionFault::HeaderTimeout
    } else if error.is_parse_too_large() {
        ConnectionFault::HeadersTooLarge
    } else if error.is_parse() {
        ConnectionFault::Protocol
    } else if error.is_user() {
        ConnectionFault::AnswerFailed
    } else if error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error.is_body_write_aborted()
        || error.is_shutdown()
        || error.source().is_none_or(is_io)
    {
        ConnectionFault::ClientLeft
    } else {
        // What is left is an error of HTTP/2's own: a flood, a broken frame, a wrong order.
        ConnectionFault::Protocol
    }
}

/// Whether an error, or one below it, is the socket's.
fn is_io(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

pin_project_lite::pin_project! {
    /// A handler's future in the shape hyper wants: an answer always comes. With HTTP/2 it is left to
    /// us that `HEAD` is answered without a body.
    struct Http2Answer<F> {
        #[pin]
        inner: F,
        silent: bool,
    }
}

impl<F: Future<Output = Response<B>>, B> Future for Http2Answer<F> {
    type Output = Result<Response<Silent<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let silent = self.silent;
        let answered = self.project().inner.poll(cx);
        answered.map(|response| Ok(response.map(|body| Silent::new(body, silent))))
    }
}

/// Runs the streams of HTTP/2 connections on the worker's own thread. Their owner is the connection:
/// when it goes, each stream's task is told and ends.
#[derive(Debug, Clone, Copy)]
struct StreamSpawner;

impl<F> hyper::rt::Executor<F> for StreamSpawner
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_is_told_from_http1_at_the_first_byte_that_differs() {
        assert_eq!(speaks_http2(PREFACE), Some(true));
        assert_eq!(speaks_http2(&[PREFACE, b"more"].concat()), Some(true));
        for length in 0..PREFACE.len() {
            let (begun, _) = PREFACE.split_at(length);
            assert_eq!(speaks_http2(begun), None, "{length}");
            assert_eq!(speaks_http2(&[begun, b"?"].concat()), Some(false), "{length}");
        }
        for other in [&b"GET / HTTP/1.1"[..], b"PRO", b"\x16\x03\x01", b"P R I"] {
            assert_eq!(speaks_http2(other), Some(false));
        }
    }
}
