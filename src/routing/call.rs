//! Asking a version: the same call for the live leg and for copies, whatever serves the version.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Response, request};

use super::body::{ClientBody, RequestBody};
use super::in_process;
use super::local::LocalVersion;
use super::origin::{Failed, Origin};
use super::table::Backend;
use crate::base::{Fault, FaultKind};
use crate::upstream::{Answer, SendError};
use crate::wire::rewrite::{Edited, Restore};

/// What a version answered.
pub struct Called {
    /// Its answer, as it came.
    pub response: Response<Origin>,
    /// Puts the answer back to the names the client used.
    pub restore: Option<Restore>,
}

/// Asks `version` with the request of `head` and `body`; the version's rewrite is applied here.
///
/// A plain function, so that the future holds the request once: an `async fn` would keep its
/// arguments beside what is made of them.
///
/// # Errors
/// [`Failed`] when no head of an answer came.
///
/// # Cancel safety
/// Dropping the future gives the request up: an HTTP/1.1 connection is closed, an HTTP/2 stream
/// reset, a queued inference skipped.
pub fn call<'a>(
    version: &'a LocalVersion,
    mut head: request::Parts,
    body: ClientBody,
) -> impl Future<Output = Result<Called, Failed>> + use<'a> {
    let edits = match &version.version.rewriter {
        None => Ok((None, None)),
        Some(rewriter) => rewriter.request(&mut head).map(|edits| (edits.body, edits.restore)),
    };
    let (editor, restore) = match edits {
        Ok(edits) => edits,
        Err(fault) => return Calling::Over { failed: Some(Failed::before_sending(fault, body)) },
    };
    let body = Edited::new(body, editor);
    match (&version.version.backend, &version.fleet) {
        (Backend::Upstream(_), Some(fleet)) => {
            Calling::Upstream { version, sending: fleet.send(http::Request::from_parts(head, body)), restore }
        }
        (Backend::Onnx(engine), _) => {
            Calling::Onnx { inferring: Box::pin(in_process::ask(version, engine, head, body)), restore }
        }
        (Backend::Upstream(_), None) => {
            let fault = Fault::new(FaultKind::Internal, "the version has no connections");
            Calling::Over { failed: Some(Failed::before_sending(fault, body.into_inner())) }
        }
    }
}

pin_project_lite::pin_project! {
    /// A call under way.
    #[project = CallingNow]
    enum Calling<'a, S, O> {
        Upstream {
            version: &'a LocalVersion,
            #[pin]
            sending: S,
            restore: Option<Restore>,
        },
        Onnx { inferring: Pin<Box<O>>, restore: Option<Restore> },
        Over { failed: Option<Failed> },
    }
}

impl<S, O> Future for Calling<'_, S, O>
where
    S: Future<Output = Result<Response<Answer>, SendError<RequestBody>>>,
    O: Future<Output = Result<Response<Origin>, Failed>>,
{
    type Output = Result<Called, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CallingNow::Upstream { version, sending, restore } => sending.poll(cx).map(|sent| {
                version.count_retries();
                match sent {
                    Ok(response) => {
                        Ok(Called { response: response.map(Origin::Upstream), restore: restore.take() })
                    }
                    Err(error) => {
                        let unsent = error.unsent.map(|request| request.into_body().into_inner());
                        Err(Failed { fault: error.fault, unsent })
                    }
                }
            }),
            CallingNow::Onnx { inferring, restore } => inferring
                .as_mut()
                .poll(cx)
                .map(|answered| answered.map(|response| Called { response, restore: restore.take() })),
            CallingNow::Over { failed } => match failed.take() {
                Some(failed) => Poll::Ready(Err(failed)),
                None => Poll::Pending,
            },
        }
    }
}
