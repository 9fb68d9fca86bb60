//! What hyper makes of the same bytes. No runtime is needed: everything is there at once.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, request, response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use switchback::wire::http1::is_forbidden_trailer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::body::Read;

/// Content and trailers; none where the body is not whole.
pub type Body = Option<(Vec<u8>, HeaderMap)>;

/// Holds that hyper read the same message: the same head, as `same_head` compares it, the same body,
/// and an end only where we find one. What we refuse others may read.
pub fn agrees<P>(read: Read, theirs: Option<(P, Body)>, same_head: impl FnOnce(&P)) {
    match read {
        Read::Whole(body, trailers, _) => {
            let (parts, their) = theirs.expect("hyper refuses a head that we read");
            same_head(&parts);
            let (their, their_trailers) = their.expect("hyper finds no end of a body that we read");
            assert_eq!(body, their, "the body");
            assert_eq!(trailers, allowed(their_trailers), "the trailers");
        }
        Read::Part(_) => {
            assert!(theirs.is_none_or(|(_, body)| body.is_none()), "hyper finds an end that we do not");
        }
        Read::Broken(_) => {}
    }
}

/// A length that stands twice is one length.
pub fn without_lengths(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(CONTENT_LENGTH);
    headers
}

/// Trailers that we would pass on.
fn allowed(trailers: HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in &trailers {
        if !is_forbidden_trailer(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Turns that a connection gets before it is left alone: it never waits for anything but itself.
const TURNS: usize = 200;

/// A peer that has sent everything, and closes.
struct Script {
    data: Bytes,
    /// It speaks only once it was spoken to.
    may_speak: bool,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.may_speak {
            return Poll::Pending;
        }
        let size = self.data.len().min(room.remaining());
        room.put_slice(&self.data.split_to(size));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.may_speak = true;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn whole(body: Incoming) -> Body {
    let collected = body.collect().await.ok()?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Some((collected.to_bytes().to_vec(), trailers))
}

/// The first request on a connection.
pub fn request(data: &[u8]) -> Option<(request::Parts, Body)> {
    let first = Rc::new(RefCell::new(None));
    let service = service_fn(|request: Request<Incoming>| {
        let first = Rc::clone(&first);
        async move {
            let (parts, body) = request.into_parts();
            let is_first = first.borrow().is_none();
            if is_first {
                *first.borrow_mut() = Some((parts, None));
            }
            let body = whole(body).await;
            if is_first && let Some((_, read)) = &mut *first.borrow_mut() {
                *read = body;
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let script = Script { data: Bytes::copy_from_slice(data), may_speak: true };
    {
        let mut connection = pin!(
            hyper::server::conn::http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(script), service)
        );
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..TURNS {
            if connection.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
    }
    first.take()
}

/// The answer to a GET, the final one.
pub fn response(data: &[u8]) -> Option<(response::Parts, Body)> {
    let script = Script { data: Bytes::copy_from_slice(data), may_speak: false };
    let mut cx = Context::from_waker(Waker::noop());
    let mut handshake = pin!(hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(script)));
    let Poll::Ready(Ok((mut sender, connection))) = handshake.as_mut().poll(&mut cx) else { return None };
    let mut connection = pin!(connection);
    let request = Request::get("/").header("host", "x").body(Empty::new()).ok()?;
    let mut answer = pin!(async move {
        let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
        let body = whole(body).await;
        Some((parts, body))
    });
    let mut alive = true;
    for _ in 0..TURNS {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) {
            return answer;
        }
        alive = alive && connection.as_mut().poll(&mut cx).is_pending();
    }
    None
}
