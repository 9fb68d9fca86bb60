//! The whole of `net` over real loopback sockets.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use super::*;
use crate::base::{BindAddress, Fault, FaultKind};
use crate::net::{DrainSignal, IncomingBody, KeyPair, ListenerSpec, TlsSpec, bind, drain_pair};
use crate::wire::upgrade::Upgrade;

/// Longer than any test may take; only a failing test waits for it.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Opened,
    Closed,
    Refused(Refusal),
    Failed(ConnectionFault),
    /// A handler has begun waiting.
    Waiting,
    /// A waiting handler's future was dropped before it was done.
    Abandoned,
}

#[derive(Clone)]
struct Recorder(UnboundedSender<Event>);

impl Recorder {
    fn note(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

impl ConnectionWatch for Recorder {
    fn opened(&self) {
        self.note(Event::Opened);
    }
    fn closed(&self) {
        self.note(Event::Closed);
    }
    fn refused(&self, why: Refusal) {
        self.note(Event::Refused(why));
    }
    fn failed(&self, why: ConnectionFault) {
        self.note(Event::Failed(why));
    }
}

struct Abandon(Option<Recorder>);

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(recorder) = self.0.take() {
            recorder.note(Event::Abandoned);
        }
    }
}

/// Answers by path: `/wait` when released, `/fail` with a broken body, `/panic`, `/upgrade` with a
/// tunnel that echoes, anything else at once with what the connection is.
#[derive(Clone)]
struct ByPath {
    about: String,
    recorder: Recorder,
    release: Rc<tokio::sync::Semaphore>,
}

impl Handler for ByPath {
    type Body = UnsyncBoxBody<Bytes, Fault>;

    fn handle(
        &self,
        mut request: Request<IncomingBody>,
    ) -> impl Future<Output = Response<Self::Body>> + use<> {
        let me = self.clone();
        async move {
            let text = |text: String| Response::new(Full::from(text).map_err(|e| match e {}).boxed_unsync());
            match request.uri().path() {
                "/wait" => {
                    let mut abandon = Abandon(Some(me.recorder.clone()));
                    me.recorder.note(Event::Waiting);
                    me.release.acquire().await.unwrap().forget();
                    abandon.0 = None;
                    text("waited".into())
                }
                "/fail" => {
                    let frames = [
                        Ok(hyper::body::Frame::data(Bytes::from_static(b"part"))),
                        Err(Fault::new(FaultKind::UpstreamReset, "test")),
                    ];
                    Response::new(BodyExt::boxed_unsync(StreamOf(frames.into_iter().collect())))
                }
                "/fail-later" => {
                    // More than is gathered before it is written.
                    let frames = [
                        Ok(hyper::body::Frame::data(Bytes::from(vec![b'x'; 20_000]))),
                        Err(Fault::new(FaultKind::UpstreamReset, "test")),
                    ];
                    Response::new(BodyExt::boxed_unsync(StreamOf(frames.into_iter().collect())))
                }
                "/stream" => {
                    let frames = [Ok(hyper::body::Frame::data(Bytes::from_static(b"part")))];
                    Response::new(BodyExt::boxed_unsync(StreamOf(frames.into_iter().collect())))
                }
                "/panic" => panic!("a handler's bug"),
                "/upgrade" => {
                    let upgrade = Upgrade::take(request.extensions_mut()).unwrap();
                    spawn_local(async move {
                        let mut tunnel = upgrade.connection().await.unwrap();
                        let mut buffer = [0; 64];
                        while let Ok(read @ 1..) = tunnel.read(&mut buffer).await {
                            tunnel.write_all(&buffer[..read]).await.unwrap();
                        }
                    });
                    let mut response = text(String::new());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
                    response.headers_mut().insert("upgrade", "echo".parse().unwrap());
                    response
                }
                "/echo" => text(format!(
                    "{} bytes",
                    request.into_body().collect().await.map_or(0, |body| body.to_bytes().len())
                )),
                _ => text(me.about),
            }
        }
    }
}

struct StreamOf(std::collections::VecDeque<Result<hyper::body::Frame<Bytes>, Fault>>);

impl hyper::body::Body for StreamOf {
    type Data = Bytes;
    type Error = Fault;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Fault>>> {
        Poll::Ready(self.get_mut().0.pop_front())
    }
}

/// A running listener.
struct Running {
    address: BindAddress,
    signal: DrainSignal,
    served: JoinHandle<io::Result<Drained>>,
    events: UnboundedReceiver<Event>,
    release: Rc<tokio::sync::Semaphore>,
}

impl Running {
    fn start(address: &str, tls: Option<TlsSpec>, spec: DownstreamSpec) -> Self {
        let listener = ListenerSpec {
            name: "main".into(),
            address: address.parse().unwrap(),
            tls,
            allow_pin: true,
            trusted_peers: None,
        };
        let listener = bind(&listener, 1).unwrap().pop().unwrap();
        let address = listener.local_address().clone();
        let (signal, drain) = drain_pair();
        let (sender, events) = unbounded_channel();
        let recorder = Recorder(sender);
        let release = Rc::new(tokio::sync::Semaphore::new(0));
        let make = {
            let (recorder, release) = (recorder.clone(), Rc::clone(&release));
            move |info: &ConnectionInfo| ByPath {
                about: format!(
                    "{} peer={} tls={} http2={} pin={}",
                    info.listener,
                    info.peer.map_or("none".into(), |peer| peer.ip().to_string()),
                    info.tls,
                    info.http2,
                    info.allow_pin
                ),
                recorder: recorder.clone(),
                release: Rc::clone(&release),
            }
        };
        let served = spawn_local(serve(listener, Rc::new(spec), drain, make, recorder));
        Self { address, signal, served, events, release }
    }

    fn plain(spec: DownstreamSpec) -> Self {
        Self::start("127.0.0.1:0", None, spec)
    }

    async fn connect(&self) -> TcpStream {
        let BindAddress::Tcp(address) = &self.address else { panic!("not TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap()
    }

    async fn until(&mut self, wanted: Event) -> Vec<Event> {
        let mut before = Vec::new();
        loop {
            match self.event().await {
                event if event == wanted => return before,
                event => before.push(event),
            }
        }
    }

    fn drain(&self, within: Duration) {
        self.signal.start(Instant::now() + within);
    }

    async fn drained(self) -> Drained {
        self.served.await.unwrap().unwrap()
    }
}

fn test<F: Future<Output = ()>>(body: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(20), body()).await.expect("the test hangs");
    });
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    read_all(stream).await
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as FIN: the other side had unread input.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with a Content-Length from a connection that stays open.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = String::new();
    loop {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "ended after {answer:?}");
        answer.push(char::from(byte[0]));
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                return answer;
            }
        }
    }
}

type H2Client = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn h2_client(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (H2Client, JoinHandle<hyper::Result<()>>) {
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (client, spawn_local(connection))
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(Method::GET).uri(format!("http://test{path}")).body(Empty::new()).unwrap()
}

async fn body_of(response: hyper::Result<Response<hyper::body::Incoming>>) -> String {
    let bytes = response.unwrap().into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

struct Pki {
    _folder: tempfile::TempDir,
    spec: TlsSpec,
    client: rustls::ClientConfig,
}

impl Pki {
    fn new(alpn: &[&str]) -> Self {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let spec =
            KeyPair { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&spec.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&spec.key, pair.signing_key.serialize_pem()).unwrap();
        let spec = TlsSpec::new(spec);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let mut client =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { _folder: folder, spec, client }
    }

    async fn connect(&self, stream: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
        tokio_rustls::TlsConnector::from(Arc::new(self.client.clone()))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }
}

// === protocols ===

#[test]
fn http1_is_answered_and_the_handler_knows_its_connection() {
    test(|| async {
        let running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let first = read_answer(&mut client).await;
        assert!(first.ends_with("main peer=127.0.0.1 tls=false http2=false pin=true"), "{first}");
        let answer = exchange(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    });
}

#[test]
fn a_request_longer_than_the_first_read_arrives_whole() {
    test(|| async {
        let running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        let mut request =
            b"POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n".to_vec();
        request.resize(request.len() + 100_000, b'x');
        let answer = exchange(&mut client, &request).await;
        assert!(answer.ends_with("100000 bytes"), "{answer}");
    });
}

#[test]
fn http2_with_prior_knowledge_is_answered_on_the_same_port() {
    test(|| async {
        let running = Running::plain(DownstreamSpec::default());
        let (mut client, _connection) = h2_client(running.connect().await).await;
        let answer = body_of(client.send_request(get("/")).await).await;
        assert_eq!(answer, "main peer=127.0.0.1 tls=false http2=true pin=true");
    });
}

#[test]
fn a_preface_that_comes_byte_by_byte_is_still_http2() {
    test(|| async {
        let running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        client.set_nodelay(true).unwrap();
        let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for byte in [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &empty_settings].concat() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut frame = [0; 9];
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "the server's SETTINGS come first (RFC 9113 section 3.4)");
    });
}

#[test]
fn tls_speaks_what_alpn_agreed_on() {
    for (offered, expected) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
        test(|| async move {
            let pki = Pki::new(offered);
            let running = Running::start("127.0.0.1:0", Some(pki.spec.clone()), DownstreamSpec::default());
            let mut stream = pki.connect(running.connect().await).await;
            let answer = if expected {
                let (mut client, _connection) = h2_client(stream).await;
                body_of(client.send_request(get("/")).await).await
            } else {
                exchange(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await
            };
            let about = format!("main peer=127.0.0.1 tls=true http2={expected} pin=true");
            assert!(answer.ends_with(&about), "{offered:?}: {answer}");
        });
    }
}

#[test]
fn a_unix_socket_speaks_both_protocols_and_its_file_goes_at_the_end() {
    test(|| async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sb.sock");
        let running = Running::start(&format!("unix:{}", path.display()), None, DownstreamSpec::default());
        let mut client = UnixStream::connect(&path).await.unwrap();
        let answer = exchange(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("main peer=none tls=false http2=false pin=true"), "{answer}");
        let (mut client, connection) = h2_client(UnixStream::connect(&path).await.unwrap()).await;
        let answer = body_of(client.send_request(get("/")).await).await;
        assert!(answer.contains("http2=true"), "{answer}");
        drop(client);
        running.drain(NEVER);
        assert_eq!(running.drained().await, Drained { aborted: 0 });
        assert!(!path.exists());
        let _ = connection.await;
    });
}

#[test]
fn an_upgraded_connection_becomes_a_tunnel_that_the_drain_waits_for() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        client
            .write_all(b"GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let answer = read_answer(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        running.until(Event::Closed).await;
        running.drain(NEVER);
        let mut echoed = [0; 4];
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut echoed).await.unwrap();
        assert!(&echoed == b"ping" && !running.served.is_finished());
        drop(client);
        assert_eq!(running.drained().await, Drained { aborted: 0 });
    });
}

// === bad input ===

#[test]
fn garbage_is_answered_with_400_and_the_connection_closed() {
    let cases: [&[u8]; 7] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
        b"hello there\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/3.0\r\n\r\n",
    ];
    test(|| async move {
        let mut running = Running::plain(DownstreamSpec::default());
        for garbage in cases {
            let mut client = running.connect().await;
            let answer = exchange(&mut client, garbage).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer:?}");
            let told = running.until(Event::Closed).await;
            assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::Protocol)], "{garbage:?}");
        }
    });
}

#[test]
fn a_broken_http2_frame_ends_the_connection_as_a_protocol_fault() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        // DATA on stream 0 (RFC 9113 section 6.1).
        let frames =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0; 3], &[4], &[0; 5], &[0; 9]].concat();
        client.write_all(&frames).await.unwrap();
        read_all(&mut client).await;
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::Protocol)]);
    });
}

#[test]
fn too_many_or_too_long_headers_are_answered_with_431() {
    let spec = DownstreamSpec { header_bytes: 4096, ..DownstreamSpec::default() };
    let few = DownstreamSpec { header_count: 10, ..DownstreamSpec::default() };
    let head = |fields: usize, length: usize| {
        let mut head = String::from("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
        for field in 2..fields {
            head += &format!("x-{field}: {}\r\n", "v".repeat(length));
        }
        head + "\r\n"
    };
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "v".repeat(1 << 20));
    let cases = [
        (DownstreamSpec::default(), head(100, 1), "200"),
        (DownstreamSpec::default(), head(101, 1), "431"),
        (few.clone(), head(10, 1), "200"),
        (few, head(11, 1), "431"),
        (spec.clone(), head(10, 300), "200"),
        (spec.clone(), head(10, 600), "431"),
        (spec, endless, "431"),
    ];
    for (spec, head, expected) in cases {
        test(|| async move {
            let running = Running::plain(spec);
            let mut client = running.connect().await;
            // The server may close before it has read everything.
            let _ = client.write_all(head.as_bytes()).await;
            let answer = read_all(&mut client).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{}: {answer:?}", head.len());
        });
    }
}

#[test]
fn a_body_that_fails_cuts_the_connection_before_its_last_chunk() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        let answer = exchange(&mut client, b"GET /fail HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::AnswerFailed)]);
    });
}

#[test]
fn an_answer_that_only_the_end_of_the_connection_ends_is_reset_where_it_fails() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        for path in ["/fail", "/fail-later"] {
            let mut client = running.connect().await;
            client.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let error = client.read_to_end(&mut answer).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{path}");
            let told = running.until(Event::Closed).await;
            assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::AnswerFailed)]);
        }
        // One that is whole ends as it should.
        let mut client = running.connect().await;
        let answer = exchange(&mut client, b"GET /stream HTTP/1.0\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\npart"), "{answer:?}");
    });
}

#[test]
fn a_handler_that_panics_takes_only_its_own_connection_down() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        assert_eq!(exchange(&mut client, b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::Panicked)]);
        let mut client = running.connect().await;
        let answer = exchange(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

// === time and number ===

#[test]
fn a_client_that_says_nothing_is_closed_after_the_first_byte_timeout() {
    test(|| async {
        let spec = DownstreamSpec { first_byte_timeout: Duration::from_millis(30), ..Default::default() };
        for begun in [&b""[..], b"PRI * HT"] {
            let mut running = Running::plain(spec.clone());
            let mut client = running.connect().await;
            assert_eq!(exchange(&mut client, begun).await, "");
            let told = running.until(Event::Closed).await;
            assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::FirstByteTimeout)]);
        }
    });
}

#[test]
fn a_slow_head_and_an_idle_connection_are_closed_after_the_header_timeout() {
    test(|| async {
        let spec = DownstreamSpec { header_timeout: Duration::from_millis(40), ..Default::default() };
        let mut running = Running::plain(spec);
        let mut client = running.connect().await;
        assert_eq!(exchange(&mut client, b"GET / HTTP/1.1\r\nhos").await, "");
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::HeaderTimeout)]);
        let mut client = running.connect().await;
        let answer = exchange(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::HeaderTimeout)]);
    });
}

#[test]
fn a_handshake_that_fails_or_stalls_is_counted_apart() {
    test(|| async {
        let pki = Pki::new(&[]);
        let spec = DownstreamSpec { handshake_timeout: Duration::from_millis(50), ..Default::default() };
        let mut running = Running::start("127.0.0.1:0", Some(pki.spec.clone()), spec);
        for (sent, fault) in [
            (&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], ConnectionFault::Handshake),
            (b"\x16\x03\x01", ConnectionFault::HandshakeTimeout),
        ] {
            let mut client = running.connect().await;
            exchange(&mut client, sent).await;
            let told = running.until(Event::Closed).await;
            assert_eq!(told, [Event::Opened, Event::Failed(fault)]);
        }
    });
}

#[test]
fn no_more_handshakes_are_under_way_than_allowed_and_the_next_one_is_counted() {
    test(|| async {
        let pki = Pki::new(&[]);
        let spec = DownstreamSpec { max_handshakes: 1, handshake_timeout: NEVER, ..Default::default() };
        let mut running = Running::start("127.0.0.1:0", Some(pki.spec.clone()), spec);
        // It says nothing, and so its handshake goes on.
        let first = running.connect().await;
        assert_eq!(running.event().await, Event::Opened);
        let mut second = running.connect().await;
        assert_eq!(read_all(&mut second).await, "");
        let told = running.until(Event::Closed).await;
        assert_eq!(told, [Event::Opened, Event::Failed(ConnectionFault::TooManyHandshakes)]);
        drop(first);
        running.until(Event::Closed).await;
        let mut third = pki.connect(running.connect().await).await;
        let answer = exchange(&mut third, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once_and_a_freed_place_is_taken_again() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec { max_connections: 1, ..Default::default() });
        let first = running.connect().await;
        assert_eq!(running.event().await, Event::Opened);
        let mut second = running.connect().await;
        assert_eq!(read_all(&mut second).await, "");
        assert_eq!(running.event().await, Event::Refused(Refusal::TooManyConnections));
        drop(first);
        assert_eq!(running.event().await, Event::Closed);
        let mut third = running.connect().await;
        let answer = exchange(&mut third, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn errors_of_accept_concern_one_connection_or_all() {
    let of = |number| trouble_of(&io::Error::from_raw_os_error(number));
    // accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM.
    for number in [24, 23, 105, 12] {
        assert_eq!(of(number), AcceptTrouble::Ours(Refusal::OutOfResources), "{number}");
    }
    // ECONNABORTED, EINTR, ENETDOWN, EHOSTUNREACH, ENETUNREACH.
    for number in [103, 4, 100, 113, 101] {
        assert_eq!(of(number), AcceptTrouble::ThatConnection, "{number}");
    }
    // EINVAL, EBADF and whatever else: rest, so that the loop never spins.
    for number in [22, 9, 95] {
        assert_eq!(of(number), AcceptTrouble::Ours(Refusal::AcceptFailed), "{number}");
    }
}

// === leaving ===

#[test]
fn a_client_that_leaves_drops_the_future_of_its_request() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        client.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        running.until(Event::Waiting).await;
        drop(client);
        // The request is dropped as it fails, the connection's task reports after that.
        let mut told = [running.event().await, running.event().await, running.event().await];
        told.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(told, [Event::Abandoned, Event::Closed, Event::Failed(ConnectionFault::ClientLeft)]);
    });
}

#[test]
fn a_stream_that_is_reset_drops_the_future_of_its_request_alone() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let (mut client, _connection) = h2_client(running.connect().await).await;
        let waiting = client.send_request(get("/wait"));
        let waiting = spawn_local(waiting);
        running.until(Event::Waiting).await;
        waiting.abort();
        assert_eq!(running.event().await, Event::Abandoned);
        let answer = body_of(client.send_request(get("/")).await).await;
        assert!(answer.contains("http2=true"), "{answer}");
    });
}

// === draining ===

#[test]
fn a_drain_lets_the_request_in_flight_finish_closes_idle_ones_and_refuses_new_ones() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut idle = running.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        read_answer(&mut idle).await;
        let mut busy = running.connect().await;
        busy.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        running.until(Event::Waiting).await;
        running.drain(NEVER);
        assert_eq!(read_all(&mut idle).await, "", "the idle one is closed at once");
        let BindAddress::Tcp(address) = running.address else { panic!() };
        let refused = TcpStream::connect(address).await.map_err(|error| error.kind());
        assert_eq!(refused.map(|_| ()), Err(io::ErrorKind::ConnectionRefused));
        assert!(!running.served.is_finished());
        running.release.add_permits(1);
        let answer = read_all(&mut busy).await;
        assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer}");
        assert_eq!(running.drained().await, Drained { aborted: 0 });
    });
}

#[test]
fn a_drain_lets_http2_streams_finish_and_then_ends_the_connection() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let (mut client, connection) = h2_client(running.connect().await).await;
        let waiting = spawn_local(client.send_request(get("/wait")));
        running.until(Event::Waiting).await;
        running.drain(NEVER);
        let BindAddress::Tcp(address) = running.address else { panic!() };
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!running.served.is_finished());
        running.release.add_permits(1);
        assert_eq!(body_of(waiting.await.unwrap()).await, "waited");
        // The client still holds its handle: it is the server that ends the connection.
        assert_eq!(running.drained().await, Drained { aborted: 0 });
        connection.await.unwrap().unwrap();
        drop(client);
    });
}

#[test]
fn a_connection_that_waits_in_the_queue_when_the_drain_begins_is_still_answered() {
    test(|| async {
        let running = Running::plain(DownstreamSpec::default());
        // A blocking client: the accept loop cannot run between connecting and draining.
        let BindAddress::Tcp(address) = running.address else { panic!() };
        let mut client = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        running.drain(NEVER);
        client.set_nonblocking(true).unwrap();
        let answer = read_all(&mut TcpStream::from_std(client).unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer:?}");
        assert_eq!(running.drained().await, Drained { aborted: 0 });
    });
}

#[test]
fn at_the_deadline_what_is_left_is_cut_and_counted() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut h1 = running.connect().await;
        h1.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        running.until(Event::Waiting).await;
        let (mut client, _connection) = h2_client(running.connect().await).await;
        let waiting = spawn_local(client.send_request(get("/wait")));
        running.until(Event::Waiting).await;
        running.drain(NEVER);
        // A second signal shortens the first.
        running.drain(Duration::ZERO);
        assert!(waiting.await.unwrap().is_err());
        assert_eq!(read_all(&mut h1).await, "");
        let mut told: Vec<Event> = Vec::new();
        while told.iter().filter(|event| **event == Event::Abandoned).count() < 2 {
            told.push(running.event().await);
        }
        assert_eq!(running.drained().await, Drained { aborted: 2 });
    });
}

#[test]
fn dropping_the_server_aborts_its_connections_and_reports_each_as_closed() {
    test(|| async {
        let mut running = Running::plain(DownstreamSpec::default());
        let mut client = running.connect().await;
        client.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        running.until(Event::Waiting).await;
        running.served.abort();
        let rest = Rc::new(RefCell::new(Vec::new()));
        while let Some(event) = running.events.recv().await {
            rest.borrow_mut().push(event);
            if event == Event::Closed {
                break;
            }
        }
        assert!(rest.borrow().contains(&Event::Closed));
        assert_eq!(read_all(&mut client).await, "");
    });
}
