//! The admin server: one thread with a runtime of its own, HTTP/1.1, few [places](super::places) for
//! connections, every one of them bounded in time.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::base::BindAddress;
use crate::certs::names::Names;
use crate::config::AdminSpec;
use crate::net::{ServerTls, TlsError};

use super::access::Access;
use super::guard::Reach;
use super::places::{Place, Places};
use super::routes::router;
use super::sidecar::Sidecar;

/// For a whole head to arrive, and between two requests of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// For a whole TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may live before its next answer is its last, and how much longer that
/// answer may take. Together longer than the longest change, loading a model.
const LIFETIME: Duration = Duration::from_secs(300);
const LAST_ANSWER: Duration = Duration::from_secs(120);

/// Threads for what may block: changes, of which fewer are under way at a time, and looking into the
/// store.
const BLOCKING: usize = 8;

/// How long changes that are under way hold up the end.
const END: Duration = Duration::from_secs(1);

/// Why the admin server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("admin.address: cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: BindAddress,
        /// What the system says.
        source: io::Error,
    },
    /// A file of its TLS cannot be used.
    #[error("admin.tls: {0}")]
    Tls(#[from] TlsError),
    /// The system gives no thread or no runtime.
    #[error("the admin thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// A running admin server. It ends when this is dropped, or by [`AdminServer::stop`].
#[derive(Debug)]
pub struct AdminServer {
    address: BindAddress,
    tls: Option<Arc<ServerTls>>,
    /// Only ever dropped, which is the sign to end.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens where `spec` says and answers those whom it names, from a thread of its own.
    ///
    /// # Errors
    /// [`StartError`] when the address is taken or cannot be had, a file of its TLS cannot be used, or no
    /// thread can be started.
    pub fn start(spec: &AdminSpec, sidecar: Arc<dyn Sidecar>) -> Result<Self, StartError> {
        let tls = spec.tls.as_ref().map(ServerTls::load).transpose()?.map(Arc::new);
        let refused = |source| StartError::Bind { address: spec.address.clone(), source };
        let (listener, address) = Listener::bind(&spec.address).map_err(refused)?;
        let access = Access::new(&spec.tokens, &spec.clients);
        let displaced = access.displaced.clone();
        let router = router(sidecar, access, Reach::of(&address));
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING)
            .build()
            .map_err(StartError::Thread)?;
        let shown = tls.clone();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listener, shown, router, displaced, ended));
                runtime.shutdown_timeout(END);
            })
            .map_err(StartError::Thread)?;
        Ok(Self { address, tls, end: Some(end), thread: Some(thread) })
    }

    /// Its TLS side, to be reloaded.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// The address, with the real port.
    pub fn address(&self) -> &BindAddress {
        &self.address
    }

    /// Closes the listener and all connections, and waits until they are.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
        if let BindAddress::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A listener that is bound but not yet any runtime's.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &BindAddress) -> io::Result<(Self, BindAddress)> {
        match address {
            BindAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = BindAddress::Tcp(listener.local_addr()?);
                Ok((Self::Tcp(listener), address))
            }
            BindAddress::Unix(path) => {
                let listener = bind_unix(path)?;
                listener.set_nonblocking(true)?;
                // Who may write to the file may change weights.
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Ok((Self::Unix(listener), address.clone()))
            }
        }
    }
}

/// Binds `path`, in the place of a socket that a dead process left there.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                _ => Err(error),
            }
        }
        bound => bound,
    }
}

async fn serve(
    listener: Listener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    displaced: Arc<AtomicU64>,
    ended: oneshot::Receiver<()>,
) {
    let accepting = async {
        match listener {
            Listener::Tcp(listener) => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    accept(async || listener.accept().await.map(|(io, _)| io), tls, router, displaced).await
                }
                Err(error) => tracing::error!(%error, "the admin address cannot be served"),
            },
            Listener::Unix(listener) => match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    accept(async || listener.accept().await.map(|(io, _)| io), tls, router, displaced).await
                }
                Err(error) => tracing::error!(%error, "the admin address cannot be served"),
            },
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = ended => {}
    }
}

/// Accepts for ever. The connections end with it. `displaced` counts those that made room for others.
pub(super) async fn accept<S>(
    mut next: impl AsyncFnMut() -> io::Result<S>,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    displaced: Arc<AtomicU64>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut places = Places::new(displaced);
    let mut connections = JoinSet::new();
    loop {
        match next().await {
            Ok(stream) => {
                while connections.try_join_next().is_some() {}
                let Some((place, held)) = places.take().await else { return };
                let (tls, router, mine) = (tls.clone(), router.clone(), place.clone());
                let task = connections.spawn(async move {
                    match tls {
                        None => connection(stream, None, router, mine).await,
                        Some(tls) => {
                            // What fails here is the client's affair, as below.
                            let shaken = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
                            if let Ok(Ok((stream, shown))) = shaken {
                                connection(stream, shown, router, mine).await;
                            }
                        }
                    }
                    drop(held);
                });
                places.serving(place, task);
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                tracing::warn!(%error, "an admin connection cannot be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection until it ends or its time is over. `shown` are the names in the certificate
/// that its client has shown.
pub(super) async fn connection<S>(stream: S, shown: Option<Names>, router: Router, place: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(shown) = &shown {
            request.extensions_mut().insert(shown.clone());
        }
        request.extensions_mut().insert(place.clone());
        place.heard();
        let (answering, place) = (router.call(request), place.clone());
        async move {
            let answer = answering.await;
            place.heard();
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service)
    );
    // Errors are the client's: garbage, resets, timeouts. The next request tells the operator more.
    if timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}
