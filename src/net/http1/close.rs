//! Ends of connections: refusing what is no request, and closing so that the client gets to read
//! its answer.
//!
//! A socket that is closed while something in it is unread is reset, and the reset may overtake the
//! answer (RFC 9112 section 9.6). So writing is ended first, and what still comes is read and
//! dropped, for a while.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::decode::Ask;
use super::encode;
use super::link::Link;
use crate::base::{Fault, FaultKind};
use crate::net::ConnectionFault;
use crate::wire::body::Side;
use crate::wire::http1::{Framing, Outgoing, Size};
use crate::wire::respond;

/// How long a client that still sends is listened to.
const LINGER: Duration = Duration::from_secs(1);
/// How many bytes of it are read.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// Tells the client why what it sent is no request, and closes.
pub(super) async fn refuse(link: &Link, fault: &Fault) -> ConnectionFault {
    tracing::debug!(%fault, "no request");
    let response = respond::fault(fault, false);
    let body = response.body();
    let size = Size { ended: body.is_empty(), exact: u64::try_from(body.len()).ok() };
    let ask = Ask { to_head: false, is_old: false, keep_alive: false, trailers: false };
    let mut out = link.shared.lender.take_output();
    encode::head(response.status(), response.headers(), size, ask, false, &link.shared.clock, &mut out);
    out.extend_from_slice(body);
    let mut outgoing = Outgoing::new(out, Framing::Length(0), true, Side::Response);
    let write = poll_fn(|cx| link.poll_write_out(&mut outgoing, cx));
    if let Ok(Ok(())) = timeout(LINGER, write).await {
        outgoing.give_back(&link.shared.lender);
        goodbye(link, true).await;
    }
    match fault.kind {
        FaultKind::HeadersTooLarge => ConnectionFault::HeadersTooLarge,
        _ => ConnectionFault::Protocol,
    }
}

/// Closes a connection behind its last answer. `sending`: the client is known to have more to send.
pub(super) async fn goodbye(link: &Link, sending: bool) {
    let mut read = 0_usize;
    let mut told = false;
    let end = poll_fn(|cx| {
        if !told {
            std::task::ready!(link.poll_shutdown(cx));
            told = true;
        }
        loop {
            match link.poll_discard(cx) {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(size) => read = read.saturating_add(size),
                // What came before the answer has been read; the rest is waited for.
                Poll::Pending if !sending => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            if read > LINGER_BYTES {
                return Poll::Ready(());
            }
        }
    });
    let _ = timeout(LINGER, end).await;
}
