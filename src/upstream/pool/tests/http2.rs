//! HTTP/2: streams on few connections, resets, trailers.

use std::cell::Cell;

use tokio::sync::Notify;

use super::*;

fn http2(spec: &UpstreamSpec) -> UpstreamSpec {
    UpstreamSpec { protocol: Protocol::Http2, ..spec.clone() }
}

/// Serves every connection; answers only once `expected` requests are there together.
fn serve_together(listener: TcpListener, expected: usize) -> Rc<Cell<usize>> {
    let connections = Rc::new(Cell::new(0));
    let (count, together) = (Rc::clone(&connections), Rc::new((Cell::new(0), Notify::new())));
    spawn_local(async move {
        loop {
            let stream = accept(&listener).await;
            count.set(count.get() + 1);
            let together = Rc::clone(&together);
            serve_http2(stream, 200, move |request| {
                let together = Rc::clone(&together);
                async move {
                    let (arrived, everyone) = &*together;
                    arrived.set(arrived.get() + 1);
                    if arrived.get() == expected {
                        everyone.notify_waiters();
                    } else {
                        everyone.notified().await;
                    }
                    Response::new(whole(request.uri().to_string()))
                }
            });
        }
    });
    connections
}

#[test]
fn fifty_requests_at_a_cold_start_share_one_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let authority = spec.authority.clone();
        let connections = serve_together(listener, 50);
        let pool = pool(&http2(&spec));
        let sending: Vec<_> = (0..50).map(|n| spawn_send(&pool, get(&format!("/{n}")))).collect();
        for (n, sending) in sending.into_iter().enumerate() {
            let answer = sending.await.unwrap().unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_eq!(text(answer).await, format!("http://{authority}/{n}"));
        }
        assert_eq!((connections.get(), pool.stats().opened, pool.stats().open), (1, 1, 1));
    });
}

#[test]
fn beyond_the_stream_limit_another_connection_opens() {
    run(async {
        let (listener, spec) = listen().await;
        let connections = serve_together(listener, 50);
        let mut spec = http2(&spec);
        spec.h2_streams_per_connection = 20;
        let pool = pool(&spec);
        let sending: Vec<_> = (0..50).map(|_| spawn_send(&pool, post("/", TestBody::text("x")))).collect();
        for sending in sending {
            text(sending.await.unwrap().unwrap()).await;
        }
        assert_eq!((connections.get(), pool.stats().opened), (3, 3));
    });
}

#[test]
fn the_peers_own_limit_is_kept_and_refuses_nothing() {
    run(async {
        let (listener, spec) = listen().await;
        spawn_local(async move {
            loop {
                serve_http2(accept(&listener).await, 3, |_| async {
                    tokio::task::yield_now().await;
                    Response::new(whole("ok"))
                });
            }
        });
        let pool = pool(&http2(&spec));
        for _ in 0..3 {
            let sending: Vec<_> =
                (0..40).map(|_| spawn_send(&pool, post("/", TestBody::text("x")))).collect();
            for sending in sending {
                assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
            }
        }
        assert_eq!(pool.stats().retried, 0);
    });
}

#[test]
fn an_auto_upstream_is_spoken_to_as_the_client_speaks() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, over_http2(get("http://client/x")));
        serve_http2(accept(&listener).await, 10, |request| async move {
            assert_eq!(request.uri(), "http://client/x");
            Response::new(whole("two"))
        });
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "two");

        let sending = spawn_send(&pool, get("/y"));
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.starts_with("GET /y HTTP/1.1\r\n"));
        drop(stream);
        sending.await.unwrap().map(|_| ()).unwrap_err();
    });
}

#[test]
fn leftovers_of_http1_are_no_error_and_trailers_pass_both_ways() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let (feed, body) = TestBody::fed();
        let mut request = post("/", body);
        for (name, value) in [
            ("connection", "x-hop, upgrade"),
            ("x-hop", "1"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("host", "client"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let sending = spawn_send(&pool, request);
        serve_http2(accept(&listener).await, 10, |request| async move {
            assert_eq!(request.headers().len(), 1, "{:?}", request.headers());
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.uri().host(), Some("client"));
            let collected = request.into_body().collect().await.unwrap();
            let trailers = collected.trailers().unwrap().clone();
            let body = http_body_util::Full::new(collected.to_bytes());
            Response::new(body.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync())
        });
        feed.send(data("hello")).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        feed.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
        drop(feed);
        let answer = sending.await.unwrap().unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.trailers(), Some(&trailers));
        assert_eq!(answer.to_bytes(), "hello");
    });
}

#[test]
fn a_fault_of_the_request_body_passes_and_cancels_the_stream() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let (seen, mut reason) = mpsc::unbounded_channel();
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        serve_http2(accept(&listener).await, 10, move |request| {
            let seen = seen.clone();
            async move {
                let error = request.into_body().collect().await.map(|_| ()).unwrap_err();
                let source = std::error::Error::source(&error).unwrap();
                let _ = seen.send(source.downcast_ref::<h2::Error>().unwrap().reason());
                std::future::pending().await
            }
        });
        let fault = Fault::new(FaultKind::Cancelled, "the client went away");
        feed.send(data("hello")).unwrap();
        feed.send(Err(fault.clone())).unwrap();
        let error = sending.await.unwrap().map(|_| ()).unwrap_err();
        assert_eq!((error.fault, error.unsent.is_none()), (fault, true));
        assert_eq!(reason.recv().await.unwrap(), Some(h2::Reason::CANCEL));
        assert_eq!(pool.stats().open, 1);
    });
}

#[test]
fn dropping_an_answer_resets_its_stream_and_stops_its_upload() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let (ended, mut end) = mpsc::unbounded_channel();
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        serve_http2(accept(&listener).await, 10, move |request| {
            let ended = ended.clone();
            async move {
                spawn_local(async move {
                    let _ = ended.send(request.into_body().collect().await.is_err());
                });
                let (feed, body) = TestBody::fed();
                feed.send(data("never ends")).unwrap();
                std::mem::forget(feed);
                Response::new(body.map_err(|fault| panic!("{fault}")).boxed_unsync())
            }
        });
        let mut answer = sending.await.unwrap().unwrap().into_body();
        answer.frame().await.unwrap().unwrap();
        drop(answer);
        assert_eq!(end.recv().await, Some(true));
        feed.closed().await;
        assert_eq!(pool.stats().open, 1);
    });
}

#[test]
fn dropping_a_request_resets_its_stream_and_leaves_the_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let (ended, mut end) = mpsc::unbounded_channel();
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        serve_http2(accept(&listener).await, 10, move |request| {
            let ended = ended.clone();
            async move {
                let _ = ended.send(false);
                let _ = ended.send(request.into_body().collect().await.is_err());
                std::future::pending().await
            }
        });
        assert_eq!(end.recv().await, Some(false));
        sending.abort();
        assert_eq!(end.recv().await, Some(true));
        feed.closed().await;
        assert_eq!((pool.stats().open, pool.stats().opened), (1, 1));
    });
}

#[test]
fn a_connection_that_says_goodbye_takes_no_more_requests() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let held = spawn_send(&pool, get("/held"));
        let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        server.graceful_shutdown();
        let mut ping = server.ping_pong().unwrap();
        let serving = spawn_local(async move { while server.accept().await.is_some() {} });
        // Its answer tells that the goodbye, which went first, has been read.
        ping.ping(h2::Ping::opaque()).await.unwrap();

        let next = spawn_send(&pool, post("/next", TestBody::text("x")));
        serve_http2(accept(&listener).await, 10, |_| async { Response::new(whole("second")) });
        assert_eq!(text(next.await.unwrap().unwrap()).await, "second");

        // What was under way is still answered.
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"first"), true).unwrap();
        assert_eq!(text(held.await.unwrap().unwrap()).await, "first");
        serving.await.unwrap();
        assert_eq!(pool.stats().opened, 2);
    });
}

#[test]
fn where_nobody_listens_any_more_the_last_stream_after_a_goodbye_keeps_nobody_waiting() {
    // Whether or not it fills its connection.
    for streams in [1, 100] {
        run(nobody_waits_for_the_last_stream(streams));
    }
}

async fn nobody_waits_for_the_last_stream(streams: usize) {
    let (listener, spec) = listen().await;
    let mut spec = http2(&spec);
    spec.h2_streams_per_connection = streams;
    // Who waits for so long makes the test hang.
    spec.connect_timeout = Duration::from_secs(60);
    let pool = pool(&spec);
    let _held = spawn_send(&pool, get("/held"));
    let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
    let _unanswered = server.accept().await.unwrap().unwrap();
    drop(listener);
    server.graceful_shutdown();
    let mut ping = server.ping_pong().unwrap();
    let _serving = spawn_local(async move { while server.accept().await.is_some() {} });
    // Its answer tells that the goodbye, which went first, has been read.
    ping.ping(h2::Ping::opaque()).await.unwrap();

    for failures in 1..=3 {
        let error = pool.send(get("/next")).await.map(|_| ()).unwrap_err();
        assert_eq!((error.fault.kind, error.unsent.is_some()), (FaultKind::ConnectFailed, true));
        assert_eq!(pool.stats().connect_failures, failures);
    }
}

#[test]
fn where_no_second_connection_opens_a_request_waits_for_room_on_the_first() {
    run(async {
        let (listener, spec) = listen().await;
        let mut spec = http2(&spec);
        spec.h2_streams_per_connection = 1;
        let pool = pool(&spec);
        let first = spawn_send(&pool, get("/first"));
        let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
        drop(listener);
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        let second = spawn_send(&pool, get("/second"));
        while pool.stats().connect_failures == 0 {
            tokio::task::yield_now().await;
        }
        respond.send_response(Response::new(()), true).unwrap();
        let serving = spawn_local(async move {
            while let Some(Ok((_, mut respond))) = server.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
        });
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        // One attempt, not one after the other for as long as it waited.
        assert_eq!((pool.stats().connect_failures, pool.stats().opened), (1, 1));
        serving.abort();
    });
}

#[test]
fn a_wait_that_was_for_nothing_says_why_no_connection_opened() {
    run(async {
        let (listener, spec) = listen().await;
        let mut spec = http2(&spec);
        spec.h2_streams_per_connection = 1;
        spec.connect_timeout = Duration::from_millis(50);
        let pool = pool(&spec);
        let _held = spawn_send(&pool, get("/held"));
        let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
        drop(listener);
        let _unanswered = server.accept().await.unwrap().unwrap();
        let _serving = spawn_local(async move { while server.accept().await.is_some() {} });
        let error = pool.send(get("/next")).await.map(|_| ()).unwrap_err();
        assert_eq!((error.fault.kind, error.unsent.is_some()), (FaultKind::ConnectFailed, true));
        assert_eq!(pool.stats().connect_failures, 1);
    });
}

#[test]
fn a_refused_request_without_a_body_is_sent_once_more() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&http2(&spec));
        let paths = Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = Rc::clone(&paths);
        spawn_local(async move {
            let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
            while let Some(Ok((request, mut respond))) = server.accept().await {
                seen.borrow_mut().push(request.uri().path().to_owned());
                if request.uri().path() == "/never" || seen.borrow().len() == 1 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        });
        assert_eq!(pool.send(get("/once")).await.unwrap().status(), 200);
        let error = pool.send(get("/never")).await.map(|_| ()).unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::UpstreamReset);
        assert_eq!(error.unsent.unwrap().uri().path(), "/never");
        assert_eq!(*paths.borrow(), ["/once", "/once", "/never", "/never"]);
        assert_eq!((pool.stats().retried, pool.stats().opened), (2, 1));
    });
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    run(async {
        let (listener, spec) = listen().await;
        let mut spec = http2(&spec);
        spec.idle_timeout = Duration::from_millis(30);
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut server = h2::server::handshake(accept(&listener).await).await.unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        let closing = spawn_local(async move { server.accept().await.is_none() });
        text(sending.await.unwrap().unwrap()).await;
        assert!(closing.await.unwrap());
        assert_eq!(pool.stats().open, 0);
    });
}
