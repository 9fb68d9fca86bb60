//! One health check: a question to an endpoint, and what its answer says.
//!
//! Questions go through a pool of their own, with the protocol, the TLS and the limits that
//! requests have, so that an endpoint is well when it can do what it is there for. Connections are
//! kept from one question to the next.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::{Answer, Endpoint, Health, HealthSpec, Pool, Question};
use crate::base::{Fault, FaultKind};
use crate::inference::protobuf;
use crate::wire::grpc;
use crate::wire::splice::Spliced;

/// Most bytes of an answer that are read.
const MOST_BYTES: usize = 64 * 1024;

/// Asks one endpoint again and again. `!Send`, as its pool.
pub struct Asker {
    pool: Rc<Pool<Whole>>,
    authority: HeaderValue,
    tally: Tally,
}

impl Asker {
    /// Nothing is asked yet.
    pub fn new(endpoint: &Arc<Endpoint>) -> Self {
        let pool = Pool::new(endpoint.target().clone());
        let authority = endpoint.target().authority().clone();
        Self { pool, authority, tally: Tally::default() }
    }

    /// Asks once. Also gives what the endpoint is taken for from now on; `None` leaves that as it is.
    ///
    /// # Cancel safety
    /// Dropping it gives the question up, and counts nothing.
    pub async fn ask(&mut self, spec: &HealthSpec) -> (Result<(), String>, Option<Health>) {
        // Where this process has nothing left to ask with, the endpoint was not asked.
        let mut unasked = false;
        let asked = async {
            let answer = self.pool.send(question(spec, &self.authority)?).await;
            let answer = answer.map_err(|error| {
                unasked = error.fault.kind == FaultKind::Exhausted;
                error.fault.detail.into_owned()
            });
            judge(spec, answer?).await
        };
        let late = |limit: Duration| Err(format!("no answer within {limit:?}"));
        let result = timeout(spec.timeout, asked).await.unwrap_or_else(|_| late(spec.timeout));
        let health = if unasked { None } else { self.tally.note(result.is_ok(), spec) };
        (result, health)
    }
}

/// Successes and failures in a row.
#[derive(Debug, Default)]
struct Tally {
    passed: u32,
    failed: u32,
    asked: bool,
}

impl Tally {
    /// Takes note of a result; what follows from it, if anything does. The first answer of all
    /// counts at once, as there is nothing that it could be a slip from.
    fn note(&mut self, passed: bool, spec: &HealthSpec) -> Option<Health> {
        let first = !std::mem::replace(&mut self.asked, true);
        let (up, down) = match passed {
            true => (&mut self.passed, &mut self.failed),
            false => (&mut self.failed, &mut self.passed),
        };
        *up = up.saturating_add(1);
        *down = 0;
        let needed = if passed { spec.healthy_after } else { spec.unhealthy_after };
        let enough = *up >= needed || first;
        enough.then_some(if passed { Health::Well } else { Health::Unwell })
    }
}

/// The request of a question.
fn question(spec: &HealthSpec, authority: &HeaderValue) -> Result<Request<Whole>, String> {
    let unfit = |error: http::Error| error.to_string();
    let build = |method: Method, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, HeaderValue::from_static("switchback-health-check"))
    };
    match &spec.question {
        Question::Http { path } => build(Method::GET, path).body(Whole::empty()).map_err(unfit),
        Question::Oip { model: None } => {
            build(Method::GET, "/v2/health/ready").body(Whole::empty()).map_err(unfit)
        }
        Question::Oip { model: Some(model) } => {
            build(Method::GET, &format!("/v2/models/{model}/ready")).body(Whole::empty()).map_err(unfit)
        }
        Question::Grpc { service } => {
            let mut message = BytesMut::new();
            if !service.is_empty() {
                protobuf::put_field(&mut message, 1, service.as_bytes());
            }
            let mut framed = BytesMut::with_capacity(5 + message.len());
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            framed.put_slice(&message);
            build(Method::POST, "/grpc.health.v1.Health/Check")
                .version(Version::HTTP_2)
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .header(grpc::GRPC_TIMEOUT, format!("{}m", spec.timeout.as_millis().clamp(1, 99_999_999)))
                .body(Whole(Some(framed.freeze())))
                .map_err(unfit)
        }
    }
}

/// What an answer says. It is read to its end, so that the connection can be used again.
async fn judge(spec: &HealthSpec, answer: Response<Answer>) -> Result<(), String> {
    let (head, mut body) = answer.into_parts();
    let (mut read, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|fault| fault.detail.into_owned())?.into_data() {
            Ok(data) if read.len() + data.len() <= MOST_BYTES => read.extend_from_slice(&data),
            Ok(_) => return Err(format!("its answer is longer than {MOST_BYTES} bytes")),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if !head.status.is_success() {
        return Err(format!("it answered {}", head.status));
    }
    match spec.question {
        Question::Http { .. } | Question::Oip { .. } => Ok(()),
        Question::Grpc { .. } => serving(&head.headers, trailers.as_ref(), &read),
    }
}

/// `grpc.health.v1.HealthCheckResponse`: field 1 is the status, 1 is SERVING.
fn serving(head: &HeaderMap, trailers: Option<&HeaderMap>, body: &[u8]) -> Result<(), String> {
    match trailers.and_then(grpc::status).or_else(|| grpc::status(head)) {
        Some(0) => {}
        Some(5) => return Err("it does not know the service (gRPC NOT_FOUND)".to_owned()),
        Some(12) => return Err("it has no grpc.health.v1.Health service (gRPC UNIMPLEMENTED)".to_owned()),
        Some(code) => return Err(format!("it answered with gRPC status {code}")),
        None => return Err("it answered without a gRPC status".to_owned()),
    }
    // The frame's head is a flag and four bytes of length; the message is `08 01`.
    match body.get(5..) {
        Some([0x08, 0x01, ..]) => Ok(()),
        Some([0x08, 0x02, ..]) => Err("it says NOT_SERVING".to_owned()),
        Some([0x08, 0x03, ..]) => Err("it says SERVICE_UNKNOWN".to_owned()),
        _ => Err("it says UNKNOWN".to_owned()),
    }
}

/// The body of a question: all at once.
struct Whole(Option<Bytes>);

impl Whole {
    fn empty() -> Self {
        Self(None)
    }
}

impl Spliced for Whole {}

impl Body for Whole {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        Poll::Ready(self.get_mut().0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.0.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(question: Question) -> HealthSpec {
        HealthSpec { unhealthy_after: 3, healthy_after: 2, ..HealthSpec::new(question) }
    }

    #[test]
    fn it_takes_several_in_a_row_but_for_the_first_answer_of_all() {
        let spec = spec(Question::Http { path: "/".to_owned() });
        let run = |results: &str| {
            let mut tally = Tally::default();
            let note = |passed| match tally.note(passed, &spec) {
                Some(Health::Well) => 'W',
                Some(Health::Unwell) => 'U',
                _ => '.',
            };
            results.chars().map(|c| c == '+').map(note).collect::<String>()
        };
        assert_eq!(run("+--+---"), "W.....U");
        assert_eq!(run("-+-++"), "U...W");
        assert_eq!(run("++--+--"), "WW.....");
    }

    #[test]
    fn each_question_is_what_its_protocol_asks() {
        let ask = |question| super::question(&spec(question), &HeaderValue::from_static("h:1")).unwrap();
        let http = ask(Question::Http { path: "/healthz?full=1".to_owned() });
        assert_eq!((http.method().as_str(), http.uri().to_string().as_str()), ("GET", "/healthz?full=1"));
        assert_eq!(http.headers()[header::HOST], "h:1");
        assert_eq!(ask(Question::Oip { model: None }).uri(), "/v2/health/ready");
        assert_eq!(ask(Question::Oip { model: Some("m".to_owned()) }).uri(), "/v2/models/m/ready");
        let mut grpc = ask(Question::Grpc { service: "a.B".to_owned() });
        assert_eq!((grpc.version(), grpc.uri().path()), (Version::HTTP_2, "/grpc.health.v1.Health/Check"));
        assert_eq!(grpc.body_mut().0.take().unwrap(), Bytes::from_static(b"\0\0\0\0\x05\x0a\x03a.B"));
        assert_eq!(
            ask(Question::Grpc { service: String::new() }).body_mut().0.take().unwrap(),
            b"\0\0\0\0\0"[..]
        );
    }

    #[test]
    fn only_serving_is_well() {
        let status = |code: &str| HeaderMap::from_iter([(grpc::GRPC_STATUS, code.parse().unwrap())]);
        let none = HeaderMap::new();
        assert_eq!(serving(&none, Some(&status("0")), b"\0\0\0\0\x02\x08\x01"), Ok(()));
        for (trailers, body, said) in [
            (Some(status("0")), &b"\0\0\0\0\x02\x08\x02"[..], "NOT_SERVING"),
            (Some(status("0")), b"\0\0\0\0\0", "UNKNOWN"),
            (Some(status("0")), b"", "UNKNOWN"),
            (Some(status("5")), b"", "NOT_FOUND"),
            (Some(status("12")), b"", "UNIMPLEMENTED"),
            (Some(status("14")), b"\0\0\0\0\x02\x08\x01", "status 14"),
            (None, b"\0\0\0\0\x02\x08\x01", "without"),
        ] {
            let found = serving(&none, trailers.as_ref(), body).unwrap_err();
            assert!(found.contains(said), "{found} {said}");
        }
        assert!(serving(&status("12"), None, b"").unwrap_err().contains("UNIMPLEMENTED"));
    }
}
