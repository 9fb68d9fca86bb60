//! The codec over a pair of sockets, without the accept loop.

mod differential;
mod heads;
mod splice;

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::*;
use crate::base::Fault;
use crate::net::drain::{Latch, Seats};
use crate::net::transport::{Stream, StreamSocket, Transport};
use crate::net::{ConnectionFault, DownstreamSpec, Handler, IncomingBody};
use crate::wire::upgrade::Upgrade;

type AnyBody = Pin<Box<dyn Body<Data = Bytes, Error = Fault>>>;
type Answer = Response<AnyBody>;

/// Answers by path; everything else is told what was read of it.
#[derive(Clone, Default)]
struct ByPath(Rc<Seen>);

#[derive(Default)]
struct Seen {
    requests: Cell<usize>,
    release: Notify,
    dropped: Cell<bool>,
}

fn full(text: impl Into<Bytes>) -> Answer {
    Response::new(Box::pin(Full::new(text.into()).map_err(|e: Infallible| match e {})))
}

/// Frames one after the other; the size is not known.
struct Frames(VecDeque<Result<Frame<Bytes>, Fault>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// Never gives anything.
struct Silence(Rc<Seen>);

impl Body for Silence {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(5)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.dropped.set(true);
        self.0.release.notify_one();
    }
}

/// An answer with a request's body in its hands.
struct Early {
    _body: IncomingBody,
    text: Option<&'static str>,
}

impl Body for Early {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Ready(self.text.take().map(data))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }
}

fn frames(frames: impl IntoIterator<Item = Result<Frame<Bytes>, Fault>>) -> Answer {
    Response::new(Box::pin(Frames(frames.into_iter().collect())))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Fault> {
    Ok(Frame::data(text.into()))
}

/// Everything that a handler can know of a request.
async fn told<B: Body<Data = Bytes>>(request: Request<B>) -> Result<String, B::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let bytes = body.to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    Ok(format!("{} {} {:?} {:?} {text:?} {trailers:?}", head.method, head.uri, head.version, head.headers))
}

impl Handler for ByPath {
    type Body = AnyBody;

    fn handle(&self, mut request: Request<IncomingBody>) -> impl Future<Output = Answer> + use<> {
        let seen = self.0.clone();
        seen.requests.set(seen.requests.get() + 1);
        async move {
            let path = request.uri().path().to_owned();
            let mut answer = match path.as_str() {
                "/wait" => {
                    seen.release.notified().await;
                    full("waited")
                }
                "/silent" => Response::new(Box::pin(Silence(seen)) as AnyBody),
                "/ignore" => full("ignored"),
                "/look" => {
                    let frame = request.body_mut().frame().await;
                    full(format!("{:?}", frame.unwrap().unwrap().into_data().unwrap()))
                }
                // Answered before the body is asked for, which is held to the end of the answer.
                "/early" => Response::new(
                    Box::pin(Early { _body: request.into_body(), text: Some("early") }) as AnyBody,
                ),
                "/leak" => {
                    let body = request.into_body();
                    spawn_local(async move {
                        std::future::pending::<()>().await;
                        drop(body);
                    });
                    full("leaked")
                }
                "/chunks" => {
                    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
                    frames([data("abc"), data(""), data("de"), Ok(Frame::trailers(trailers))])
                }
                "/long" => full(vec![b'x'; 1 << 20]),
                "/short" => {
                    let mut answer = frames([data("abc")]);
                    answer.headers_mut().insert("content-length", "5".parse().unwrap());
                    answer
                }
                "/upgrade" => {
                    let upgrade = Upgrade::take(request.extensions_mut());
                    spawn_local(async move {
                        let Some(mut tunnel) = upgrade.unwrap().connection().await else { return };
                        let mut bytes = [0; 64];
                        while let Ok(read @ 1..) = tunnel.read(&mut bytes).await {
                            tunnel.write_all(&bytes[..read]).await.unwrap();
                        }
                    });
                    let mut answer = full("");
                    answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
                    answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
                    answer
                }
                "/close" => {
                    let mut answer = full("closed");
                    answer.headers_mut().insert("connection", "close".parse().unwrap());
                    answer
                }
                _ => match told(request).await {
                    Ok(text) => full(text),
                    Err(fault) => {
                        let mut answer = full(fault.to_string());
                        *answer.status_mut() = fault.kind.http_status().try_into().unwrap();
                        answer
                    }
                },
            };
            *answer.status_mut() = match path.as_str() {
                "/upgrade" => 101.try_into().unwrap(),
                "/204" => 204.try_into().unwrap(),
                "/304" => 304.try_into().unwrap(),
                _ => answer.status(),
            };
            answer
        }
    }
}

/// A connection and its two ends.
struct Open {
    client: UnixStream,
    served: JoinHandle<Result<(), ConnectionFault>>,
    seen: Rc<Seen>,
    latch: Rc<Latch>,
}

impl Open {
    fn with(spec: &DownstreamSpec) -> Self {
        let (client, server) = UnixStream::pair().unwrap();
        let seat = Arc::new(Seats::default()).take(1).unwrap();
        let io = Transport::Plain(Stream { socket: StreamSocket::Unix(server), _seat: seat });
        let http1 = Http1::new(spec, |handler: &ByPath, request| handler.handle(request));
        let (handler, latch) = (ByPath::default(), Rc::<Latch>::default());
        let (seen, held) = (handler.0.clone(), latch.clone());
        let served = spawn_local(async move { http1.serve(io, Bytes::new(), handler, &held).await });
        Self { client, served, seen, latch }
    }

    fn new() -> Self {
        Self::with(&DownstreamSpec::default())
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.client.write_all(bytes.as_ref()).await.unwrap();
        self
    }

    /// Exactly the next bytes that come.
    async fn expect(&mut self, text: &str) -> &mut Self {
        let mut bytes = vec![0; text.len()];
        let read = self.client.read_exact(&mut bytes).await;
        assert_eq!((read.is_ok(), String::from_utf8_lossy(&bytes).as_ref()), (true, text));
        self
    }

    /// A head, without its date.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let lines = head.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
        lines.collect()
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.client.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }

    async fn ended(self) -> Result<(), ConnectionFault> {
        drop(self.client);
        self.served.await.unwrap()
    }
}

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(std::time::Duration::from_secs(20), test()).await.expect("the test hangs");
    });
}

#[test]
fn requests_are_answered_in_order_on_one_connection() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /ignore HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50)).await;
        for _ in 0..50 {
            assert_eq!(open.head().await, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
            open.expect("ignored").await;
        }
        open.send(
            "POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloPOST /y HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
        open.head().await;
        open.expect(r#"POST /x HTTP/1.1 {"content-length": "5"} "hello" None"#).await;
        open.head().await;
        open.expect(r#"POST /y HTTP/1.1 {"content-length": "0"} "" None"#).await;
        assert_eq!(open.ended().await, Ok(()));
    });
}

#[test]
fn what_comes_behind_a_request_waits_for_its_answer() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /wait HTTP/1.1\r\n\r\nGET /ignore HTTP/1.1\r\n\r\n").await;
        while open.seen.requests.get() == 0 {
            tokio::task::yield_now().await;
        }
        let more = vec![b'x'; 8 << 20];
        // No more than a buffer of it is read while the first request is under way.
        let mut taken = 0;
        while let Ok(Ok(written)) =
            tokio::time::timeout(std::time::Duration::from_millis(20), open.client.write(&more[taken..]))
                .await
        {
            taken += written;
        }
        assert!(taken < 2 << 20, "{taken}");
        assert_eq!(open.seen.requests.get(), 1);
        open.seen.release.notify_one();
        open.head().await;
        open.expect("waited").await;
        open.head().await;
        open.expect("ignored").await;
    });
}

#[test]
fn a_client_that_expects_it_is_asked_for_its_body_once_that_is_read() {
    run(async || {
        let mut open = Open::new();
        let ask = |path| format!("POST {path} HTTP/1.1\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\n");
        open.send(ask("/x")).await.expect("HTTP/1.1 100 Continue\r\n\r\n").await.send("hello").await;
        assert!(open.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        let told = r#"POST /x HTTP/1.1 {"expect": "100-Continue", "content-length": "5"} "hello" None"#;
        open.expect(told).await;
        // Nobody reads it: it is not asked for, and may or may not come.
        open.send(ask("/ignore")).await;
        assert_eq!(open.rest().await.matches("HTTP/1.1 ").count(), 1);
        assert_eq!(open.ended().await, Ok(()));
        // The same where it is held while it is answered: what follows could be the body or not.
        let mut open = Open::new();
        open.send(ask("/early")).await.send("GET /ignore HTTP/1.1\r\n\r\n").await;
        let answer = open.rest().await;
        assert!(
            answer.contains("connection: close") && answer.ends_with("5\r\nearly\r\n0\r\n\r\n"),
            "{answer}"
        );
        assert_eq!(open.seen.requests.get(), 1);
    });
}

#[test]
fn answers_that_have_no_body_are_sent_without_one() {
    run(async || {
        let mut open = Open::new();
        for (method, path, expected) in [
            ("HEAD", "/ignore", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
            ("HEAD", "/chunks", "HTTP/1.1 200 OK\r\n\r\n"),
            ("HEAD", "/short", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
            ("GET", "/204", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", "/304", "HTTP/1.1 304 Not Modified\r\n\r\n"),
        ] {
            open.send(format!("{method} {path} HTTP/1.1\r\n\r\n")).await;
            assert_eq!(open.head().await, expected, "{method} {path}");
        }
    });
}

#[test]
fn an_answer_of_unknown_length_is_framed_as_its_client_understands() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /chunks HTTP/1.1\r\n\r\n").await;
        assert_eq!(open.head().await, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        open.expect("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
        open.send("GET /chunks HTTP/1.1\r\nte: gzip, trailers\r\n\r\n").await;
        assert_eq!(open.head().await, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        open.expect("3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n").await;
        open.send("GET /chunks HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!(open.head().await, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\n");
        assert_eq!(open.rest().await, "abcde");
    });
}

#[test]
fn the_connection_goes_on_where_both_sides_want_it() {
    for (request, goes_on, told) in [
        ("GET /ignore HTTP/1.1\r\n\r\n", true, None),
        ("GET /ignore HTTP/1.1\r\nconnection: x, Close\r\n\r\n", false, Some("close")),
        ("GET /ignore HTTP/1.0\r\n\r\n", false, Some("close")),
        ("GET /ignore HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", true, Some("keep-alive")),
        ("GET /close HTTP/1.1\r\n\r\n", false, Some("close")),
    ] {
        run(async || {
            let mut open = Open::new();
            open.send(request).await;
            let head = open.head().await;
            let field = head.lines().find_map(|line| line.strip_prefix("connection: "));
            assert_eq!(field, told, "{request:?}");
            if goes_on {
                open.expect("ignored").await.send("GET /close HTTP/1.1\r\n\r\n").await;
                open.head().await;
            }
            open.rest().await;
            assert_eq!(open.ended().await, Ok(()));
        });
    }
}

#[test]
fn a_body_that_nobody_reads_is_passed_over_or_ends_the_connection() {
    for (length, goes_on) in [(5, true), (60_000, true), (1 << 20, false)] {
        run(async || {
            let mut open = Open::new();
            let head = format!("POST /ignore HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
            let body = vec![b'x'; length];
            open.send(head).await;
            let answered = open.head().await;
            assert_eq!(answered.contains("connection: close"), !goes_on, "{answered}");
            open.expect("ignored").await.send(body).await;
            if goes_on {
                open.send("GET /close HTTP/1.1\r\n\r\n").await.head().await;
            }
            open.rest().await;
            assert_eq!(open.ended().await, Ok(()));
        });
    }
    run(async || {
        let mut open = Open::new();
        open.send("POST /look HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
        assert_eq!(open.head().await, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
        open.expect("b\"a\"").await.send("2\r\nbc\r\n0\r\n\r\nGET /ignore HTTP/1.1\r\n\r\n").await;
        open.head().await;
        open.expect("ignored").await;
    });
}

#[test]
fn a_body_that_is_kept_behind_the_answer_never_reads_the_next_request() {
    run(async || {
        let mut open = Open::new();
        open.send("POST /leak HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloGET /ignore HTTP/1.1\r\n\r\n").await;
        open.head().await;
        assert_eq!(open.rest().await, "leaked");
        assert_eq!(open.ended().await, Ok(()));
    });
}

#[test]
fn a_malformed_body_is_a_bad_request_and_the_last() {
    for body in ["x\r\n", "1\r\nab", "1\nab\n", "ffffffffffffffffff\r\n", "0\r\na b\r\n\r\n"] {
        run(async || {
            let mut open = Open::new();
            open.send(format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
            let answer = open.rest().await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
            assert_eq!(open.ended().await, Err(ConnectionFault::Protocol), "{body:?}");
        });
    }
}

#[test]
fn a_client_that_leaves_ends_its_request_wherever_that_is() {
    for begun in [
        "GET /wait HTTP/1.1\r\n\r\n",
        "GET /silent HTTP/1.1\r\n\r\n",
        "POST /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel",
        "GET / HT",
    ] {
        run(async || {
            let mut open = Open::new();
            open.send(begun).await;
            if begun.contains("silent") {
                open.head().await;
            }
            let seen = open.seen.clone();
            assert_eq!(open.ended().await, Err(ConnectionFault::ClientLeft), "{begun:?}");
            assert_eq!(seen.dropped.get(), begun.contains("silent"));
        });
    }
    run(async || assert_eq!(Open::new().ended().await, Ok(())));
}

#[test]
fn an_answer_that_is_shorter_than_it_says_cuts_the_connection() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /short HTTP/1.1\r\n\r\n").await;
        open.rest().await;
        assert_eq!(open.ended().await, Err(ConnectionFault::AnswerFailed));
    });
}

#[test]
fn a_switched_connection_carries_what_came_ahead() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /upgrade HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nearly").await;
        let head = open.head().await;
        assert_eq!(head, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
        open.expect("early").await.send("later").await.expect("later").await;
        assert_eq!(open.ended().await, Ok(()));
    });
}

#[test]
fn a_drain_ends_idle_connections_and_tells_busy_ones() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /ignore HTTP/1.1\r\n\r\n").await.head().await;
        open.expect("ignored").await.send("GET /wait HTTP/1.1\r\n\r\n").await;
        while open.seen.requests.get() < 2 {
            tokio::task::yield_now().await;
        }
        open.latch.fire();
        open.seen.release.notify_one();
        assert!(open.head().await.contains("connection: close\r\n"));
        assert_eq!(open.rest().await, "waited");
        assert_eq!(open.ended().await, Ok(()));
    });
}

#[test]
fn long_bodies_pass_whole_whatever_their_framing() {
    run(async || {
        let mut open = Open::new();
        open.send("GET /long HTTP/1.1\r\n\r\n").await.head().await;
        open.expect(&"x".repeat(1 << 20)).await;
        let body = vec![b'y'; 3 << 20];
        let mut request =
            format!("POST /look HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(&body);
        let (mut reader, mut writer) = open.client.split();
        let writing = async {
            let _ = writer.write_all(&request).await;
        };
        let reading = async {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer).await;
            answer
        };
        let (answer, ()) = tokio::join!(reading, writing);
        assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"));
    });
}

#[test]
fn a_refusal_is_json_and_the_last_answer() {
    run(async || {
        for (request, start, error) in [
            ("GET / HTTP/3\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "bad_request"),
            ("GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "bad_request"),
            (
                "GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
                "HTTP/1.1 501 Not Implemented\r\n",
                "not_implemented",
            ),
        ] {
            let mut open = Open::new();
            open.send(request).await;
            let answer = open.rest().await;
            assert!(answer.starts_with(start), "{answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert!(answer.contains(&format!("x-switchback-error: {error}\r\n")), "{answer}");
            assert!(answer.split_once("\r\n\r\n").unwrap().1.starts_with("{\"error\":\""), "{answer}");
            assert_eq!(open.seen.requests.get(), 0);
            assert_eq!(open.ended().await, Err(ConnectionFault::Protocol));
        }
        let few = DownstreamSpec { header_count: 2, header_bytes: 64, ..DownstreamSpec::default() };
        for request in
            ["GET / HTTP/1.1\r\na: b\r\na: b\r\na: b\r\n\r\n", &format!("GET /{} ", "x".repeat(64))]
        {
            let mut open = Open::with(&few);
            open.send(request).await;
            // It may have more to say, but not for ever.
            open.client.shutdown().await.unwrap();
            assert!(open.rest().await.starts_with("HTTP/1.1 431 "));
            assert_eq!(open.ended().await, Err(ConnectionFault::HeadersTooLarge));
        }
        let mut open = Open::with(&few);
        open.send("GET / HTTP/1.1\r\na: b\r\na: b\r\n\r\n").await;
        assert!(open.head().await.starts_with("HTTP/1.1 200 "));
        let many = DownstreamSpec { header_count: 150, ..DownstreamSpec::default() };
        let mut open = Open::with(&many);
        open.send(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(150))).await;
        assert!(open.head().await.starts_with("HTTP/1.1 200 "));
    });
}
