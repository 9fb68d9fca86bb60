//! Opening one connection to an upstream: look up, connect, TLS handshake.
//!
//! All of it happens within the upstream's `connect_timeout`, and every failure becomes one line
//! that names the address and the reason.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError};
use socket2::{Domain, SockRef, TcpKeepalive, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::io::{Io, Socket};
use super::target::Place;
use super::tls::{ALPN_HTTP2, TargetTls};
use super::{Protocol, Target};
use crate::base::{Fault, FaultKind};

/// HTTP version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    Http2,
}

/// The kernel asks a silent peer after this long, so that a connection to a vanished host dies.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Between the kernel's questions, of which it asks three.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Connects and closes again: whether the upstream is there, its TLS included.
///
/// # Errors
/// As for any request: `ConnectFailed`, `ConnectTimeout` or `Exhausted`.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub(super) async fn probe(target: &Target) -> Result<(), Fault> {
    let wanted = match target.spec().protocol {
        Protocol::Http2 => Wire::Http2,
        Protocol::Auto | Protocol::Http1 => Wire::Http1,
    };
    connect(target, wanted).await.map(drop)
}

/// Connects to `target` for a request that wants `wanted`. Over TLS with protocol `auto` the
/// upstream's ALPN answer decides, so that the connection may speak HTTP/1.1 where HTTP/2 was
/// wanted.
///
/// # Errors
/// `ConnectTimeout` after `connect_timeout`, `Exhausted` where this process has too little of something,
/// `ConnectFailed` for everything else.
///
/// # Cancel safety
/// Dropping the future gives up the attempt and closes its socket.
pub(super) async fn connect(target: &Target, wanted: Wire) -> Result<(Io, Wire), Fault> {
    let limit = target.spec().connect_timeout;
    let deadline = Instant::now() + limit;
    let establish = async {
        let socket = open(target, deadline).await?;
        match target.tls() {
            None => Ok((Io::Plain(socket), wanted)),
            Some(tls) => handshake(target, tls, socket, wanted).await,
        }
    };
    timeout_at(deadline, establish).await.unwrap_or_else(|_| {
        let detail = format!("{target} did not accept a connection within {limit:?}");
        Err(Fault::new(FaultKind::ConnectTimeout, detail))
    })
}

async fn open(target: &Target, deadline: Instant) -> Result<Socket, Fault> {
    let not_opened = |error: io::Error| match is_ours(&error) {
        true => Fault::new(FaultKind::Exhausted, format!("no connection to {target} can be opened: {error}")),
        false => failed(target, reason(&error)),
    };
    match target.place() {
        Place::Ip(address) => tcp(*address).await.map_err(not_opened),
        Place::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix).map_err(not_opened),
        Place::Name(host, port) => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let addresses: Vec<SocketAddr> = match found {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    return Err(match want_behind(error) {
                        Ok(want) => not_opened(want),
                        Err(error) => failed(target, format_args!("no address for {host:?} ({error})")),
                    });
                }
            };
            first_that_answers(&addresses, deadline, tcp).await.map_err(not_opened)
        }
    }
}

/// Whether it is this process that has too little of something, and not the other side's affair.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    ours.iter().any(|errno| is(error, *errno))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// What this process had too little of when a lookup failed with `error`, or else that error. The
/// resolver takes what it cannot open for a file that is not there or a server that says nothing.
fn want_behind(error: io::Error) -> Result<io::Error, io::Error> {
    match UnixDatagram::unbound() {
        Err(want) if is_ours(&want) => Ok(want),
        _ if is_ours(&error) => Ok(error),
        _ => Err(error),
    }
}

/// `error` of connecting to `address`. EADDRNOTAVAIL says that no local port is left, or else that this
/// host has no address of its own to reach `address` from, as one without IPv6: that is no want that
/// could pass, and becomes another error. A datagram socket takes the same way with ports of its own,
/// and sends nothing.
fn told_apart(error: io::Error, address: SocketAddr) -> io::Error {
    if !is(&error, Errno::ADDRNOTAVAIL) {
        return error;
    }
    let asked = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, None)
        .and_then(|socket| socket.connect(&address.into()));
    match asked {
        Err(found) if is(&found, Errno::ADDRNOTAVAIL) => {
            let detail = format!("this host has no address from which {} can be reached", address.ip());
            io::Error::new(io::ErrorKind::AddrNotAvailable, detail)
        }
        _ => error,
    }
}

/// What the failure of one of several addresses says of all of them: what the other side did says
/// most, what we have too little of may hide that, and that there is no way to one of them says nothing
/// of the others.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    NoWay,
    Ours,
    Theirs,
}

impl Says {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            _ if is_ours(error) => Self::Ours,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable => Self::NoWay,
            _ if is(error, Errno::AFNOSUPPORT) => Self::NoWay,
            _ => Self::Theirs,
        }
    }
}

/// Tries one address after the other. Each gets its share of the time that is left, so that an
/// address which swallows packets leaves time for the next. The error is the last of those that say
/// most.
async fn first_that_answers<T, F>(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut worst: Option<io::Error> = None;
    for (tried, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX).max(1);
        let share = deadline.saturating_duration_since(Instant::now()) / untried;
        let error = match timeout(share, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "no answer"),
        };
        if worst.as_ref().is_none_or(|worst| Says::of(&error) >= Says::of(worst)) {
            worst = Some(error);
        }
    }
    Err(worst.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

async fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let stream = TcpStream::connect(address).await.map_err(|error| told_apart(error, address))?;
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(3);
    // A courtesy of the kernel: where it is refused the connection works all the same.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok(Socket::Tcp(stream))
}

async fn handshake(
    target: &Target,
    tls: &TargetTls,
    socket: Socket,
    wanted: Wire,
) -> Result<(Io, Wire), Fault> {
    let stream = TlsConnector::from(tls.config(wanted == Wire::Http2))
        .connect(tls.name.clone(), socket)
        .await
        .map_err(|error| failed(target, reason(&error)))?;
    let wire = match (target.spec().protocol, stream.get_ref().1.alpn_protocol()) {
        (_, Some(ALPN_HTTP2)) => Wire::Http2,
        // A server without ALPN speaks what the operator says it does.
        (Protocol::Http2, None) => Wire::Http2,
        _ => Wire::Http1,
    };
    Ok((Io::Tls(Box::new(stream)), wire))
}

fn failed(target: &Target, reason: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::ConnectFailed, format!("cannot connect to {target}: {reason}"))
}

/// What a person needs to know of `error`, in a few words.
fn reason(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_reason(tls);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such address or socket".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed during the TLS handshake".to_owned(),
        _ => error.to_string(),
    }
}

fn tls_reason(error: &rustls::Error) -> String {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not signed by a trusted authority (see tls.ca)".to_owned()
        }
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("its certificate is for another name (see tls.serverName): {error}"),
        E::InvalidCertificate(_) => format!("its certificate is refused: {error}"),
        E::AlertReceived(AlertDescription::NoApplicationProtocol) | E::NoApplicationProtocol => {
            "it does not speak the HTTP version that is asked of it (see protocol)".to_owned()
        }
        E::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
