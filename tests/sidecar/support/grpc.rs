//! gRPC by hand: messages, calls and a server, without generated code.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::upstream::{Body, Upstream};

/// Path of a unary inference of the Open Inference Protocol.
pub const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// Path of a streamed one.
pub const STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A gRPC message, with its prefix, of protobuf fields of type string (up to 127 bytes each).
pub fn message(fields: &[(u8, &str)]) -> Bytes {
    let mut body = Vec::new();
    for (field, value) in fields {
        body.extend([field << 3 | 2, u8::try_from(value.len()).unwrap()]);
        body.extend(value.as_bytes());
    }
    let mut message = vec![0];
    message.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message.into()
}

/// The messages of a gRPC body, each with its fields as text; of a field that stands twice the last
/// one counts, as in protobuf.
pub fn fields(mut body: &[u8]) -> Vec<Vec<(u8, String)>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let (mut rest, after) = body[5..].split_at(length);
        let mut found: Vec<(u8, String)> = Vec::new();
        while let [tag, length, more @ ..] = rest {
            assert_eq!(tag & 7, 2, "a field that is no string: {rest:?}");
            let (value, more) = more.split_at(usize::from(*length));
            found.retain(|(field, _)| *field != tag >> 3);
            found.push((tag >> 3, String::from_utf8_lossy(value).into_owned()));
            rest = more;
        }
        found.sort();
        messages.push(found);
        body = after;
    }
    messages
}

/// A body that is fed frame by frame.
pub type Fed = BoxBody<Bytes, io::Error>;

/// The sending end of a fed body; dropped, it ends the body.
pub struct Feed(mpsc::UnboundedSender<Result<Frame<Bytes>, io::Error>>);

impl Feed {
    /// The next chunk.
    pub fn data(&self, bytes: impl Into<Bytes>) {
        let _ = self.0.send(Ok(Frame::data(bytes.into())));
    }

    /// Trailers.
    pub fn trailers(self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, HeaderValue::from_static(value));
        let _ = self.0.send(Ok(Frame::trailers(trailers)));
    }

    /// Breaks the body off.
    pub fn fail(self) {
        let _ = self.0.send(Err(io::ErrorKind::ConnectionReset.into()));
    }
}

/// A body and the end that feeds it.
pub fn fed() -> (Feed, Fed) {
    let (send, mut receive) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| receive.poll_recv(cx));
    (Feed(send), BodyExt::boxed(StreamBody::new(stream)))
}

/// A body of known length, as a [`Fed`].
pub fn whole(bytes: impl Into<Bytes>) -> Fed {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An HTTP/2 connection that sends bodies of all kinds.
pub struct Streams(hyper::client::conn::http2::SendRequest<Fed>);

impl Streams {
    /// Connects with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        let io = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Starts a `POST`; the answer's body is still to come.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Fed,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::post(format!("http://test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await?;
        self.0.send_request(request.body(body).unwrap()).await
    }

    /// One gRPC call to its end.
    pub async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: Fed) -> Called {
        let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
        Called::of(self.post(path, &headers, body).await.unwrap()).await
    }
}

/// A finished call.
#[derive(Debug)]
pub struct Called {
    /// Fields of the answer's head.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The trailers, or the head where there are none.
    pub trailers: HeaderMap,
}

impl Called {
    /// Reads an answer to its end.
    pub async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_else(|| head.headers.clone());
        Self { headers: head.headers, body: body.to_bytes(), trailers }
    }

    /// The gRPC status.
    pub fn status(&self) -> &str {
        self.trailers.get("grpc-status").map_or("", |s| s.to_str().unwrap())
    }

    /// The version that answered.
    pub fn version(&self) -> &str {
        self.headers.get("x-switchback-version").map_or("", |v| v.to_str().unwrap())
    }
}

/// A gRPC answer of these bytes with status 0 in trailers.
pub fn answer(body: impl Into<Bytes>) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(body.into()).with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap()
}

/// A server that answers each call with its own messages.
pub fn grpc_echo() -> Upstream {
    Upstream::start(|seen| answer(seen.body.clone()))
}
