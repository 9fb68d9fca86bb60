//! The byte stream below HTTP: TCP or Unix, plain or TLS, with the bytes read ahead put back.
//!
//! One concrete type for all of them, so that the codec is compiled once; telling the kinds apart is
//! a branch per read or write, each of which is a system call anyway.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::drain::Seat;

/// An accepted socket. It holds its seat for as long as anybody holds it, tunnels included.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: StreamSocket,
    pub(super) _seat: Seat,
}

/// The kinds of socket.
#[derive(Debug)]
pub(super) enum StreamSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket, or TLS over one. TLS is boxed: its state is a kilobyte that plaintext must not pay for.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Transport {
    /// The socket, where it is TCP and nothing lies between.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(Stream { socket: StreamSocket::Tcp(stream), .. }) => Some(stream),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// Has closing it be a reset, which no reader takes for an end. Sockets of other kinds than TCP
    /// know none.
    pub(super) fn reset_on_close(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        if let StreamSocket::Tcp(stream) = &stream.socket {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Runs `$call` on the socket or stream of whichever kind.
macro_rules! on_each {
    ($value:expr, $($variant:path)|+, $inner:ident => $call:expr) => {
        match $value { $($variant($inner) => $call,)+ }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_each!(&mut self.get_mut().socket, StreamSocket::Tcp | StreamSocket::Unix, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        on_each!(&mut self.get_mut().socket, StreamSocket::Tcp | StreamSocket::Unix, s => Pin::new(s).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(&mut self.get_mut().socket, StreamSocket::Tcp | StreamSocket::Unix, s => Pin::new(s).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        on_each!(&self.socket, StreamSocket::Tcp | StreamSocket::Unix, s => s.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(&mut self.get_mut().socket, StreamSocket::Tcp | StreamSocket::Unix, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(&mut self.get_mut().socket, StreamSocket::Tcp | StreamSocket::Unix, s => Pin::new(s).poll_shutdown(cx))
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), Transport::Plain | Transport::Tls, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), Transport::Plain | Transport::Tls, s => Pin::new(s).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), Transport::Plain | Transport::Tls, s => Pin::new(s).poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        on_each!(self, Transport::Plain | Transport::Tls, s => s.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), Transport::Plain | Transport::Tls, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), Transport::Plain | Transport::Tls, s => Pin::new(s).poll_shutdown(cx))
    }
}

/// A stream whose first bytes were read ahead: reading gives them first, then the stream's own. Once
/// they are gone it costs a comparison with `None`.
#[derive(Debug)]
pub(super) struct Rewind<T> {
    prefix: Option<Bytes>,
    inner: T,
}

impl<T> Rewind<T> {
    /// `prefix` before everything that `inner` still gives.
    pub(super) fn new(prefix: Bytes, inner: T) -> Self {
        Self { prefix: Some(prefix).filter(|prefix| !prefix.is_empty()), inner }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if let Some(mut prefix) = me.prefix.take() {
            let given = prefix.split_to(prefix.len().min(buf.remaining()));
            buf.put_slice(&given);
            me.prefix = Some(prefix).filter(Buf::has_remaining);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut me.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_read_ahead_come_first_in_whatever_pieces_they_are_asked_for() {
        for step in 1..=8 {
            let mut stream = Rewind::new(Bytes::from_static(b"GET / "), &b"HTTP/1.1\r\n"[..]);
            let (mut all, mut piece) = (Vec::new(), vec![0; step]);
            loop {
                let read = stream.read(&mut piece).await.unwrap();
                if read == 0 {
                    break;
                }
                all.extend_from_slice(&piece[..read]);
            }
            assert_eq!(all, b"GET / HTTP/1.1\r\n", "step {step}");
        }
    }
}
