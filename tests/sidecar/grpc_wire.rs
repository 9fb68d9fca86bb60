//! gRPC as it stands on the wire: calls of every kind, statuses, deadlines and cancellation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::support::streams::{Feed, Place, Stream, Streamed, chunk, fields, ready, reason, serve, streamed};
use crate::support::{Sidecar, one_version, outcomes, run, until};

/// What came to an upstream, to be answered by the test.
struct Call {
    head: http::request::Parts,
    body: Incoming,
    answer: tokio::sync::oneshot::Sender<Response<Streamed>>,
}

/// An upstream whose calls are handed to the test.
async fn upstream() -> (String, mpsc::UnboundedReceiver<Call>) {
    let (say, calls) = mpsc::unbounded_channel();
    let url = serve(Place::Tcp, move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let (answer, answered) = tokio::sync::oneshot::channel();
        say.send(Call { head, body, answer }).ok().unwrap();
        async move { answered.await.unwrap() }
    })
    .await;
    (url, calls)
}

fn call(body: Streamed) -> Request<Streamed> {
    Request::post("/pack.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

fn grpc_answer(body: Streamed) -> Response<Streamed> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn with_timeout(mut request: Request<Streamed>, timeout: &str) -> Request<Streamed> {
    request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn status(headers: &HeaderMap) -> &str {
    headers["grpc-status"].to_str().unwrap()
}

/// Counts what was sent and never waits.
async fn counted(sidecar: &Sidecar, expected: &[(&str, u64)]) {
    outcomes(sidecar, expected);
    let codes = |code: u8| sidecar.metric("switchback_grpc_responses_total", &[&format!("code=\"{code}\"")]);
    assert!((0..=16).map(codes).sum::<f64>() <= expected.iter().map(|(_, n)| *n as f64).sum());
}

#[test]
fn a_unary_call_carries_metadata_message_and_trailers() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let mut request = call(ready(&[b"\0\0\0\0\x03abc"], None));
        request.headers_mut().append("x-many-bin", "AAECAw".parse().unwrap());
        request.headers_mut().append("x-many-bin", "BAUG".parse().unwrap());
        let answer = client.begin(request).await;
        let answer = tokio::task::spawn_local(answer);
        let seen = calls.recv().await.unwrap();
        assert_eq!(seen.head.version, http::Version::HTTP_2);
        assert_eq!(seen.head.headers["te"], "trailers");
        assert_eq!(seen.head.headers.get_all("x-many-bin").iter().count(), 2);
        assert_eq!(seen.body.collect().await.unwrap().to_bytes(), "\0\0\0\0\x03abc");
        let trailers =
            fields(&[("grpc-status", "0"), ("grpc-message", "fine%21"), ("x-trace-bin", "AAECAw")]);
        seen.answer.send(grpc_answer(ready(&[b"\0\0\0\0\x02ok"], Some(trailers.clone())))).ok().unwrap();
        let response = answer.await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.headers().get("grpc-status")), (200, None));
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers(), Some(&trailers));
        assert_eq!(body.to_bytes(), "\0\0\0\0\x02ok");
        counted(&sidecar, &[("success", 1)]).await;
        assert_eq!(sidecar.metric("switchback_grpc_responses_total", &["code=\"0\""]), 1.0);
    });
}

#[test]
fn statuses_are_counted_from_trailers_and_from_heads_alone() {
    run(async {
        let url = serve(Place::Tcp, |request: Request<Incoming>| async move {
            let code = request.headers()["x-code"].clone();
            if request.headers().contains_key("x-trailers-only") {
                let mut response = grpc_answer(ready(&[], None));
                response.headers_mut().insert("grpc-status", code);
                return response;
            }
            grpc_answer(ready(&[b"\0\0\0\0\0"], Some(fields(&[("grpc-status", code.to_str().unwrap())]))))
        })
        .await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        for code in ["0", "1", "2", "3", "5", "13", "14", "16"] {
            for only in [false, true] {
                let mut request = call(ready(&[], None));
                request.headers_mut().insert("x-code", code.parse().unwrap());
                if only {
                    request.headers_mut().insert("x-trailers-only", "1".parse().unwrap());
                }
                let response = client.send(request).await.unwrap();
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap();
                assert_eq!(status(if only { &head.headers } else { body.trailers().unwrap() }), code);
                assert_eq!(body.trailers().is_none(), only);
            }
        }
        outcomes(&sidecar, &[("success", 2), ("cancelled", 2), ("client_error", 6), ("server_error", 6)]);
        assert_eq!(sidecar.metric("switchback_grpc_responses_total", &["code=\"14\""]), 2.0);
    });
}

#[test]
fn both_directions_stream_message_by_message() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let (up, body) = streamed();
        let answer = tokio::task::spawn_local(client.begin(call(body)).await);
        let mut seen = calls.recv().await.unwrap();
        let (down, body) = streamed();
        seen.answer.send(grpc_answer(body)).ok().unwrap();
        // The head of the answer comes before a single message.
        let mut response = answer.await.unwrap().unwrap();
        for round in 0..10 {
            assert!(up.data(format!("question {round}")).await);
            assert_eq!(chunk(&mut seen.body).await, format!("question {round}"));
            assert!(down.data(format!("answer {round}")).await);
            assert_eq!(chunk(response.body_mut()).await, format!("answer {round}"));
        }
        // The client has no more to say; the answer goes on.
        drop(up);
        assert!(seen.body.collect().await.unwrap().to_bytes().is_empty());
        assert!(down.data("last").await);
        assert_eq!(chunk(response.body_mut()).await, "last");
        down.trailers(fields(&[("grpc-status", "0")])).await;
        let end = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(status(end.trailers_ref().unwrap()), "0");
        counted(&sidecar, &[("success", 1)]).await;
    });
}

/// Begins a call whose bodies are open both ways: what the client and the upstream hold of it.
async fn open(
    client: &mut Stream,
    calls: &mut mpsc::UnboundedReceiver<Call>,
) -> (Feed, Response<Incoming>, Incoming, Feed) {
    let (up, body) = streamed();
    let answer = tokio::task::spawn_local(client.begin(call(body)).await);
    let mut seen = calls.recv().await.unwrap();
    let (down, body) = streamed();
    seen.answer.send(grpc_answer(body)).ok().unwrap();
    let mut response = answer.await.unwrap().unwrap();
    up.data(&MESSAGE[..]).await;
    assert_eq!(seen.body.frame().await.unwrap().unwrap().into_data().unwrap(), MESSAGE[..]);
    down.data("answer").await;
    assert_eq!(chunk(response.body_mut()).await, "answer");
    (up, response, seen.body, down)
}

#[test]
fn a_client_that_cancels_resets_the_upstreams_stream() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;

        let (up, response, mut seen, down) = open(&mut client, &mut calls).await;
        drop(response);
        up.reset(Reason::CANCEL).await;
        let error = seen.frame().await.unwrap().unwrap_err();
        assert_eq!(reason(&error), Some(Reason::CANCEL));
        down.unwanted().await;

        // Before the head of the answer.
        let (_up, body) = streamed();
        let answer = tokio::task::spawn_local(client.begin(call(body)).await);
        let mut seen = calls.recv().await.unwrap();
        answer.abort();
        let error = seen.body.frame().await.unwrap().unwrap_err();
        assert_eq!(reason(&error), Some(Reason::CANCEL));
        counted(&sidecar, &[("cancelled", 2), ("fault", 0)]).await;
        assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);

        // The connection has not suffered.
        drop(open(&mut client, &mut calls).await);
    });
}

#[test]
fn an_upstreams_reset_reaches_the_client_as_an_error() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        for code in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::ENHANCE_YOUR_CALM] {
            let (up, mut response, _seen, down) = open(&mut client, &mut calls).await;
            down.reset(code).await;
            let error = response.body_mut().frame().await.unwrap().unwrap_err();
            let got = reason(&error).unwrap();
            assert!(matches!(got, Reason::INTERNAL_ERROR | Reason::CANCEL), "{code:?} became {got:?}");
            // And what the client still sends is not wanted any more.
            up.unwanted().await;
        }
        counted(&sidecar, &[("fault", 3), ("cancelled", 0)]).await;
        assert_eq!(sidecar.metric("switchback_faults_total", &["reason=\"upstream_reset\""]), 3.0);
    });
}

#[test]
fn a_deadline_that_passes_is_answered_and_the_upstream_let_go() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        // Where no message has come, it is the client who is late.
        for (message, error) in [(&MESSAGE[..], "deadline_exceeded"), (&MESSAGE[..4], "request_timeout")] {
            let (up, body) = streamed();
            let asked = tokio::task::spawn_local(client.begin(with_timeout(call(body), "1S")).await);
            assert!(up.data(message).await);
            let mut seen = calls.recv().await.unwrap();
            assert_eq!(seen.head.headers["grpc-timeout"], "1S");
            let response = asked.await.unwrap().unwrap();
            assert_eq!((response.status().as_u16(), status(response.headers())), (200, "4"));
            assert_eq!(response.headers()["x-switchback-error"], error);
            assert_eq!(response.headers()["content-type"], "application/grpc");
            while seen.body.frame().await.unwrap().is_ok() {}
        }
        counted(&sidecar, &[("fault", 1), ("client_error", 1)]).await;
    });
}

/// A message of two bytes.
const MESSAGE: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

#[test]
fn a_conversation_rests_only_where_neither_side_says_anything() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar =
            Sidecar::start(&one_version(&url, "").replace("versions:", "timeouts: {idle: 3s}, versions:"));
        let mut client = Stream::two(sidecar.main()).await;
        let (up, mut response, mut seen, down) = open(&mut client, &mut calls).await;
        for (says, hears) in [(&down, response.body_mut()), (&up, &mut seen)] {
            for _ in 0..35 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                assert!(says.data(&MESSAGE[..]).await);
                hears.frame().await.unwrap().unwrap();
            }
        }
        // The client could go on: it is not the version's fault.
        assert!(response.body_mut().frame().await.unwrap().is_err());
        counted(&sidecar, &[("fault", 0), ("client_error", 1)]).await;
    });
}

#[test]
fn a_deadline_passes_although_the_client_is_still_sending() {
    run(async {
        let (url, mut calls) = upstream().await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let (up, body) = streamed();
        let busy = async {
            while up.data("more").await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let drain = async {
            let mut seen = calls.recv().await.unwrap();
            while let Some(Ok(_)) = seen.body.frame().await {}
        };
        let answer = async { client.send(with_timeout(call(body), "300m")).await.unwrap() };
        let (response, (), ()) = tokio::join!(answer, busy, drain);
        assert_eq!(status(response.headers()), "4");
    });
}

#[test]
fn an_upstream_that_is_not_there_is_unavailable_without_a_body() {
    run(async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let sidecar = Sidecar::start(&one_version(&format!("http://{nobody}"), ""));
        let mut client = Stream::two(sidecar.main()).await;
        let response = client.send(call(ready(&[b"\0\0\0\0\0"], None))).await.unwrap();
        assert_eq!((response.status().as_u16(), status(response.headers())), (200, "14"));
        assert_eq!(response.headers()["x-switchback-error"], "connect_failed");
        let message = response.headers()["grpc-message"].to_str().unwrap().to_owned();
        assert!(message.contains(&nobody.to_string()), "{message}");
        let body = response.into_body().collect().await.unwrap();
        assert!(body.trailers().is_none() && body.to_bytes().is_empty());
        counted(&sidecar, &[("fault", 1)]).await;
    });
}

#[test]
fn a_message_of_16_mib_and_many_calls_at_once_come_back_whole() {
    run(async {
        let url = serve(Place::Tcp, |request: Request<Incoming>| async move {
            let (feed, body) = streamed();
            tokio::task::spawn_local(async move {
                let mut sent = request.into_body();
                while let Some(frame) = sent.frame().await {
                    let Ok(data) = frame.unwrap().into_data() else { continue };
                    if !feed.data(data).await {
                        return;
                    }
                }
                feed.trailers(fields(&[("grpc-status", "0")])).await;
            });
            grpc_answer(body)
        })
        .await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let message: Bytes = (0..17u32 << 18).flat_map(|i| i.to_le_bytes()).collect::<Vec<_>>().into();
        let (up, body) = streamed();
        let sent = message.clone();
        tokio::task::spawn_local(async move { up.data(sent).await });
        let answer = client.send(call(body)).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(status(answer.trailers().unwrap()), "0");
        assert!(answer.to_bytes() == message);

        let done = Rc::new(RefCell::new(0));
        for index in 0..500usize {
            let message = vec![index as u8; index * 7];
            let answer = client.begin(call(ready(&[&message], None))).await;
            let done = done.clone();
            tokio::task::spawn_local(async move {
                let answer = answer.await.unwrap().into_body().collect().await.unwrap();
                assert_eq!(status(answer.trailers().unwrap()), "0");
                assert!(answer.to_bytes() == message, "{index}");
                *done.borrow_mut() += 1;
            });
        }
        until("all calls", async || (*done.borrow() == 500).then_some(())).await;
        counted(&sidecar, &[("success", 501)]).await;
    });
}

#[test]
fn metadata_passes_up_to_the_limit() {
    run(async {
        let url = serve(Place::Tcp, |request: Request<Incoming>| async move {
            let mut response = grpc_answer(ready(&[], None));
            response.headers_mut().insert("grpc-status", "0".parse().unwrap());
            response.headers_mut().insert("x-large", request.headers()["x-large"].clone());
            response
        })
        .await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let large = "a".repeat(60 * 1024);
        let mut request = call(ready(&[], None));
        request.headers_mut().insert("x-large", large.parse().unwrap());
        let response = client.send(request).await.unwrap();
        assert_eq!(response.headers()["x-large"], large.as_str());
    });
}
