//! One request on one stream, up to the head of its answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, Response};
use http_body::Body;

use super::upload::Upload;
use super::{Reply, Stream};
use crate::base::{Fault, FaultKind};
use crate::upstream::{Target, failure, form};

/// A request under way. Dropping it resets its stream.
pub(in crate::upstream) struct Exchange<B> {
    upload: Upload<B>,
    response: ResponseFuture,
    stream: Stream,
    /// The head of a request without a body, which can be repeated.
    spare: Option<Box<Request<()>>>,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(in crate::upstream) enum Failure {
    /// Final.
    Fault(Fault),
    /// The upstream says that it has not looked at the request (RFC 9113 section 8.7).
    Refused(Fault),
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes, Error = Fault> + Unpin + 'static,
{
    /// Opens a stream for `request`, which has the form of HTTP/2. What is ready of its body goes
    /// with its head once the exchange is polled.
    ///
    /// # Errors
    /// `Internal` for a request that cannot be sent by HTTP/2 at all.
    pub(in crate::upstream) fn start(
        sender: &mut SendRequest<Bytes>,
        stream: Stream,
        mut request: Request<B>,
    ) -> Result<Self, Fault> {
        form::content_length(&mut request);
        let (head, body) = request.into_parts();
        let ended = body.is_end_stream();
        let head = Request::from_parts(head, ());
        let spare = ended.then(|| Box::new(copy(&head)));
        let (response, upload) = sender.send_request(head, ended).map_err(|error| {
            Fault::new(FaultKind::Internal, format!("a request HTTP/2 cannot carry: {error}"))
        })?;
        Ok(Self { upload: Upload::new(upload, body, ended), response, stream, spare })
    }

    /// Sends and reads what there is, until the head of the answer is there.
    pub(in crate::upstream) fn poll(
        &mut self,
        target: &Target,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, Failure>> {
        if !self.upload.is_done()
            && let Poll::Ready(Err(fault)) = self.upload.poll(cx)
        {
            return Poll::Ready(Err(Failure::Fault(fault)));
        }
        let error = match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => return Poll::Ready(Ok(response)),
            Err(error) => error,
        };
        let fault = failure::before_answer_http2(target, &error, self.stream.is_silent());
        let refused = failure::is_refused(&error);
        Poll::Ready(Err(if refused { Failure::Refused(fault) } else { Failure::Fault(fault) }))
    }

    /// The answer whose head has come. The request's body goes with it where it is not over.
    pub(in crate::upstream) fn answer(self, response: Response<RecvStream>) -> Response<Reply> {
        let (head, content) = response.into_parts();
        self.stream.heard();
        let mut reply = Reply::new(content, &head.headers, self.stream);
        if !self.upload.is_done() && !reply.is_over() {
            reply.goes_on_sending(Box::new(self.upload));
        }
        Response::from_parts(head, reply)
    }

    /// The request again, where nothing can have been taken of it.
    pub(in crate::upstream) fn give_back(self) -> Option<Request<B>> {
        let body = self.upload.into_body();
        self.spare.map(|head| head.map(|()| body))
    }
}

fn copy(head: &Request<()>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = head.method().clone();
    *copy.uri_mut() = head.uri().clone();
    *copy.version_mut() = head.version();
    *copy.headers_mut() = head.headers().clone();
    copy
}
