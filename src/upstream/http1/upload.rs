//! Sending a request, at the pace of its body and its connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use http_body::Body;

use super::{Broken, Connection, encode};
use crate::base::Fault;
use crate::wire::body::Side;
use crate::wire::http1::{Lender, Outgoing, Put, Size};
use crate::wire::splice::Spliced;

/// A request that is being sent.
pub(in crate::upstream) struct Upload(Outgoing);

impl Upload {
    /// Prepares to send `request`.
    ///
    /// # Errors
    /// `BadRequest` for a request that cannot be written unambiguously.
    pub(in crate::upstream) fn new<B: Body>(request: &Request<B>, lender: &Lender) -> Result<Self, Fault> {
        let mut out = lender.take_output();
        let size = Size::of(request.body());
        match encode::head(request.method(), request.uri(), request.headers(), size, &mut out) {
            Ok(framing) => Ok(Self(Outgoing::new(out, framing, size.is_ended(), Side::Request))),
            Err(fault) => {
                lender.give_output(out);
                Err(fault)
            }
        }
    }

    /// Whether all of it has left.
    pub(super) fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// Whether any of it has left.
    pub(super) fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    /// Whether the body is as it was.
    pub(in crate::upstream) fn is_untouched(&self) -> bool {
        self.0.is_untouched()
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
        B: Spliced,
    {
        loop {
            let put = match connection.io.tcp() {
                Some(_) => self.0.splice(body, &connection.lender, cx).map_err(Broken::Body)?,
                None => Put::Nothing,
            };
            let starved = match put {
                Put::Some => false,
                Put::Later => true,
                Put::Nothing => self.0.gather(Pin::new(&mut *body), cx).map_err(Broken::Body)?,
            };
            ready!(self.0.poll_write_out(&mut connection.io, cx)).map_err(Broken::Io)?;
            if let Some(tcp) = connection.io.tcp() {
                ready!(self.0.poll_drain(tcp, cx)).map_err(Broken::Io)?;
            }
            if self.0.is_ended() {
                self.0.give_back(&connection.lender);
                return Poll::Ready(Ok(()));
            }
            if starved {
                return Poll::Pending;
            }
        }
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
    B: Spliced,
{
    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.upload.poll(connection, &mut self.body, cx)
    }
}
