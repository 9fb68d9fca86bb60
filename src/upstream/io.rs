//! The byte stream under an upstream connection: TCP or Unix, bare or in TLS.
//!
//! One enum, so that a pool has one connection type and no boxed streams. It is `Send` because
//! hyper asks that of streams which can be upgraded.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A stream without TLS.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream with or without TLS.
#[derive(Debug)]
pub(super) enum Io {
    Plain(Socket),
    /// Boxed: a TLS session is a kilobyte and would make every plain connection as large.
    Tls(Box<TlsStream<Socket>>),
}

impl Io {
    /// The socket, where it is TCP and nothing lies between.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(Socket::Tcp(stream)) => Some(stream),
            Self::Plain(Socket::Unix(_)) | Self::Tls(_) => None,
        }
    }

    /// Whether nothing can be read now: neither bytes nor an end nor an error. No system call is
    /// made unless the event loop has seen something happen.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Plain(Socket::Tcp(stream)) => stream.try_read(&mut byte),
            Self::Plain(Socket::Unix(stream)) => stream.try_read(&mut byte),
            // Session tickets and the like are taken in on the way (RFC 8446 section 4.6).
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(&mut byte);
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(stream).poll_read(&mut cx, &mut buffer).is_pending();
            }
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Runs `$body` with `$stream` pinned, whatever the variant.
macro_rules! each {
    ($self:expr, [$($variant:ident),+], $stream:ident => $body:expr) => {
        match $self.get_mut() {
            $(Self::$variant(stream) => {
                let $stream = Pin::new(stream);
                $body
            })+
        }
    };
}

macro_rules! forward {
    ($type:ident, $first:ident, $second:ident, shutdown($shutdown:ident) => $stop:expr) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!(self, [$first, $second], stream => stream.poll_read(cx, buffer))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                each!(self, [$first, $second], stream => stream.poll_write(cx, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!(self, [$first, $second], stream => stream.poll_write_vectored(cx, slices))
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::$first(stream) => stream.is_write_vectored(),
                    Self::$second(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self, [$first, $second], stream => stream.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $shutdown = each!(self, [$first, $second], stream => stream.poll_shutdown(cx));
                $stop
            }
        }
    };
}

forward!(Socket, Tcp, Unix, shutdown(result) => result);
// A peer that reads nothing could keep a TLS goodbye, and with it the connection, for ever. It is
// a courtesy: tried once, then the socket is closed.
forward!(Io, Plain, Tls, shutdown(result) => match result {
    Poll::Pending => Poll::Ready(Ok(())),
    ready => ready,
});
