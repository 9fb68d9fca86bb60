//! Asking a version: the same call for the live leg and for copies, whatever serves the version.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::body::{ClientBody, RequestBody};
use super::local::LocalVersion;
use super::table::Backend;
use crate::base::{Fault, FaultKind};
use crate::inference::path::{self, Segment};
use crate::onnx::http::Asked;
use crate::onnx::{self, Engine};
use crate::upstream::{Answer, SendError};
use crate::wire::rewrite::{Edited, Restore};

/// What a version answered.
pub struct Called {
    /// Its answer, as it came.
    pub response: Response<Origin>,
    /// Puts the answer back to the names the client used.
    pub restore: Option<Restore>,
}

/// Why a version gave no answer.
pub struct Failed {
    /// What went wrong.
    pub fault: Fault,
    /// The body, where nothing of the request has left.
    pub unsent: Option<ClientBody>,
}

impl Failed {
    fn before_sending(fault: Fault, body: ClientBody) -> Self {
        Self { fault, unsent: Some(body) }
    }
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
            Calling::Onnx { inferring: Box::pin(infer(engine, head, body)), restore }
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

/// Asks a model in this process. Its whole body is read first, up to the engine's limit.
async fn infer(
    engine: &Engine,
    head: request::Parts,
    mut body: RequestBody,
) -> Result<Response<Origin>, Failed> {
    if let Err(error) = engine.signature() {
        let fault = Fault::new(FaultKind::Unavailable, error.to_string());
        return Err(Failed::before_sending(fault, body.into_inner()));
    }
    let limit = engine.spec().max_body_bytes;
    let mut whole = Vec::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| Failed { fault, unsent: None })?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len().saturating_add(data.len()) > limit {
            let detail =
                format!("the body is longer than the {limit} bytes that the model takes (maxBodyBytes)");
            return Err(Failed { fault: Fault::new(FaultKind::PayloadTooLarge, detail), unsent: None });
        }
        whole.extend_from_slice(&data);
    }
    let path = head.uri.path();
    let api = path::parse(path);
    let named = api.model().and_then(Segment::decode).unwrap_or_default();
    let version = api.version().and_then(Segment::decode);
    let action = onnx::http::action(path);
    let asked = Asked { model: &named, version: version.as_deref(), action, deadline: None };
    let mut response = onnx::http::answer(engine, &asked, &head.method, &head.headers, whole.into()).await;
    // What kept the model from running is a fault like an upstream's; what the model or the client
    // did wrong is an answer.
    if let Some(fault) = response.extensions_mut().remove::<Fault>()
        && matches!(fault.kind, FaultKind::Overloaded | FaultKind::Unavailable | FaultKind::DeadlineExceeded)
    {
        return Err(Failed { fault, unsent: None });
    }
    Ok(response.map(|body| Origin::Full(Some(body))))
}

/// Where an answer's body comes from.
pub enum Origin {
    /// A model server.
    Upstream(Answer),
    /// This process: all at once.
    Full(Option<Bytes>),
}

impl Body for Origin {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.get_mut() {
            Self::Upstream(answer) => Pin::new(answer).poll_frame(cx),
            Self::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(answer) => answer.is_end_stream(),
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(answer) => answer.size_hint(),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| u64::try_from(b.len()).unwrap_or(u64::MAX)))
            }
        }
    }
}
