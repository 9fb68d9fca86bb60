//! HTTP/1.1: reuse, what is sent again and what is not, bodies and upgrades.

use tokio::io::AsyncWriteExt;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn the_connection_used_last_is_used_next() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let (first, second) = (spawn_send(&pool, get("/1")), spawn_send(&pool, get("/2")));
        let (mut a, mut b) = (accept(&listener).await, accept(&listener).await);
        read_head(&mut a).await;
        read_head(&mut b).await;
        for (stream, sending) in [(&mut a, first), (&mut b, second)] {
            stream.write_all(OK).await.unwrap();
            assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        }
        for path in ["/3", "/4"] {
            let sending = spawn_send(&pool, get(path));
            assert!(read_head(&mut b).await.starts_with(&format!("GET {path} HTTP/1.1\r\n")));
            b.write_all(OK).await.unwrap();
            assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        }
        let stats = pool.stats();
        assert_eq!((stats.opened, stats.open, stats.idle, stats.reused), (2, 2, 2, 2));
    });
}

#[test]
fn a_request_on_a_connection_that_closed_while_idle_is_sent_once_more() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let pool = pool(&UpstreamSpec::new(Address::Unix(path), "model".to_owned()));
        let sending = spawn_send(&pool, get("/1"));
        let (mut old, _) = listener.accept().await.unwrap();
        read_head(&mut old).await;
        old.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;

        // The event loop does not turn in between: the pool finds a connection that seems alive.
        drop(old);
        let serving = async {
            let (mut fresh, _) = listener.accept().await.unwrap();
            let head = read_head(&mut fresh).await;
            read_until(&mut fresh, "hello").await;
            fresh.write_all(OK).await.unwrap();
            head
        };
        let (answer, head) = tokio::join!(pool.send(post("/2", TestBody::text("hello"))), serving);
        assert_eq!(text(answer.unwrap()).await, "ok");
        assert!(head.starts_with("POST /2 "));
        assert_eq!((pool.stats().retried, pool.stats().opened), (1, 2));
    });
}

#[test]
fn a_connection_whose_end_is_known_is_not_tried() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        for unasked in ["", "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"] {
            let sending = spawn_send(&pool, get("/1"));
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            text(sending.await.unwrap().unwrap()).await;
            stream.write_all(unasked.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // One byte behind it on another socket: the end is known then.
            let (mut here, mut there) = tokio::net::UnixStream::pair().unwrap();
            here.write_all(b"x").await.unwrap();
            there.read_u8().await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!((pool.stats().retried, pool.stats().opened, pool.stats().reused), (0, 2, 0));
    });
}

#[test]
fn a_request_that_was_read_and_then_reset_is_not_sent_again() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;

        let sending = spawn_send(&pool, get("/2"));
        read_head(&mut stream).await;
        drop(stream);
        let error = sending.await.unwrap().map(|_| ()).unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::UpstreamReset);
        assert!(error.fault.detail.contains("closed before an answer"), "{}", error.fault);
        assert!(error.unsent.is_none());
        assert_eq!((pool.stats().opened, pool.stats().reused, pool.stats().retried), (1, 1, 0));
    });
}

#[test]
fn a_broken_answer_is_the_upstreams_protocol_fault() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_header_bytes = 8192;
        let pool = pool(&spec);
        let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(10_000));
        for (answer, expected) in
            [("nonsense\r\n\r\n", "breaks its protocol"), (large.as_str(), "larger than 8192 bytes")]
        {
            let sending = spawn_send(&pool, get("/"));
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            let error = sending.await.unwrap().map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::UpstreamProtocol, "{}", error.fault);
            assert!(error.fault.detail.contains(expected), "{}", error.fault);
        }
    });
}

#[test]
fn a_connection_the_upstream_will_close_is_not_kept() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        closed(&mut stream).await;
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
    });
}

#[test]
fn a_body_is_framed_by_what_is_known_of_it_and_faults_pass() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);

        // An HTTP/2 client need not tell the length.
        let mut http1 = spec.clone();
        http1.protocol = Protocol::Http1;
        let pool_http1 = self::pool(&http1);
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool_http1, over_http2(post("http://client:1/a?b", body)));
        let mut stream = accept(&listener).await;
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("POST /a?b HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("host: client:1\r\n") && head.contains("transfer-encoding: chunked\r\n"),
            "{head}"
        );
        feed.send(data("hello")).unwrap();
        read_until(&mut stream, "5\r\nhello\r\n").await;
        drop(feed);
        read_until(&mut stream, "0\r\n\r\n").await;
        stream.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;

        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let too_large = Fault::new(FaultKind::PayloadTooLarge, "the body is too long");
        feed.send(data("hello")).unwrap();
        feed.send(Err(too_large.clone())).unwrap();
        let error = sending.await.unwrap().map(|_| ()).unwrap_err();
        assert_eq!((error.fault, error.unsent.is_none()), (too_large.clone(), true));
        closed(&mut stream).await;

        // The same while the answer is under way.
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok").await.unwrap();
        let mut answer = sending.await.unwrap().unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        feed.send(Err(too_large.clone())).unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap_err(), too_large);
        assert_eq!(pool.stats().idle, 0);
    });
}

#[test]
fn an_answer_that_ends_early_is_a_reset() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        for (head, kind) in [
            ("content-length: 5", FaultKind::UpstreamReset),
            ("transfer-encoding: chunked", FaultKind::UpstreamProtocol),
        ] {
            let sending = spawn_send(&pool, get("/"));
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nno").as_bytes()).await.unwrap();
            drop(stream);
            let fault = sending.await.unwrap().unwrap().into_body().collect().await.map(|_| ()).unwrap_err();
            assert_eq!(fault.kind, kind, "{fault}");
            assert_eq!(pool.stats().idle, 0);
        }
    });
}

#[test]
fn trailers_arrive_and_end_the_answer() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
            2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let mut body = sending.await.unwrap().unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        assert!(!body.is_end_stream());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["x-sum"], "7");
        assert!(body.is_end_stream());
        assert_eq!(pool.stats().idle, 1);
    });
}

#[test]
fn the_connection_is_back_with_the_last_byte_of_a_known_length() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        let mut body = sending.await.unwrap().unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(2));
        assert_eq!(pool.stats().idle, 0);
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream());
        assert_eq!(pool.stats().idle, 1);
    });
}

#[test]
fn an_answer_that_ends_before_its_request_ends_the_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
        closed(&mut stream).await;
        assert!(feed.is_closed());
    });
}

#[test]
fn dropping_a_request_or_its_answer_closes_the_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        sending.abort();
        closed(&mut stream).await;

        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\nok").await.unwrap();
        drop(sending.await.unwrap().unwrap());
        closed(&mut stream).await;
        assert_eq!(pool.stats().idle, 0);
    });
}

#[test]
fn a_switched_connection_leaves_the_pool_and_carries_both_ways() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let mut request = get("/socket");
        request.headers_mut().insert("connection", "upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let sending = spawn_send(&pool, request);
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.contains("upgrade: echo\r\n"));
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello",
            )
            .await
            .unwrap();
        let mut answer = sending.await.unwrap().unwrap();
        assert_eq!(answer.status(), 101);
        let upgrade = answer.extensions_mut().remove::<hyper::upgrade::OnUpgrade>().unwrap();
        drop(answer);
        let mut switched = TokioIo::new(upgrade.await.unwrap());
        assert_eq!(read_until(&mut switched, "hello").await, "hello");
        switched.write_all(b"there").await.unwrap();
        assert_eq!(read_until(&mut stream, "there").await, "there");
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
    });
}

#[test]
fn a_unix_socket_serves_as_well() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let pool = pool(&UpstreamSpec::new(Address::Unix(path), "model".to_owned()));
        for _ in 0..2 {
            let serving = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nok").await.unwrap();
                head
            };
            let (head, answer) = tokio::join!(serving, pool.send(get("/")));
            assert!(head.contains("host: model\r\n"), "{head}");
            assert_eq!(text(answer.unwrap()).await, "ok");
        }
    });
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: keep-alive\r\n\
    transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\n\r\n";

#[test]
fn a_connection_that_may_be_closed_after_its_stream_is_not_used_at_once() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let mut closing = Vec::new();
        for n in 1..=3 {
            let sending = spawn_send(&pool, get("/"));
            // Each on a connection of its own: those before are still open, and about to be closed.
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            stream.write_all(STREAM).await.unwrap();
            assert_eq!(text(sending.await.unwrap().unwrap()).await, "data: 1\n\n");
            assert_eq!((pool.stats().opened, pool.stats().idle), (n, closing.len() + 1));
            closing.push(stream);
        }
        // Those that were not closed serve again, once they have rested.
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(300)).await;
        tokio::time::resume();
        let sending = spawn_send(&pool, get("/again"));
        let last = closing.last_mut().unwrap();
        assert!(read_head(last).await.starts_with("GET /again "));
        last.write_all(OK).await.unwrap();
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        // An answer that is no stream leaves nothing to wait for.
        let sending = spawn_send(&pool, get("/more"));
        read_head(last).await;
        last.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;
        assert_eq!((pool.stats().opened, pool.stats().reused), (3, 2));
    });
}

#[test]
fn who_waits_for_a_connection_gets_none_that_may_be_closed() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        let pool = pool(&spec);
        let first = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let second = spawn_send(&pool, get("/2"));
        tokio::task::yield_now().await;
        assert_eq!(pool.stats().waits, 1);
        stream.write_all(STREAM).await.unwrap();
        text(first.await.unwrap().unwrap()).await;
        let mut fresh = accept(&listener).await;
        assert!(read_head(&mut fresh).await.starts_with("GET /2 "));
        fresh.write_all(OK).await.unwrap();
        assert_eq!(text(second.await.unwrap().unwrap()).await, "ok");
        assert_eq!((pool.stats().opened, pool.stats().open), (2, 1));
    });
}
