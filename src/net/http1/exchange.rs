//! One request: its handler, then its answer.
//!
//! Both live in one place, one after the other. Whoever polls an exchange also watches the client:
//! one that leaves is noticed while its handler works and while its answer stands still.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;

use super::decode::Ask;
use super::encode::{self, Framed};
use super::link::{Left, Link};
use crate::base::Fault;
use crate::net::ConnectionFault;
use crate::wire::body::Side;
use crate::wire::http1::{Framing, Outgoing, Size};

pin_project_lite::pin_project! {
    /// A request under way, or the place for one.
    #[project = ExchangeNow]
    pub(super) enum Exchange<F, B> {
        Empty,
        Handling { ask: Ask, may_switch: bool, #[pin] future: F },
        Answering { outgoing: Outgoing, end: End, #[pin] body: B },
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The next request may come.
    Keep,
    /// The client knows that none may come.
    Close,
    /// The connection speaks another protocol.
    Switched,
}

impl<F, B> Exchange<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Fault>,
{
    /// A request of `ask` that `future` answers; `may_switch` where its connection was offered.
    pub(super) fn new(future: F, ask: Ask, may_switch: bool) -> Self {
        Self::Handling { ask, may_switch, future }
    }

    /// The body of the answer, once there is one.
    pub(super) fn body(&self) -> Option<&B> {
        match self {
            Self::Answering { body, .. } => Some(body),
            _ => None,
        }
    }

    /// Goes on as far as it goes. `draining`: no other request is to come.
    ///
    /// # Errors
    /// Why the connection must be closed at once.
    pub(super) fn poll(
        mut self: Pin<&mut Self>,
        link: &Link,
        draining: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<End, ConnectionFault>> {
        if let ExchangeNow::Handling { ask, may_switch, future } = self.as_mut().project() {
            let Poll::Ready(response) = future.poll(cx) else {
                return link.poll_gone(cx).map(|()| Err(ConnectionFault::ClientLeft));
            };
            let (outgoing, end, body) = begin(response, *ask, *may_switch, draining, link)?;
            self.set(Self::Answering { outgoing, end, body });
        }
        match self.project() {
            ExchangeNow::Answering { outgoing, end, body } => {
                let sent = ready!(poll_send(outgoing, body, link, cx));
                Poll::Ready(sent.map(|()| *end))
            }
            // Never seen: only a place with a request in it is polled.
            _ => Poll::Ready(Err(ConnectionFault::AnswerFailed)),
        }
    }
}

/// Writes the head of an answer.
fn begin<B: Body>(
    response: Response<B>,
    ask: Ask,
    may_switch: bool,
    draining: bool,
    link: &Link,
) -> Result<(Outgoing, End, B), ConnectionFault> {
    let (head, body) = response.into_parts();
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    match link.left() {
        Left::Gone => return Err(ConnectionFault::ClientLeft),
        left if switching && !(may_switch && left == Left::Nothing) => {
            return Err(ConnectionFault::AnswerFailed);
        }
        _ if head.status.is_informational() && !switching => return Err(ConnectionFault::AnswerFailed),
        _ => {}
    }
    let shared = &*link.shared;
    let keep = !draining && link.can_go_on();
    let mut out = shared.lender.take_output();
    out.extend_from_slice(link.take_interim());
    let size = Size::of(&body);
    let Framed { framing, ended, keep } =
        encode::head(head.status, &head.headers, size, ask, keep, &shared.clock, &mut out);
    shared.give_map(head.headers);
    link.set_ends_by_close(framing == Framing::Close);
    let end = match (switching, keep) {
        (true, _) => End::Switched,
        (false, true) => End::Keep,
        (false, false) => End::Close,
    };
    Ok((Outgoing::new(out, framing, ended, Side::Response), end, body))
}

/// Sends an answer at the pace of its body and its client.
fn poll_send<B>(
    outgoing: &mut Outgoing,
    mut body: Pin<&mut B>,
    link: &Link,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ConnectionFault>>
where
    B: Body<Data = Bytes, Error = Fault>,
{
    loop {
        let starved = match outgoing.gather(body.as_mut(), cx) {
            Ok(starved) => starved,
            Err(fault) => {
                tracing::debug!(%fault, "an answer broke off");
                // It may be the rest of the request that failed, on its way to the upstream.
                return Poll::Ready(Err(match link.left() {
                    Left::Gone => ConnectionFault::ClientLeft,
                    _ => ConnectionFault::AnswerFailed,
                }));
            }
        };
        if ready!(link.poll_write_out(outgoing, cx)).is_err() {
            return Poll::Ready(Err(ConnectionFault::ClientLeft));
        }
        if outgoing.is_ended() {
            outgoing.give_back(&link.shared.lender);
            link.set_ends_by_close(false);
            return Poll::Ready(Ok(()));
        }
        if starved {
            return link.poll_gone(cx).map(|()| Err(ConnectionFault::ClientLeft));
        }
    }
}
