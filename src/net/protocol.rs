//! What a connection speaks: HTTP/2 is told from HTTP/1.1 by what comes first.
//!
//! Nothing is set up for a connection that has not yet sent a byte: waiting costs a timer and no
//! buffer. `h2c` by `Upgrade` is absent (RFC 9113 section 3.1 has withdrawn it), prior knowledge is
//! there (section 3.3).

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep};

use super::ConnectionFault;
use super::drain::Latch;
use super::transport::Transport;

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at once before the protocol is known; holds most request heads whole.
const FIRST_READ: usize = 4096;
/// How long a connection that has not sent anything yet is still listened to once draining starts:
/// its first request may be under way, and clients do not repeat what fails on a new connection.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
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
