//! What a client sees, beside what it sees of hyper's server given the same handler; and what only
//! this one promises.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

mod limits;

use super::*;
use crate::base::{Fault, FaultKind};
use crate::net::drain::{Latch, subscribe};
use crate::net::{ConnectionFault, DownstreamSpec, Handler, IncomingBody};

// === a handler that does as its path says ===

/// A body of these frames. It notes how many were taken, and whether its end was seen.
struct Script {
    frames: VecDeque<Result<Frame<Bytes>, Fault>>,
    exact: bool,
    seen: Rc<Seen>,
}

/// What became of a handler and its body.
#[derive(Default)]
struct Seen {
    frames: Cell<usize>,
    ended: Cell<bool>,
    dropped: Cell<usize>,
    waiting: Notify,
    release: Notify,
    failed: RefCell<Vec<ConnectionFault>>,
}

impl Script {
    fn new(seen: &Rc<Seen>, frames: impl IntoIterator<Item = Result<Frame<Bytes>, Fault>>) -> Self {
        Self { frames: frames.into_iter().collect(), exact: false, seen: seen.clone() }
    }

    fn exact(mut self) -> Self {
        self.exact = true;
        self
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let frame = self.frames.pop_front();
        self.seen.frames.set(self.seen.frames.get() + 1);
        self.seen.ended.set(self.frames.is_empty());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.exact && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = |frame: &Result<Frame<Bytes>, _>| {
            frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64)
        };
        if self.exact {
            SizeHint::with_exact(self.frames.iter().map(data).sum())
        } else {
            SizeHint::default()
        }
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Fault> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> Result<Frame<Bytes>, Fault> {
    Ok(Frame::trailers(fields(pairs)))
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn broken() -> Result<Frame<Bytes>, Fault> {
    Err(Fault::new(FaultKind::UpstreamReset, "told to"))
}

#[derive(Clone, Default)]
struct ByPath(Rc<Seen>);

struct Dropped(Rc<Seen>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }
}

impl Handler for ByPath {
    type Body = Script;

    fn handle(&self, request: Request<IncomingBody>) -> impl Future<Output = Response<Script>> + use<> {
        let seen = self.0.clone();
        async move {
            let script = |frames: Vec<_>| Script::new(&seen, frames);
            let (head, mut body) = request.into_parts();
            let mut response = Response::new(script(Vec::new()).exact());
            match head.uri.path() {
                "/nothing" => {}
                "/no-end-known" => *response.body_mut() = script(Vec::new()),
                "/exact" => *response.body_mut() = script(vec![data("0123"), data("456789")]).exact(),
                "/pieces" => *response.body_mut() = script(vec![data("a"), data(""), data("bc"), data("")]),
                "/trailers" => {
                    let frames = vec![data("abc"), trailers(&[("grpc-status", "0"), ("x-bin", "AA")])];
                    *response.body_mut() = script(frames);
                }
                "/204-full" | "/304-full" => {
                    *response.body_mut() = script(vec![data("0123"), data("456789"), trailers(&[])]).exact();
                    *response.status_mut() = head.uri.path().get(1..4).unwrap().parse().unwrap();
                }
                "/trailers-long" => {
                    let text = "0123456789012345678901234567890123456789";
                    *response.body_mut() = script(vec![data(text), trailers(&[("grpc-status", "0")])]);
                }
                "/trailers-alone" => *response.body_mut() = script(vec![trailers(&[("grpc-status", "5")])]),
                "/large" => {
                    let chunk = || Ok(Frame::data(Bytes::from(vec![b'z'; 50_000])));
                    *response.body_mut() = script((0..20).map(|_| chunk()).collect());
                }
                "/two" => {
                    let chunk = || Ok(Frame::data(Bytes::from(vec![b'z'; 50_000])));
                    *response.body_mut() = script(vec![chunk(), chunk()]);
                }
                "/one" => {
                    let chunk = Bytes::from(vec![b'z'; 1_000_000]);
                    *response.body_mut() = script(vec![Ok(Frame::data(chunk))]).exact();
                }
                "/breaks" => *response.body_mut() = script(vec![data("part"), broken()]),
                "/breaks-at-once" => *response.body_mut() = script(vec![broken()]),
                "/fields" => {
                    *response.body_mut() = script(vec![data("x")]).exact();
                    *response.headers_mut() = fields(&[
                        ("connection", "x-one, close"),
                        ("x-one", "1"),
                        ("x-two", "2"),
                        ("keep-alive", "timeout=5"),
                        ("proxy-connection", "a"),
                        ("upgrade", "websocket"),
                        ("te", "gzip"),
                        ("date", "long ago"),
                        ("content-length", "1"),
                    ]);
                    response.headers_mut().append("x-two", "again".parse().unwrap());
                }
                // CONNECT has no path.
                "" => {
                    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                    *response.body_mut() = script(vec![data("no")]).exact();
                }
                "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
                "/echo" => {
                    let (mut length, mut told) = (0, String::new());
                    let hint = body.size_hint().exact();
                    while let Some(frame) = body.frame().await {
                        match frame {
                            Ok(frame) => {
                                length += frame.data_ref().map_or(0, Bytes::len);
                                told += &frame.trailers_ref().map_or(String::new(), |t| format!("{t:?}"));
                            }
                            Err(fault) => told += &format!("{:?}", fault.kind),
                        }
                    }
                    let text = format!("{length} {hint:?} {told}").into_bytes();
                    *response.body_mut() = script(vec![Ok(Frame::data(text.into()))]);
                }
                "/unread" => {
                    drop(body);
                    *response.body_mut() = script(vec![data("early")]);
                }
                "/exactly" => {
                    // Reads what was announced, and does not wait for the end.
                    while body.size_hint().exact() != Some(0) {
                        body.frame().await.unwrap().unwrap();
                    }
                    *response.body_mut() = script(vec![data("whole")]);
                }
                "/wait" => {
                    let _dropped = Dropped(seen.clone());
                    seen.waiting.notify_one();
                    seen.release.notified().await;
                    *response.body_mut() = script(vec![data("waited")]);
                }
                "/endless" => {
                    let chunk = Bytes::from(vec![b'z'; 16_384]);
                    *response.body_mut() =
                        script((0..10_000).map(|_| Ok(Frame::data(chunk.clone()))).collect());
                }
                "/panic" => panic!("a handler's bug"),
                other => panic!("no such path: {other}"),
            }
            response
        }
    }
}

// === servers and clients ===

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Ours,
    Hypers,
}

#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

type Served = JoinHandle<Result<(), ConnectionFault>>;

fn serve(
    server: Server,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    handler: ByPath,
    latch: Rc<Latch>,
) -> Served {
    let spec = Rc::new(DownstreamSpec::default());
    spawn_local(async move {
        match server {
            Server::Ours => {
                let mut place = pin!(latch.place());
                subscribe(place.as_mut()).await;
                let seen = handler.0.clone();
                let failed = |fault| seen.failed.borrow_mut().push(fault);
                Http2::new(&spec).serve(io, handler, &latch, &failed).await
            }
            Server::Hypers => {
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let answer = handler.handle(request.map(IncomingBody::response));
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                hyper::server::conn::http2::Builder::new(Local)
                    .initial_stream_window_size(spec.h2_stream_window)
                    .initial_connection_window_size(spec.h2_connection_window)
                    .max_concurrent_streams(spec.h2_max_streams)
                    .max_header_list_size(spec.header_bytes as u32)
                    .max_pending_accept_reset_streams(20)
                    .serve_connection(TokioIo::new(io), service)
                    .await
                    .map_err(|_| ConnectionFault::Protocol)
            }
        }
    })
}

struct Pair {
    client: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    served: Served,
    seen: Rc<Seen>,
    latch: Rc<Latch>,
}

async fn pair(server: Server) -> Pair {
    let (ours, theirs) = duplex(1 << 20);
    pair_over(server, ours, theirs).await
}

async fn pair_over(
    server: Server,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    theirs: DuplexStream,
) -> Pair {
    pair_of(server, io, theirs, &h2::client::Builder::new()).await
}

/// A client whose streams may each be sent `window` bytes that it has not taken.
async fn pair_with_window(server: Server, window: u32) -> Pair {
    let (ours, theirs) = duplex(1 << 20);
    pair_of(server, ours, theirs, h2::client::Builder::new().initial_window_size(window)).await
}

async fn pair_of(
    server: Server,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    theirs: DuplexStream,
    client: &h2::client::Builder,
) -> Pair {
    let (handler, latch) = (ByPath::default(), Rc::<Latch>::default());
    let seen = handler.0.clone();
    let served = serve(server, io, handler, latch.clone());
    let (client, connection) = client.handshake(theirs).await.unwrap();
    Pair { client, connection: spawn_local(connection), served, seen, latch }
}

fn test<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_secs(3600), body()).await.expect("the test hangs");
    });
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://test{path}")).body(()).unwrap()
}

/// Begins a request; its answer is awaited apart.
async fn begin(pair: &mut Pair, request: Request<()>, ended: bool) -> (Outcome, SendStream<Bytes>) {
    poll_fn(|cx| pair.client.poll_ready(cx)).await.unwrap();
    let (answer, stream) = pair.client.send_request(request, ended).unwrap();
    (Box::pin(outcome(answer)), stream)
}

type Outcome = Pin<Box<dyn Future<Output = String>>>;

/// Everything a client can tell of an answer, as text.
async fn outcome(answer: h2::client::ResponseFuture) -> String {
    let response = match answer.await {
        Ok(response) => response,
        Err(error) => return format!("no answer: {:?}", error.reason()),
    };
    let mut told = head_of(&response);
    let mut content = response.into_body();
    told += if content.is_end_stream() { ", ended by its head" } else { "" };
    told + &rest_of(&mut content).await
}

fn head_of(response: &Response<RecvStream>) -> String {
    let mut fields: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| match value.to_str().unwrap() {
            now if now.ends_with("GMT") => format!("{name}=now"),
            value => format!("{name}={value}"),
        })
        .collect();
    fields.sort();
    format!("{} {fields:?}", response.status())
}

async fn rest_of(content: &mut RecvStream) -> String {
    let mut body = Vec::new();
    loop {
        match content.data().await {
            Some(Ok(data)) => {
                content.flow_control().release_capacity(data.len()).unwrap();
                body.extend_from_slice(&data);
            }
            Some(Err(error)) => return format!(", {} bytes, broken: {:?}", body.len(), error.reason()),
            None => break,
        }
    }
    let text =
        if body.len() < 100 { String::from_utf8(body).unwrap() } else { format!("{} bytes", body.len()) };
    match content.trailers().await {
        Ok(trailers) => format!(", {text:?}, {trailers:?}"),
        Err(error) => format!(", {text:?}, broken trailers: {:?}", error.reason()),
    }
}

/// Asks without a body.
async fn get(pair: &mut Pair, path: &str) -> String {
    let (outcome, _stream) = begin(pair, request(Method::GET, path), true).await;
    outcome.await
}

// === beside hyper ===

/// What a client sees of both servers; it must be the same.
fn same(case: &str, client: impl AsyncFn(&mut Pair) -> String) -> String {
    let told = RefCell::new(Vec::new());
    for server in [Server::Ours, Server::Hypers] {
        test(|| async {
            let mut pair = pair(server).await;
            let outcome = client(&mut pair).await;
            told.borrow_mut().push(outcome);
        });
    }
    let [ours, hypers] = &told.into_inner()[..] else { panic!() };
    assert_eq!(ours, hypers, "{case}");
    ours.clone()
}

#[test]
fn answers_of_every_kind_are_those_of_hyper() {
    for path in [
        "/nothing",
        "/no-end-known",
        "/exact",
        "/pieces",
        "/trailers",
        "/trailers-alone",
        "/large",
        "/breaks",
        "/breaks-at-once",
        "/fields",
        "/204",
        "/echo",
        "/unread",
    ] {
        let told = same(path, async |pair| get(pair, path).await);
        let expected = match path {
            "/breaks" | "/breaks-at-once" => "INTERNAL_ERROR",
            "/fields" => {
                "200 OK [\"content-length=1\", \"date=long ago\", \"x-two=2\", \"x-two=again\"], \"x\", None"
            }
            "/exact" => "200 OK [\"content-length=10\", \"date=now\"], \"0123456789\", None",
            "/large" => "\"1000000 bytes\"",
            "/trailers" => "grpc-status",
            "/nothing" => "ended by its head",
            _ => "",
        };
        assert!(told.contains(expected), "{path}: {told}");
    }
}

#[test]
fn requests_of_every_kind_arrive_as_by_hyper() {
    for path in ["/echo", "/unread", "/exact"] {
        for (length, pieces, with_trailers) in [
            (None, &["abc"][..], false),
            (None, &["abc", "", "defg"], true),
            (Some("7"), &["abc", "defg"], false),
            (Some("7"), &["abc", "defg"], true),
            (Some("8"), &["abc", "defg"], false),
            (Some("2"), &["abc", "defg"], false),
            (Some("0"), &[""], false),
            (Some("none"), &["abc"], false),
        ] {
            let told = same(&format!("{path} {length:?} {pieces:?} {with_trailers}"), async |pair| {
                let mut head = request(Method::POST, path);
                if let Some(length) = length {
                    head.headers_mut().insert("content-length", length.parse().unwrap());
                }
                let (outcome, mut stream) = begin(pair, head, false).await;
                for (number, piece) in pieces.iter().enumerate() {
                    let last = number + 1 == pieces.len() && !with_trailers;
                    let _ = stream.send_data(Bytes::from_static(piece.as_bytes()), last);
                }
                if with_trailers {
                    let _ = stream.send_trailers(fields(&[("x-sum", "1")]));
                }
                outcome.await
            });
            if let ("/echo", Some("7")) = (path, length) {
                assert!(told.contains("7 Some(7)") && told.contains("x-sum") == with_trailers, "{told}");
            }
        }
    }
}

#[test]
fn an_answer_before_the_end_of_a_request_is_as_by_hyper() {
    let told = same("unread", async |pair| {
        let (outcome, mut stream) = begin(pair, request(Method::POST, "/unread"), false).await;
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        let told = outcome.await;
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        format!("{told}, {reset:?}")
    });
    assert!(told.ends_with("\"early\", None, NO_ERROR"), "{told}");
}

/// Some clients take a reset behind a whole answer for a failed request.
#[test]
fn a_request_that_came_whole_is_not_reset_for_want_of_its_mark() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let pair = &mut pair;
        let mut head = request(Method::POST, "/exactly");
        head.headers_mut().insert("content-length", "4".parse().unwrap());
        let (outcome, mut stream) = begin(pair, head.clone(), false).await;
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        outcome.await;
        tokio::time::advance(Duration::from_millis(900)).await;
        stream.send_data(Bytes::new(), true).unwrap();
        get(pair, "/nothing").await;
        // Without it the wait has an end.
        let (outcome, mut stream) = begin(pair, head, false).await;
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        outcome.await;
        let asked = Instant::now();
        let reset = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        assert_eq!((reset, asked.elapsed().as_secs()), (h2::Reason::NO_ERROR, 1));
    });
}

#[test]
fn a_reset_by_the_client_ends_the_handler_as_by_hyper() {
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        same("reset", async |pair| {
            let (outcome, mut stream) = begin(pair, request(Method::POST, "/wait"), false).await;
            let outcome = spawn_local(outcome);
            pair.seen.waiting.notified().await;
            stream.send_reset(reason);
            drop(stream);
            outcome.abort();
            while pair.seen.dropped.get() == 0 {
                tokio::task::yield_now().await;
            }
            get(pair, "/nothing").await
        });
    }
}

#[test]
fn a_client_that_is_gone_drops_every_handler() {
    same("gone", async |pair| {
        let mut waiting = Vec::new();
        for _ in 0..100 {
            waiting.push(begin(pair, request(Method::GET, "/wait"), true).await);
        }
        tokio::task::yield_now().await;
        pair.seen.waiting.notified().await;
        pair.connection.abort();
        drop(waiting);
        let ended = (&mut pair.served).await.unwrap();
        while pair.seen.dropped.get() < 100 {
            tokio::task::yield_now().await;
        }
        format!("{}", ended.is_ok())
    });
}

#[test]
fn connect_has_no_tunnel_but_an_answer() {
    let told = same("connect", async |pair| {
        let connect = Request::builder().method(Method::CONNECT).uri("test:1").body(()).unwrap();
        poll_fn(|cx| pair.client.poll_ready(cx)).await.unwrap();
        let (answer, _stream) = pair.client.send_request(connect, false).unwrap();
        outcome(answer).await
    });
    assert!(told.starts_with("405") && told.contains("\"no\""), "{told}");
}

#[test]
fn a_flood_of_resets_ends_the_connection_as_by_hyper() {
    let told = same("flood", async |pair| {
        // All before the server has its turn.
        for _ in 0..100 {
            let Ok((_, mut stream)) = pair.client.send_request(request(Method::POST, "/wait"), false) else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
        }
        let told = get(pair, "/nothing").await;
        let ended = (&mut pair.served).await.unwrap();
        format!("{told} {}", ended.is_ok())
    });
    assert!(told.contains("ENHANCE_YOUR_CALM") || told.contains("false"), "{told}");
}

#[test]
fn too_long_a_head_is_refused_as_by_hyper() {
    for fields in [10, 400] {
        same("long head", async |pair| {
            let mut head = request(Method::GET, "/nothing");
            for field in 0..fields {
                let name: http::HeaderName = format!("x-{field}").parse().unwrap();
                head.headers_mut().insert(name, "v".repeat(200).parse().unwrap());
            }
            let (outcome, _stream) = begin(pair, head, true).await;
            outcome.await
        });
    }
}

/// Thirty streams at once, whose pieces come in any order, over a byte stream that takes `room` bytes.
async fn crowd(server: Server, seed: u64, room: usize) -> Vec<String> {
    let (ours, theirs) = duplex(room);
    let mut pair = pair_over(server, ours, theirs).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let paths =
        ["/nothing", "/exact", "/pieces", "/trailers", "/large", "/breaks", "/fields", "/echo", "/unread"];
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let path = paths[random.usize(..paths.len())];
        let pieces = random.usize(..4);
        let (outcome, stream) = begin(&mut pair, request(Method::POST, path), pieces == 0).await;
        told.push(spawn_local(async move { format!("{path} {pieces}: {}", outcome.await) }));
        asked.push((stream, pieces));
        if random.bool() {
            tokio::task::yield_now().await;
        }
    }
    while !asked.is_empty() {
        let next = random.usize(..asked.len());
        let (stream, left) = &mut asked[next];
        if *left == 0 {
            // Held until then, for dropping it could reset the stream.
            asked.swap_remove(next);
            continue;
        }
        *left -= 1;
        let piece = Bytes::from(vec![b'p'; random.usize(..20_000)]);
        // It fails once the server has said that it wants no more.
        let _ = stream.send_data(piece, *left == 0);
        if random.bool() {
            tokio::task::yield_now().await;
        }
    }
    let mut outcomes = Vec::new();
    for outcome in told {
        let outcome = outcome.await.unwrap();
        // A reset overtakes what was not sent yet (RFC 9113 section 5.4.2); how much is chance.
        let broken = outcome.contains("INTERNAL_ERROR") && outcome.starts_with("/breaks");
        outcomes.push(if broken { "broken".to_owned() } else { outcome });
    }
    outcomes
}

#[test]
fn answers_arrive_whole_however_little_room_a_client_makes_at_a_time() {
    for window in [1, 7, 1_000, 65_535, 1 << 20] {
        for path in ["/exact", "/pieces", "/trailers", "/fields", "/two", "/one", "/large", "/breaks"] {
            if window < 1_000 && matches!(path, "/two" | "/one" | "/large") {
                continue;
            }
            let told = RefCell::new(Vec::new());
            for server in [Server::Ours, Server::Hypers] {
                test(async || {
                    let mut pair = pair_with_window(server, window).await;
                    let outcome = get(&mut pair, path).await;
                    // A reset overtakes what was not sent yet; how much is chance.
                    let broken = path == "/breaks" && outcome.contains("INTERNAL_ERROR");
                    told.borrow_mut().push(if broken { "broken".to_owned() } else { outcome });
                });
            }
            let [ours, hypers] = &told.into_inner()[..] else { panic!() };
            assert_eq!(ours, hypers, "{path} by {window} bytes");
        }
    }
}

#[test]
fn a_crowd_of_streams_is_served_as_by_hyper_however_little_the_socket_takes() {
    for (seed, room) in [1 << 20, 4096, 333].into_iter().cycle().take(24).enumerate() {
        let told = RefCell::new(Vec::new());
        for server in [Server::Ours, Server::Hypers] {
            test(async || {
                let outcomes = crowd(server, seed as u64, room).await;
                told.borrow_mut().push(outcomes);
            });
        }
        let [ours, hypers] = &told.into_inner()[..] else { panic!() };
        assert_eq!(ours, hypers, "seed {seed}, room {room}");
        assert_eq!(ours.len(), 30);
    }
}

// === ours ===

#[test]
fn head_is_answered_without_a_body_that_is_read_to_its_end_all_the_same() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        for (path, length) in [("/exact", "\"content-length=10\", "), ("/trailers", ""), ("/nothing", "")] {
            let (outcome, _stream) = begin(&mut pair, request(Method::HEAD, path), true).await;
            let told = outcome.await.replace(", ended by its head", "");
            assert_eq!(told, format!("200 OK [{length}\"date=now\"], \"\", None"));
            assert!(pair.seen.ended.take() || path == "/nothing", "{path}");
        }
    });
}

#[test]
fn a_handler_that_panics_loses_its_stream_alone() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (waiting, _stream) = begin(&mut pair, request(Method::GET, "/wait"), true).await;
        let waiting = spawn_local(waiting);
        pair.seen.waiting.notified().await;
        assert_eq!(get(&mut pair, "/panic").await, "no answer: Some(CANCEL)");
        pair.seen.release.notify_one();
        assert!(waiting.await.unwrap().contains("waited"));
        assert_eq!(*pair.seen.failed.borrow(), [ConnectionFault::Panicked]);
    });
}

#[test]
fn trailers_that_frame_a_request_or_say_where_it_comes_from_are_left_out() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (outcome, mut stream) = begin(&mut pair, request(Method::POST, "/echo"), false).await;
        let told = [("x-forwarded-for", "1"), ("content-length", "5"), ("x-sum", "7"), ("x_real_ip", "1")];
        stream.send_trailers(fields(&told)).unwrap();
        let outcome = outcome.await;
        assert!(outcome.contains(r#"0 None {\"x-sum\": \"7\"}""#), "{outcome}");
    });
}

#[test]
fn a_body_is_not_read_on_for_a_client_that_does_not() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        poll_fn(|cx| pair.client.poll_ready(cx)).await.unwrap();
        let (answer, _stream) = pair.client.send_request(request(Method::GET, "/endless"), true).unwrap();
        let mut content = answer.await.unwrap().into_body();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // The client's window holds 64 KiB less a byte; one more chunk is at hand.
        assert!((4..=6).contains(&pair.seen.frames.get()), "{}", pair.seen.frames.get());
        for read in 1..20 {
            let data = content.data().await.unwrap().unwrap();
            content.flow_control().release_capacity(data.len()).unwrap();
            assert!(pair.seen.frames.get() <= read + 10);
        }
        assert!(pair.seen.frames.get() > 10);
        // Other streams are not in the way of it, nor it in theirs.
        assert!(get(&mut pair, "/nothing").await.starts_with("200"));
    });
}

/// Windows are the client's to open: what it is kept ready must not depend on them.
#[test]
fn a_client_with_open_windows_that_reads_nothing_is_kept_little_ready() {
    test(|| async {
        let (ours, theirs) = duplex(1 << 16);
        let (handler, latch) = (ByPath::default(), Rc::<Latch>::default());
        let seen = handler.0.clone();
        let _served = serve(Server::Ours, ours, handler, latch);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        builder.initial_max_send_streams(256);
        let (mut client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
        let mut connection = Box::pin(connection);
        let mut answers = Vec::new();
        for _ in 0..200 {
            poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
            let (answer, _) = client.send_request(request(Method::GET, "/endless"), true).unwrap();
            answers.push(answer);
        }
        for _ in 0..4 {
            let _ = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        let ready = seen.frames.get() * 16_384;
        assert!((1 << 20..9 << 20).contains(&ready), "{ready} bytes for 200 streams");
        // Once it reads, all streams go on, each at its turn.
        spawn_local(connection);
        let readers: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                spawn_local(async move {
                    let (mut content, mut length) = (answer.await.unwrap().into_body(), 0);
                    while length < 1 << 19 {
                        length += content.data().await.unwrap().unwrap().len();
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

#[test]
fn what_a_handler_does_not_read_is_not_let_in() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (_outcome, mut stream) = begin(&mut pair, request(Method::POST, "/wait"), false).await;
        pair.seen.waiting.notified().await;
        let window = DownstreamSpec::default().h2_stream_window as usize;
        stream.send_data(Bytes::from(vec![0; window]), false).unwrap();
        stream.reserve_capacity(1);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stream.capacity(), 0);
    });
}

/// Counts the writes that reach it.
struct Counted(DuplexStream, Rc<Cell<usize>>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.set(self.1.get() + 1);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn the_answers_of_a_turn_leave_in_one_write() {
    test(|| async {
        let (ours, theirs) = duplex(1 << 20);
        let writes = Rc::<Cell<usize>>::default();
        let mut pair = pair_over(Server::Ours, Counted(ours, writes.clone()), theirs).await;
        get(&mut pair, "/nothing").await;
        writes.set(0);
        let mut asked = Vec::new();
        for _ in 0..50 {
            asked.push(begin(&mut pair, request(Method::GET, "/trailers"), true).await);
        }
        for (outcome, _stream) in asked {
            assert!(outcome.await.contains("grpc-status"));
        }
        assert!(writes.get() <= 2, "{} writes", writes.get());
    });
}

/// Says every other time that there is nothing to read, and calls the waker at once, as tokio does
/// when a task has read for long enough.
struct Stuttering(DuplexStream, bool);

impl AsyncRead for Stuttering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1 = !self.1;
        if self.1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stuttering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn reading_goes_on_after_the_task_has_had_its_share() {
    test(|| async {
        let (ours, theirs) = duplex(1 << 20);
        let mut pair = pair_over(Server::Ours, Stuttering(ours, false), theirs).await;
        assert!(get(&mut pair, "/nothing").await.starts_with("200"));
        let (outcome, mut stream) = begin(&mut pair, request(Method::POST, "/echo"), false).await;
        stream.send_data(Bytes::from(vec![0; 300_000]), true).unwrap();
        assert!(outcome.await.contains("\"300000 None"), "all of it arrived");
    });
}

#[test]
fn a_drain_tells_the_client_and_lets_its_streams_finish() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (waiting, _stream) = begin(&mut pair, request(Method::GET, "/wait"), true).await;
        let waiting = spawn_local(waiting);
        pair.seen.waiting.notified().await;
        pair.latch.fire();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!pair.served.is_finished());
        pair.seen.release.notify_one();
        assert!(waiting.await.unwrap().contains("waited"));
        pair.served.await.unwrap().unwrap();
        pair.connection.await.unwrap().unwrap();
    });
}
