//! hyper itself on both sides: what its failures become.

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Sends `raw` to a hyper server, closes, and says how the request's body ended. The body is read
/// outside of the service, because hyper drops the service's future once the client is gone.
async fn request_body(raw: &str) -> Result<Bytes, FaultKind> {
    let (mut client, server) = duplex(4096);
    let (send, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |request: http::Request<Incoming>| {
        send.send(request.into_body()).unwrap();
        std::future::pending::<Result<http::Response<Source>, Fault>>()
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    client.write_all(raw.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let read = async { Inbound::request(bodies.recv().await.unwrap()).collect().await };
    tokio::select! {
        biased;
        result = read => result,
        // Driven for its side effects: what the body got is there also when it has ended.
        () = async { let _ = connection.await; std::future::pending().await } => Ok(Default::default()),
    }
    .map(|all| all.to_bytes())
    .map_err(|fault| fault.kind)
}

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
async fn a_request_that_breaks_off_is_cancelled_and_a_broken_one_is_bad() {
    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    const SIZED: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
    assert_eq!(request_body(&format!("{SIZED}hello")).await.unwrap(), "hello");
    assert_eq!(request_body(&format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n")).await.unwrap(), "hello");
    assert_eq!(request_body(&format!("{SIZED}he")).await, Err(FaultKind::Cancelled));
    assert_eq!(request_body(&format!("{CHUNKED}5\r\nhello\r\n")).await, Err(FaultKind::Cancelled));
    assert_eq!(request_body(&format!("{CHUNKED}zz\r\nhello\r\n")).await, Err(FaultKind::BadRequest));
    assert_eq!(request_body(&format!("{CHUNKED}fffffffffffffffff\r\n")).await, Err(FaultKind::BadRequest));
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

/// Why there is a meter: with HTTP/2 the fault does not come out of the client's error.
#[tokio::test]
async fn over_http2_a_request_bodys_own_fault_is_on_the_meter() {
    #[derive(Clone)]
    struct Local;
    impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
        fn execute(&self, task: F) {
            tokio::task::spawn_local(async { drop(task.await) });
        }
    }
    let work = async {
        let (client, server) = duplex(4096);
        let service = service_fn(|request: http::Request<Incoming>| async {
            let result = Inbound::request(request.into_body()).collect().await;
            result.map(|_| http::Response::new(Source::<Inbound>::empty()))
        });
        tokio::task::spawn_local(
            hyper::server::conn::http2::Builder::new(Local).serve_connection(TokioIo::new(server), service),
        );
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(client)).await.unwrap();
        tokio::task::spawn_local(connection);
        let meter = Rc::new(Meter::default());
        let body = Limit::new(Script::chunks(&["much", "too much"], Hint::Unknown), 5, Rc::clone(&meter));
        let request = http::Request::post("http://a/").body(body).unwrap();
        let error = sender.send_request(request).await.unwrap_err();
        assert_eq!(fault_in(&error), None);
        assert_eq!(meter.fault().unwrap().kind, FaultKind::PayloadTooLarge);
    };
    tokio::task::LocalSet::new().run_until(work).await;
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
