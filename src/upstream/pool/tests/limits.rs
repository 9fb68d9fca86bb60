//! Limits: connections, waiting, idle time, and upstreams that cannot be reached.

use tokio::io::AsyncWriteExt;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn beyond_the_limit_requests_wait_in_turn() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        let pool = pool(&spec);
        let first = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let (second, third) = (spawn_send(&pool, get("/2")), spawn_send(&pool, get("/3")));
        while pool.stats().waits < 2 {
            tokio::task::yield_now().await;
        }
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(first.await.unwrap().unwrap()).await, "ok");
        for (path, sending) in [("/2", second), ("/3", third)] {
            assert!(read_head(&mut stream).await.starts_with(&format!("GET {path} ")));
            stream.write_all(OK).await.unwrap();
            assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        }
        assert_eq!((pool.stats().opened, pool.stats().reused), (1, 2));
    });
}

#[test]
fn who_waits_gets_the_slot_of_a_connection_that_died() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        let pool = pool(&spec);
        let first = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let gone = spawn_send(&pool, get("/2"));
        let third = spawn_send(&pool, get("/3"));
        while pool.stats().waits < 2 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        drop(stream);
        assert!(first.await.unwrap().is_err());
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.starts_with("GET /3 "));
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(third.await.unwrap().unwrap()).await, "ok");
    });
}

#[test]
fn who_waits_does_not_get_a_connection_on_which_more_came_than_was_asked_for() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        let pool = pool(&spec);
        let first = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let second = spawn_send(&pool, get("/2"));
        while pool.stats().waits < 1 {
            tokio::task::yield_now().await;
        }
        let poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
        stream.write_all(&[OK, poison].concat()).await.unwrap();
        assert_eq!(text(first.await.unwrap().unwrap()).await, "ok");
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.starts_with("GET /2 "));
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(second.await.unwrap().unwrap()).await, "ok");
    });
}

#[test]
fn whoever_waits_for_the_other_protocol_gets_the_slot_of_what_is_idle_now() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        spec.connect_timeout = Duration::from_secs(15);
        let pool = pool(&spec);
        let waits = async |number| {
            while pool.stats().waits < number {
                tokio::task::yield_now().await;
            }
        };
        // HTTP/1.1 is under way and HTTP/2 waits.
        let first = spawn_send(&pool, get("/1"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        let second = spawn_send(&pool, over_http2(get("/2")));
        waits(1).await;
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(first.await.unwrap().unwrap()).await, "ok");
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let gone = Rc::new(std::cell::RefCell::new(Some(gone)));
        serve_http2(accept(&listener).await, 10, move |_| {
            let gone = gone.borrow_mut().take();
            async move {
                if let Some(gone) = gone {
                    let _ = gone.await;
                }
                Response::new(whole("two"))
            }
        });
        // The other way round.
        let third = spawn_send(&pool, get("/3"));
        waits(2).await;
        go.send(()).unwrap();
        assert_eq!(text(second.await.unwrap().unwrap()).await, "two");
        let mut stream = accept(&listener).await;
        assert!(read_head(&mut stream).await.starts_with("GET /3 "));
        stream.write_all(OK).await.unwrap();
        assert_eq!(text(third.await.unwrap().unwrap()).await, "ok");
    });
}

#[test]
fn who_waits_too_long_is_refused_and_keeps_its_request() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.max_connections = 1;
        spec.connect_timeout = Duration::from_millis(100);
        for http2 in [false, true] {
            spec.protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            spec.h2_streams_per_connection = 1;
            let pool = pool(&spec);
            let first = spawn_send(&pool, get("/1"));
            let stream = accept(&listener).await;
            if http2 {
                serve_http2(stream, 10, |_| std::future::pending());
            } else {
                std::mem::forget(stream);
            }
            let error = pool.send(post("/2", TestBody::text("x"))).await.map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::Overloaded, "{}", error.fault);
            assert!(!pool.is_crowded(), "whoever gave up waits no more");
            let mut unsent = error.unsent.unwrap().into_body();
            assert_eq!(unsent.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
            first.abort();
        }
    });
}

#[test]
fn an_idle_connection_is_closed_in_time_and_only_few_are_kept() {
    run(async {
        let (listener, mut spec) = listen().await;
        spec.idle_timeout = Duration::from_millis(30);
        spec.max_idle = 1;
        let pool = pool(&spec);
        let sending = [spawn_send(&pool, get("/")), spawn_send(&pool, get("/"))];
        let mut streams = [accept(&listener).await, accept(&listener).await];
        for stream in &mut streams {
            read_head(stream).await;
            stream.write_all(OK).await.unwrap();
        }
        for sending in sending {
            text(sending.await.unwrap().unwrap()).await;
        }
        assert_eq!(pool.stats().idle, 1);
        for stream in &mut streams {
            closed(stream).await;
        }
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
    });
}

#[test]
fn dropping_the_pool_closes_what_is_idle() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;
        assert_eq!(Rc::strong_count(&pool), 1);
        drop(pool);
        closed(&mut stream).await;
    });
}

#[test]
fn nobody_listening_is_said_so_and_the_request_comes_back() {
    run(async {
        let (listener, spec) = listen().await;
        let address = listener.local_addr().unwrap();
        drop(listener);
        for (number, request) in [get("/"), over_http2(get("/"))].into_iter().enumerate() {
            let pool = pool(&spec);
            let error = pool.send(request).await.map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::ConnectFailed);
            assert_eq!(error.fault.detail, format!("cannot connect to {address}: connection refused"));
            assert!(error.unsent.is_some(), "{number}");
            assert_eq!((pool.stats().open, pool.stats().connect_failures), (0, 1));
        }
        let nowhere = Address::Tcp { host: "no-such-host.invalid".to_owned(), port: 80 };
        let pool = pool(&UpstreamSpec::new(nowhere, "x".to_owned()));
        let error = pool.send(get("/")).await.map(|_| ()).unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::ConnectFailed);
        assert!(error.fault.detail.contains("no address for \"no-such-host.invalid\""), "{}", error.fault);
    });
}

#[test]
fn connect_is_refused_as_a_method() {
    run(async {
        let pool = pool(&spec("127.0.0.1:1".parse().unwrap()));
        let mut request = get("/");
        *request.method_mut() = Method::CONNECT;
        let error = pool.send(request).await.map(|_| ()).unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::NotImplemented);
    });
}
