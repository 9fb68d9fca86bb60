//! Clients: one that says exactly what it is told, and one that speaks HTTP properly.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A blocking client that writes the bytes it is given.
pub struct RawClient(pub TcpStream);

/// An HTTP/1.1 answer, read to its end.
#[derive(Debug)]
pub struct RawResponse {
    /// Status code.
    pub status: u16,
    /// The head as text, without the status line.
    pub head: String,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Trailer lines after a chunked body.
    pub trailers: String,
}

impl RawResponse {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|l| l.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl RawClient {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(super::LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Writes bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Asks for `path` and reads the answer.
    pub fn get(&mut self, path: &str) -> RawResponse {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).read()
    }

    /// Sends a body to `path` and reads the answer.
    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> RawResponse {
        self.request("POST", path, headers, body)
    }

    /// Sends a request with a body of known length; `headers` are whole lines.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> RawResponse {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).read()
    }

    /// Reads one byte; `None` at the end of the connection.
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        matches!(self.0.read(&mut byte), Ok(1)).then_some(byte[0])
    }

    /// Reads a line, without its end.
    pub fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            match self.byte() {
                None if line.is_empty() => return None,
                None | Some(b'\n') => break,
                Some(byte) => line.push(byte),
            }
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads exactly this many bytes.
    pub fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads a head: status code and header lines.
    pub fn head(&mut self) -> (u16, String) {
        let status = self.line().expect("no answer");
        let code =
            status.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("{status:?}"));
        let mut head = String::new();
        while let Some(line) = self.line().filter(|l| !l.is_empty()) {
            head.push_str(&line);
            head.push('\n');
        }
        (code, head)
    }

    /// Reads an answer with a body; 1xx answers before it are passed over.
    pub fn read(&mut self) -> RawResponse {
        let (status, head) = loop {
            let (status, head) = self.head();
            if status >= 200 || status == 101 {
                break (status, head);
            }
        };
        let mut response = RawResponse { status, head, body: Vec::new(), trailers: String::new() };
        if matches!(status, 101 | 204 | 304) {
            return response;
        }
        if response.header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
            while let Some(chunk) = self.chunk() {
                response.body.extend(chunk);
            }
            while let Some(line) = self.line().filter(|l| !l.is_empty()) {
                response.trailers.push_str(&line);
                response.trailers.push('\n');
            }
        } else if let Some(length) = response.header("content-length").map(|l| l.parse().unwrap()) {
            response.body = self.exactly(length);
        } else {
            let _ = self.0.read_to_end(&mut response.body);
        }
        response
    }

    /// Reads a chunk of a chunked body; `None` after the last.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{line:?} is no chunk size"));
        if size == 0 {
            return None;
        }
        let chunk = self.exactly(size);
        assert_eq!(self.exactly(2), b"\r\n");
        Some(chunk)
    }

    /// Whether the other side has closed the connection (waits for it).
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Sets how long reads wait.
    pub fn patience(&mut self, limit: Duration) -> &mut Self {
        self.0.set_read_timeout(Some(limit)).unwrap();
        self
    }
}

/// One HTTP connection of hyper's client.
pub enum Http {
    /// HTTP/1.1.
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    /// HTTP/2 with prior knowledge.
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Http {
    /// An HTTP/1.1 connection.
    pub async fn one(address: SocketAddr) -> Self {
        let io = TokioIo::new(dial(address).await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    /// An HTTP/2 connection without TLS.
    pub async fn two(address: SocketAddr) -> Self {
        let io = TokioIo::new(dial(address).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Two(sender)
    }

    /// Sends a request and gives the answer while its body is still to come.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        match self {
            Self::One(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Two(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        }
    }

    /// Sends a body to a path with headers, and reads the answer to its end.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
        let uri = match self {
            Self::One(_) => path.to_owned(),
            Self::Two(_) => format!("http://test{path}"),
        };
        let mut request = Request::post(uri);
        if let Self::One(_) = self {
            request = request.header("host", "test");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await;
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }
}

async fn dial(address: SocketAddr) -> tokio::net::TcpStream {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
