//! hyper itself, which upgrades still go through: what its failures become.

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Answers one request with `raw`, closes, and says how the answer's body ended.
async fn response_body(raw: &'static str) -> Result<Bytes, FaultKind> {
    let (client, mut server) = duplex(4096);
    let serve = async move {
        read_head(&mut server).await;
        server.write_all(raw.as_bytes()).await.unwrap();
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Source>(TokioIo::new(client)).await.unwrap();
    let request = http::Request::get("/").header("host", "a").body(Source::empty()).unwrap();
    let call = async move {
        let answer = sender.send_request(request).await.unwrap();
        Inbound::response(answer.into_body()).collect().await
    };
    let (result, _, ()) = tokio::join!(call, connection, serve);
    result.map(|all| all.to_bytes()).map_err(|fault| fault.kind)
}

async fn read_head(stream: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_and_a_broken_one_a_protocol_error() {
    assert_eq!(response_body("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap(), "hello");
    assert_eq!(response_body("HTTP/1.1 200 OK\r\n\r\nuntil the end").await.unwrap(), "until the end");
    assert_eq!(
        response_body("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await,
        Err(FaultKind::UpstreamReset)
    );
    assert_eq!(
        response_body("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await,
        Err(FaultKind::UpstreamProtocol)
    );
}

#[tokio::test]
async fn a_request_bodys_own_fault_comes_out_of_the_clients_error() {
    let (client, mut server) = duplex(4096);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Limit<Script>>(TokioIo::new(client)).await.unwrap();
    let body = Limit::new(Script::chunks(&["much", "too much"], Hint::Unknown), 5, Rc::default());
    let request = http::Request::post("/").header("host", "a").body(body).unwrap();
    let serve = async move {
        let mut sink = Vec::new();
        let _ = server.read_to_end(&mut sink).await;
    };
    let (result, _, ()) = tokio::join!(sender.send_request(request), connection, serve);
    assert_eq!(fault_in(&result.unwrap_err()).unwrap().kind, FaultKind::PayloadTooLarge);
}

/// An observed answer through a hyper server: all of its ways to stop polling are an end.
#[tokio::test]
async fn hyper_stops_early_but_every_answer_ends_once() {
    for (hint, steps) in [
        (Hint::Exact, vec![]),
        (Hint::Exact, vec![data("abc")]),
        (Hint::LateEnd, vec![data("abc"), Step::Wait]),
        (Hint::LateEnd, vec![data("a"), data("bc"), Step::Trailers(some_trailers())]),
        (Hint::Unknown, vec![data("abc"), Step::Wait]),
        (Hint::Unknown, vec![data("abc"), Step::Trailers(some_trailers())]),
    ] {
        let log = Log::default();
        let script = Script::new(steps.clone(), hint);
        let (mut client, server) = duplex(4096);
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let service = service_fn(|_| {
            let body = Observe::new(script.clone(), log.clone());
            async move { Ok::<_, Fault>(http::Response::new(body)) }
        });
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .await
            .unwrap();
        let told = log.0.borrow();
        assert_eq!(told.ends.len(), 1, "{steps:?} {hint:?}");
        assert!(matches!(told.ends[0], "end" | "trailers"), "{steps:?} {hint:?}");
    }
}
