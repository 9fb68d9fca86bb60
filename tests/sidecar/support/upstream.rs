//! Upstreams: one that speaks HTTP properly and says what it saw, and raw ones that do as told.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

/// The body of an upstream's answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// What an upstream saw of a request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Target, as it came.
    pub uri: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailers after the body.
    pub trailers: Option<HeaderMap>,
    /// HTTP/1.1 or HTTP/2.
    pub version: http::Version,
}

/// An HTTP/1.1 and HTTP/2 (prior knowledge) server on a thread of its own.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Upstream {
    /// A server that answers each whole request with `answer`.
    pub fn start(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", answer)
    }

    /// The same at an address.
    pub fn start_on(address: &str, answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start_at(TcpListener::bind(address).unwrap(), answer)
    }

    /// The same on a socket that listens already.
    pub fn start_at(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        Self::begin(listener, answer, true)
    }

    fn begin(
        listener: TcpListener,
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
        remembers: bool,
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (log, answer) = (remembers.then(|| seen.clone()), Arc::new(answer));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let accept = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let _ = stream.set_nodelay(true);
                        let (log, answer) = (log.clone(), answer.clone());
                        tokio::spawn(async move {
                            let service =
                                service_fn(move |request| answer_one(request, log.clone(), answer.clone()));
                            let _ = auto::Builder::new(TokioExecutor::new())
                                .serve_connection(TokioIo::new(stream), service)
                                .await;
                        });
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Self { address, seen, stop: Some(stop) }
    }

    /// A server that answers with its name and what it was sent.
    pub fn echo(name: &'static str) -> Self {
        Self::start(move |seen| {
            Response::builder().header("x-upstream", name).body(full(seen.body.clone())).unwrap()
        })
    }

    /// The same, which does not remember what it saw.
    pub fn forgetful_echo(name: &'static str) -> Self {
        Self::forgetful(move |seen| {
            Response::builder().header("x-upstream", name).body(full(seen.body.clone())).unwrap()
        })
    }

    /// A server that does not remember what it saw: for millions of requests.
    pub fn forgetful(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::begin(TcpListener::bind("127.0.0.1:0").unwrap(), answer, false)
    }

    /// Everything it saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests it saw so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening and cuts every connection.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// What an upstream says to what it saw.
type Answer = dyn Fn(&Seen) -> Response<Body> + Send + Sync;

async fn answer_one(
    request: Request<Incoming>,
    log: Option<Arc<Mutex<Vec<Seen>>>>,
    answer: Arc<Answer>,
) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?;
    let seen = Seen {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        headers: head.headers,
        trailers: body.trailers().cloned(),
        body: body.to_bytes(),
        version: head.version,
    };
    let response = answer(&seen);
    if let Some(log) = log {
        log.lock().unwrap().push(seen);
    }
    Ok(response)
}

/// A body of known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A server that hands each connection, on a thread of its own, to `serve`.
pub fn raw_upstream(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// An address that refuses connections for as long as it is held: bound, but nobody listens.
pub struct Refusing(socket2::Socket);

impl Refusing {
    /// Takes a free port.
    pub fn start() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self(socket)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }

    /// The address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Refuses nobody any more. The port was held all the time, so that nobody else has taken it.
    pub fn listen(self) -> TcpListener {
        self.0.listen(128).unwrap();
        self.0.into()
    }
}
