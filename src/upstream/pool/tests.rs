//! Pools against real sockets. A server is either bytes written by the test or hyper's own.

mod codec;
mod differential;
mod http1;
mod http2;
mod limits;
mod streams;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::upstream::{Address, UpstreamSpec};

/// A request body: whole, or fed by the test.
enum TestBody {
    Full(Option<Bytes>),
    Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, Fault>>),
    /// A KiB each time it is asked, which it counts.
    Endless(Arc<std::sync::atomic::AtomicUsize>),
}

type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, Fault>>;

impl TestBody {
    fn empty() -> Self {
        Self::Full(None)
    }

    fn text(text: &'static str) -> Self {
        Self::Full(Some(Bytes::from_static(text.as_bytes())))
    }

    fn fed() -> (Feed, Self) {
        let (feed, fed) = mpsc::unbounded_channel();
        (feed, Self::Fed(fed))
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Fault> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl crate::wire::splice::Spliced for TestBody {}

impl Body for TestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Fed(fed) => fed.poll_recv(cx),
            Self::Endless(taken) => {
                taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 1024])))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Fed(_) | Self::Endless(_) => http_body::SizeHint::default(),
        }
    }
}

/// Runs a test the way a worker runs, with a limit that only a hang reaches.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("the test hangs");
}

async fn listen() -> (TcpListener, UpstreamSpec) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = spec(listener.local_addr().unwrap());
    (listener, spec)
}

fn spec(address: SocketAddr) -> UpstreamSpec {
    let authority = address.to_string();
    UpstreamSpec::new(Address::Tcp { host: address.ip().to_string(), port: address.port() }, authority)
}

fn pool(spec: &UpstreamSpec) -> Rc<Pool<TestBody>> {
    Pool::new(Arc::new(Target::new(spec).unwrap()))
}

fn get(path: &str) -> Request<TestBody> {
    Request::builder().uri(path).body(TestBody::empty()).unwrap()
}

fn post(path: &str, body: TestBody) -> Request<TestBody> {
    Request::builder().method("POST").uri(path).body(body).unwrap()
}

/// An HTTP/2 request as a client of ours would have sent it.
fn over_http2(mut request: Request<TestBody>) -> Request<TestBody> {
    *request.version_mut() = Version::HTTP_2;
    request
}

async fn text(answer: Response<Answer>) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn spawn_send(
    pool: &Rc<Pool<TestBody>>,
    request: Request<TestBody>,
) -> tokio::task::JoinHandle<Result<Response<Answer>, SendError<TestBody>>> {
    let pool = Rc::clone(pool);
    spawn_local(async move { pool.send(request).await })
}

/// Reads until `end`; what was read.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = String::new();
    while !read.ends_with(end) {
        let byte = stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {read:?}"));
        read.push(byte as char);
    }
    read
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    read_until(stream, "\r\n\r\n").await
}

/// Waits until the peer closes; a reset counts.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

type ServerBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn whole(text: impl Into<Bytes>) -> ServerBody {
    http_body_util::Full::new(text.into()).boxed_unsync()
}

/// Serves one connection with hyper's HTTP/2.
fn serve_http2<F, Fut>(io: impl AsyncRead + AsyncWrite + Unpin + 'static, streams: u32, service: F)
where
    F: Fn(Request<Incoming>) -> Fut + 'static,
    Fut: Future<Output = Response<ServerBody>> + 'static,
{
    let service = service_fn(move |request| {
        let answer = service(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(Executor)
        .max_concurrent_streams(streams)
        .serve_connection(TokioIo::new(io), service);
    spawn_local(async move {
        let _ = connection.await;
    });
}

#[derive(Clone, Copy)]
struct Executor;

impl<F: Future + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        spawn_local(async move {
            task.await;
        });
    }
}

#[test]
fn the_future_of_a_request_is_small() {
    run(async {
        let pool = pool(&spec("127.0.0.1:1".parse().unwrap()));
        let sending = pool.send(get("/"));
        let size = size_of_val(&sending);
        assert!(size <= 1024, "{size} bytes");
    });
}
