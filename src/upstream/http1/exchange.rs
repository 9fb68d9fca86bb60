//! One request on one connection, up to the head of its answer.
//!
//! Sending and reading are polled side by side, because an upstream may answer before it has read
//! everything, and then close. A failed write is therefore not the end: the answer may be there to
//! be read all the same.

use std::io;
use std::task::{Context, Poll, ready};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::decode::{self, Head};
use super::upload::Uploading;
use super::{Broken, Connection, Reply, Upload};
use crate::base::{Fault, FaultKind};
use crate::upstream::Target;
use crate::wire::http1::{Filled, Malformed, ends_head};
use crate::wire::splice::Spliced;

/// Interim answers (RFC 9110 section 15.2) before the one that counts; more are refused.
const MAX_INTERIM: u8 = 16;

/// A request under way on a connection. Dropping it closes the connection.
pub(in crate::upstream) struct Exchange {
    connection: Box<Connection>,
    /// How much of a head that is not complete has been looked at.
    scanned: usize,
    interim: u8,
    /// Why nothing more can be sent.
    write_error: Option<io::Error>,
}

/// Why a request got no answer on a connection.
#[derive(Debug)]
pub(in crate::upstream) enum Failure {
    /// The connection was closed before a byte of the request was taken.
    Unsent(io::Error),
    /// Final.
    Fault(Fault),
}

impl Exchange {
    pub(in crate::upstream) fn new(connection: Box<Connection>) -> Self {
        Self { connection, scanned: 0, interim: 0, write_error: None }
    }

    /// Sends and reads what there is, until the head of the answer is there.
    pub(in crate::upstream) fn poll<B>(
        &mut self,
        upload: &mut Upload,
        request: &mut Request<B>,
        target: &Target,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Head, Failure>>
    where
        B: Spliced,
    {
        if self.write_error.is_none()
            && !upload.is_done()
            && let Poll::Ready(Err(broken)) = upload.poll(&mut self.connection, request.body_mut(), cx)
        {
            match broken {
                Broken::Body(fault) => return Poll::Ready(Err(Failure::Fault(fault))),
                Broken::Io(error) if !upload.has_begun() => return Poll::Ready(Err(Failure::Unsent(error))),
                Broken::Io(error) => self.write_error = Some(error),
            }
        }
        let to_head = *request.method() == Method::HEAD;
        loop {
            let limit = target.spec().max_header_bytes;
            let rest = &mut self.connection.rest;
            if !rest.is_empty() && (self.scanned == 0 || ends_head(rest, self.scanned) || rest.len() > limit)
            {
                match decode::head(rest, limit, to_head, request.headers_mut()) {
                    Ok(Some(head)) if head.status.is_informational() => {
                        self.skip(&head, target)?;
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(malformed) => return Poll::Ready(Err(Failure::Fault(refused(target, malformed)))),
                }
            }
            self.scanned = self.connection.rest.len();
            match ready!(self.connection.poll_fill(cx, false)) {
                Ok(Filled::Some { .. }) => {}
                Ok(Filled::End) => return Poll::Ready(Err(Failure::Fault(self.closed(target, None)))),
                Err(error) => return Poll::Ready(Err(Failure::Fault(self.closed(target, Some(error))))),
            }
        }
    }

    /// Passes over an interim answer: nothing of it is for the client, who is answered by hyper
    /// where it waits for a `100`.
    fn skip(&mut self, head: &Head, target: &Target) -> Result<(), Failure> {
        self.scanned = 0;
        self.interim += 1;
        let wrong = match head.status {
            StatusCode::SWITCHING_PROTOCOLS => "it switches protocols unasked",
            _ if self.interim > MAX_INTERIM => "too many interim answers",
            _ => return Ok(()),
        };
        Err(Failure::Fault(refused(target, Malformed::Rule(wrong))))
    }

    /// The answer whose head has come. The request's body goes with it where it is not over.
    pub(in crate::upstream) fn answer<B>(
        self,
        head: Head,
        upload: Upload,
        request: Request<B>,
        limit: usize,
    ) -> Response<Reply>
    where
        B: Spliced + 'static,
    {
        let mut connection = self.connection;
        connection.streamed = is_event_stream(&head.headers);
        let mut reply = Reply::new(connection, head.length, head.reusable, limit);
        if self.write_error.is_some() {
            reply.forbid_reuse();
        } else if !upload.is_done() {
            reply.goes_on_sending(Box::new(Uploading { upload, body: request.into_body() }));
        }
        reply.begin();
        let mut response = Response::new(reply);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    fn closed(&mut self, target: &Target, error: Option<io::Error>) -> Fault {
        unanswered(target, self.write_error.take().or(error).as_ref())
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The fault of a request whose connection ended before an answer.
pub(in crate::upstream) fn unanswered(target: &Target, error: Option<&io::Error>) -> Fault {
    let detail = match error {
        None => format!("{target} closed before an answer"),
        Some(error) => format!("{target} closed before an answer: {error}"),
    };
    Fault::new(FaultKind::UpstreamReset, detail)
}

fn refused(target: &Target, malformed: Malformed) -> Fault {
    let detail = match malformed {
        Malformed::TooLarge => {
            let limit = target.spec().max_header_bytes;
            format!("the head of the answer of {target} is larger than {limit} bytes")
        }
        Malformed::Rule(rule) => format!("the answer of {target} breaks its protocol: {rule}"),
    };
    Fault::new(FaultKind::UpstreamProtocol, detail)
}
