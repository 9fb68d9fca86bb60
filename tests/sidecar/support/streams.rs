//! Servers and clients whose bodies are given piece by piece, over TCP, Unix sockets and TLS. They
//! run on the test's own thread, so that a test decides what happens when.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring, pki_types};

/// What a body may fail with; an `h2::Error` among its causes is the reset's reason.
pub type Broken = Box<dyn Error + Send + Sync>;

/// A body whose frames come from a [`Feed`].
pub struct Streamed(mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

/// Feeds a [`Streamed`]; dropped, it ends it.
pub struct Feed(mpsc::Sender<Result<Frame<Bytes>, Broken>>);

/// A body and what feeds it, one frame at a time.
pub fn streamed() -> (Feed, Streamed) {
    let (feed, body) = mpsc::channel(1);
    (Feed(feed), Streamed(body))
}

/// A body that is there already, in these chunks and trailers.
pub fn ready(chunks: &[&[u8]], trailers: Option<HeaderMap>) -> Streamed {
    let (feed, body) = mpsc::channel(chunks.len() + 1);
    for chunk in chunks {
        feed.try_send(Ok(Frame::data(Bytes::copy_from_slice(chunk)))).unwrap();
    }
    if let Some(trailers) = trailers {
        feed.try_send(Ok(Frame::trailers(trailers))).unwrap();
    }
    Streamed(body)
}

impl Feed {
    /// Gives a chunk; `false` when nobody wants it any more.
    pub async fn data(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(chunk.into()))).await.is_ok()
    }

    /// Ends the body with trailers.
    pub async fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Ok(Frame::trailers(trailers))).await;
    }

    /// Breaks the body off: over HTTP/2 by a reset with this reason.
    pub async fn reset(self, reason: h2::Reason) {
        let _ = self.0.send(Err(Box::new(h2::Error::from(reason)))).await;
    }

    /// Waits until nobody wants the body any more.
    pub async fn unwanted(&self) {
        self.0.closed().await;
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// Header fields of pairs.
pub fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The next chunk of a body, as text.
pub async fn chunk(body: &mut Incoming) -> String {
    let frame = body.frame().await.expect("the body has ended").expect("the body is broken");
    String::from_utf8_lossy(&frame.into_data().expect("no data but trailers")).into_owned()
}

/// The reason in an HTTP/2 error.
pub fn reason(error: &hyper::Error) -> Option<h2::Reason> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<h2::Error>() {
            return found.reason();
        }
        next = error.source();
    }
    None
}

/// Runs hyper's tasks on the test's thread.
#[derive(Clone, Copy)]
pub struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

/// Where a [`serve`]d upstream listens.
pub enum Place<'a> {
    /// Any port.
    Tcp,
    /// Any port, with TLS.
    Tls(&'a Identity),
    /// A Unix socket.
    Unix(&'a Path),
}

/// Starts an upstream for HTTP/1.1 and HTTP/2 on the test's thread; returns its URL. Each request
/// is given to `answer`, and its future is dropped when the request is given up.
pub async fn serve<F>(place: Place<'_>, answer: impl Fn(Request<Incoming>) -> F + Clone + 'static) -> String
where
    F: Future<Output = Response<Streamed>> + 'static,
{
    match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(path).unwrap();
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    spawn_local(converse(stream, answer.clone()));
                }
            });
            format!("unix:{}", path.display())
        }
        Place::Tcp => {
            let (listener, port) = listen().await;
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    spawn_local(converse(stream, answer.clone()));
                }
            });
            format!("http://127.0.0.1:{port}")
        }
        Place::Tls(identity) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(identity.server.clone());
            let (listener, port) = listen().await;
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, answer) = (acceptor.clone(), answer.clone());
                    spawn_local(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            converse(stream, answer).await;
                        }
                    });
                }
            });
            format!("https://localhost:{port}")
        }
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn converse<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    answer: impl Fn(Request<Incoming>) -> F + Clone + 'static,
) where
    F: Future<Output = Response<Streamed>> + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(Local);
    builder.http2().max_header_list_size(256 * 1024);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// A connection to the sidecar whose requests have [`Streamed`] bodies.
pub enum Stream {
    /// HTTP/1.1.
    One(http1::SendRequest<Streamed>),
    /// HTTP/2.
    Two(http2::SendRequest<Streamed>),
}

impl Stream {
    /// HTTP/1.1 without TLS.
    pub async fn one(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), false).await
    }

    /// HTTP/2 with prior knowledge.
    pub async fn two(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), true).await
    }

    /// Over a Unix socket.
    pub async fn unix(path: &Path, http2: bool) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap(), http2).await
    }

    /// Over TLS; ALPN must choose what is wanted.
    pub async fn tls(address: SocketAddr, identity: &Identity, http2: bool) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = pki_types::ServerName::try_from("localhost").unwrap();
        let stream = identity.connector(http2).connect(name, tcp).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        assert_eq!(agreed, http2, "ALPN chose another protocol");
        Self::over(stream, http2).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, http2: bool) -> Self {
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) =
                http2::Builder::new(Local).max_header_list_size(256 * 1024).handshake(io).await.unwrap();
            spawn_local(connection);
            Self::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            spawn_local(connection);
            Self::One(sender)
        }
    }

    /// Sends a request to a path; its head is completed as the protocol needs.
    pub async fn send(&mut self, request: Request<Streamed>) -> hyper::Result<Response<Incoming>> {
        self.begin(request).await.await
    }

    /// The same, and gives the answer's future, so that several can be under way.
    pub async fn begin(
        &mut self,
        mut request: Request<Streamed>,
    ) -> Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>>>> {
        match self {
            Self::One(sender) => {
                request.headers_mut().entry("host").or_insert("test".parse().unwrap());
                sender.ready().await.unwrap();
                Box::pin(sender.send_request(request))
            }
            Self::Two(sender) => {
                *request.uri_mut() = format!("http://test{}", request.uri()).parse().unwrap();
                sender.ready().await.unwrap();
                Box::pin(sender.send_request(request))
            }
        }
    }
}

/// A certificate for `localhost`, signed by an authority of its own.
pub struct Identity {
    server: Arc<ServerConfig>,
    authority: pki_types::CertificateDer<'static>,
}

impl Identity {
    /// Makes one; `ca.pem`, `cert.pem` and `key.pem` are written into `folder`.
    pub fn new(folder: &Path) -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer =
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();

        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { server: Arc::new(server), authority: issuer.der().clone() }
    }

    fn connector(&self, http2: bool) -> tokio_rustls::TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        tokio_rustls::TlsConnector::from(Arc::new(config))
    }
}
