//! Binding: one listening socket per worker.
//!
//! On TCP every worker has its own socket on the same port (`SO_REUSEPORT`), so that the kernel
//! spreads connections and no accept lock is shared. That option also lets a second process of the
//! same user join the port in silence and take half the traffic, so the port is first probed with a
//! socket that does not have it. A Unix socket is one, shared by all workers.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::ListenerSpec;
use super::tls::{ServerTls, TlsError};
use crate::base::{BindAddress, Network};

/// What the kernel may hold of an answer that it cannot send yet, in bytes. Else it takes megabytes for a
/// client that reads nothing, and one that reads slowly is seen to take some only now and then.
const UNSENT: u32 = 256 * 1024;

/// Connections the kernel holds for a worker that is busy; it lowers this to `somaxconn`.
const BACKLOG: i32 = 4096;

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener:?} cannot listen on {address}: {reason}")]
pub struct BindError {
    /// Name of the listener.
    pub listener: String,
    /// Where it should have listened.
    pub address: BindAddress,
    /// What stands in the way.
    #[source]
    pub reason: Box<BindReason>,
}

/// What stands in the way of a listener, with the fix.
#[derive(Debug, thiserror::Error)]
pub enum BindReason {
    /// Somebody listens there.
    #[error(
        "the address is in use by another process; stop it (`ss -ltnp` or `ss -lxp` names it) or choose another address"
    )]
    InUse,
    /// The machine has no such address.
    #[error("no interface of this machine has that address; use 0.0.0.0 or [::] for all of them")]
    NotLocal,
    /// Not allowed.
    #[error(
        "permission denied; choose a port from 1024 up (or grant CAP_NET_BIND_SERVICE), or a folder this user may write"
    )]
    Denied,
    /// The path is taken by something that is not a socket.
    #[error("the path exists and is not a socket; remove it or choose another path")]
    NotASocket,
    /// The folder of the path does not exist.
    #[error("the folder of the path does not exist; create it or choose another path")]
    NoFolder,
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Anything else.
    #[error("{0}")]
    Io(io::Error),
}

/// One worker's share of a listener. `Send`: made by the control thread, served by the worker.
///
/// Dropping the last share of a Unix socket removes its file.
#[derive(Debug)]
pub struct Listener {
    pub(super) name: Arc<str>,
    pub(super) socket: ListeningSocket,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) allow_pin: bool,
    pub(super) trusted_peers: Option<Arc<[Network]>>,
    address: BindAddress,
}

/// The socket below a [`Listener`], non-blocking.
#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<SocketFile>),
}

impl Listener {
    /// Name from the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it really listens: with port 0 in the configuration, the port the system chose.
    pub fn local_address(&self) -> &BindAddress {
        &self.address
    }

    /// The same share once more, for a worker that takes the place of one that is gone: clients in the
    /// kernel's queue are kept for it. Both must be dropped before the address is free.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            ListeningSocket::Tcp(socket) => ListeningSocket::Tcp(socket.try_clone()?),
            ListeningSocket::Unix(socket, file) => ListeningSocket::Unix(socket.try_clone()?, file.clone()),
        };
        Ok(Self {
            name: self.name.clone(),
            socket,
            tls: self.tls.clone(),
            allow_pin: self.allow_pin,
            trusted_peers: self.trusted_peers.clone(),
            address: self.address.clone(),
        })
    }

    /// Its TLS side, to be reloaded; the same one for every worker.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }
}

/// Makes one [`Listener`] for each of `workers` (at least one).
///
/// # Errors
///
/// [`BindError`] names listener, address and the fix. Nothing stays bound then.
pub fn bind(spec: &ListenerSpec, workers: usize) -> Result<Vec<Listener>, BindError> {
    let failed = |reason: BindReason| BindError {
        listener: spec.name.clone(),
        address: spec.address.clone(),
        reason: Box::new(reason),
    };
    let tls = match &spec.tls {
        Some(files) => Some(Arc::new(ServerTls::load(files).map_err(|error| failed(error.into()))?)),
        None => None,
    };
    let name: Arc<str> = spec.name.as_str().into();
    let (sockets, address) = match &spec.address {
        BindAddress::Tcp(address) => bind_tcp(*address, workers.max(1)),
        BindAddress::Unix(path) => bind_unix(path, workers.max(1)),
    }
    .map_err(failed)?;
    let share = |socket| Listener {
        name: Arc::clone(&name),
        socket,
        tls: tls.clone(),
        allow_pin: spec.allow_pin,
        trusted_peers: spec.trusted_peers.as_deref().map(Arc::from),
        address: address.clone(),
    };
    Ok(sockets.into_iter().map(share).collect())
}

// === TCP ===

fn bind_tcp(address: SocketAddr, workers: usize) -> Result<(Vec<ListeningSocket>, BindAddress), BindReason> {
    if address.port() != 0 {
        // Fails when anybody listens, be it another Switchback. Closed again before the real bind:
        // it never listened, so no connection can be lost in it.
        tcp_socket(address, false).map_err(reason_of)?;
    }
    let mut bound = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = tcp_socket(bound, true).map_err(reason_of)?;
        socket.listen(BACKLOG).map_err(reason_of)?;
        let listener = TcpListener::from(socket);
        bound = listener.local_addr().map_err(reason_of)?;
        sockets.push(ListeningSocket::Tcp(listener));
    }
    Ok((sockets, BindAddress::Tcp(bound)))
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart must not wait for the old connections' TIME-WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit both on Linux: two system calls less per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

// === Unix ===

fn bind_unix(path: &Path, workers: usize) -> Result<(Vec<ListeningSocket>, BindAddress), BindReason> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(reason_of)?;
    socket.set_nonblocking(true).map_err(reason_of)?;
    let address = socket2::SockAddr::unix(path).map_err(reason_of)?;
    socket.bind(&address).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => BindReason::NoFolder,
        _ => reason_of(error),
    })?;
    // From here on the file is ours to remove, also when listening fails.
    let file = Arc::new(SocketFile::of(path).map_err(reason_of)?);
    socket.listen(BACKLOG).map_err(reason_of)?;
    let listener = UnixListener::from(socket);
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        let share = listener.try_clone().map_err(reason_of)?;
        sockets.push(ListeningSocket::Unix(share, Arc::clone(&file)));
    }
    sockets.push(ListeningSocket::Unix(listener, file));
    Ok((sockets, BindAddress::Unix(path.into())))
}

/// Removes the socket file of a process that is gone. One that answers is in use, and what is not a
/// socket is not ours to remove.
fn remove_stale(path: &Path) -> Result<(), BindReason> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reason_of(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindReason::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(reason_of)
        }
        // A full backlog (WouldBlock) is a live one too.
        Ok(_) | Err(_) => Err(BindReason::InUse),
    }
}

/// The file of a Unix socket, removed when the last worker lets go of it, unless somebody else has
/// put another one there since.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.into(), device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket file could not be removed");
        }
    }
}

fn reason_of(error: io::Error) -> BindReason {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindReason::InUse,
        io::ErrorKind::AddrNotAvailable => BindReason::NotLocal,
        io::ErrorKind::PermissionDenied => BindReason::Denied,
        _ => BindReason::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn spec(address: &str) -> ListenerSpec {
        ListenerSpec {
            name: "main".into(),
            address: address.parse().unwrap(),
            tls: None,
            allow_pin: false,
            trusted_peers: None,
        }
    }

    fn unix(path: &Path) -> ListenerSpec {
        spec(&format!("unix:{}", path.display()))
    }

    #[test]
    fn with_port_zero_every_worker_listens_on_the_port_the_first_one_got() {
        let listeners = bind(&spec("127.0.0.1:0"), 3).unwrap();
        let addresses: HashSet<_> = listeners.iter().map(|l| l.local_address().to_string()).collect();
        assert_eq!((listeners.len(), addresses.len()), (3, 1), "{addresses:?}");
        assert!(!addresses.contains("127.0.0.1:0"));
    }

    #[test]
    fn a_port_in_use_is_a_clear_error_even_when_its_holder_shares_ports() {
        let holder = bind(&spec("127.0.0.1:0"), 2).unwrap();
        let taken = holder[0].local_address().to_string();
        let message = bind(&spec(&taken), 2).unwrap_err().to_string();
        assert!(message.starts_with(&format!("listener \"main\" cannot listen on {taken}: ")), "{message}");
        assert!(message.contains("in use by another process"), "{message}");
        drop(holder);
        bind(&spec(&taken), 2).unwrap();
    }

    #[test]
    fn accepted_connections_inherit_what_their_listener_has() {
        let listener = bind(&spec("127.0.0.1:0"), 1).unwrap().pop().unwrap();
        let (BindAddress::Tcp(address), ListeningSocket::Tcp(socket)) = (&listener.address, &listener.socket)
        else {
            panic!("not TCP")
        };
        let _client = std::net::TcpStream::connect(address).unwrap();
        // The handshake of loopback is over when `connect` returns.
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn a_foreign_address_is_a_clear_error() {
        // 192.0.2.0/24 belongs to documentation (RFC 5737).
        let message = bind(&spec("192.0.2.1:0"), 1).unwrap_err().to_string();
        assert!(message.contains("no interface of this machine"), "{message}");
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sb.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listeners = bind(&unix(&path), 2).unwrap();
        assert_eq!(listeners.len(), 2);
        let message = bind(&unix(&path), 1).unwrap_err().to_string();
        assert!(message.contains("in use by another process"), "{message}");
    }

    #[test]
    fn the_socket_file_goes_with_the_last_worker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sb.sock");
        let mut listeners = bind(&unix(&path), 2).unwrap();
        listeners.pop();
        assert!(path.exists());
        listeners.pop();
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_file_that_somebody_else_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sb.sock");
        let listeners = bind(&unix(&path), 1).unwrap();
        // Both files exist at once, so that the second cannot get the inode of the first.
        let other = folder.path().join("other.sock");
        let _other = UnixListener::bind(&other).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(listeners);
        assert!(path.exists());
    }

    #[test]
    fn what_is_not_a_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let message = bind(&unix(&path), 1).unwrap_err().to_string();
        assert!(message.contains("is not a socket"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
        let message = bind(&unix(&folder.path().join("no/such.sock")), 1).unwrap_err().to_string();
        assert!(message.contains("folder of the path does not exist"), "{message}");
    }
}
