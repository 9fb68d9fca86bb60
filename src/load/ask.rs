//! One question to a server, for metadata, pairs and metrics: blocking, and bounded in time and
//! size. Not for measuring.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::task::LocalSet;

use super::body::Whole;
use crate::base::{Fault, FaultKind};
use crate::upstream::{Pool, Target};
use crate::wire::grpc;

/// For the whole of a question.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest answer.
const LONGEST: usize = 64 << 20;

/// What came back.
#[derive(Debug, Clone)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// gRPC status, from the trailers or the head.
    pub grpc: Option<u8>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Asks `target` for `path`. Blocks, on a runtime of its own: not to be called from one.
///
/// # Errors
/// The [`Fault`] that kept the answer away.
pub fn get(target: &Arc<Target>, path: &str, headers: &HeaderMap) -> Result<Said, Fault> {
    get_within(target, path, headers, LIMIT)
}

/// Asks `target` for `path`, for so long at most. Blocks, as [`get`] does.
///
/// # Errors
/// The [`Fault`] that kept the answer away.
pub fn get_within(
    target: &Arc<Target>,
    path: &str,
    headers: &HeaderMap,
    limit: Duration,
) -> Result<Said, Fault> {
    let uri: Uri =
        path.parse().map_err(|_| Fault::new(FaultKind::BadRequest, format!("{path:?} is no path")))?;
    let mut request = Request::new(Whole::empty());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers.clone();
    send(target, request, limit)
}

/// Sends `request`. Blocks, as [`get`] does.
///
/// # Errors
/// The [`Fault`] that kept the answer away.
pub fn send(target: &Arc<Target>, request: Request<Whole>, limit: Duration) -> Result<Said, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(FaultKind::Internal, format!("no runtime: {error}")))?;
    LocalSet::new().block_on(&runtime, async {
        let exchange = async {
            let answer = Pool::new(Arc::clone(target)).send(request).await.map_err(|error| error.fault)?;
            read(answer).await
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
            Err(Fault::new(FaultKind::ResponseTimeout, format!("no answer within {limit:?}")))
        })
    })
}

async fn read(answer: Response<crate::upstream::Answer>) -> Result<Said, Fault> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Fault::new(FaultKind::PayloadTooLarge, "the answer is longer than 64 MiB");
        }
        match error.downcast::<Fault>() {
            Ok(fault) => *fault,
            Err(other) => Fault::new(FaultKind::UpstreamReset, other.to_string()),
        }
    })?;
    let grpc = body.trailers().and_then(grpc::status).or_else(|| grpc::status(&head.headers));
    Ok(Said { status: head.status.as_u16(), grpc, headers: head.headers, body: body.to_bytes() })
}
