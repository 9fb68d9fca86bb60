//! The HTTP/1.1 codec on real sockets: early answers, both directions at once, cut and broken
//! messages.

use tokio::io::AsyncWriteExt;

use super::differential::{answered, seen};
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn interim_answers_are_passed_over() {
    run(async {
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        for (count, piece) in [(1, 1), (8, 1000)] {
            let text = interim.repeat(count) + "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok";
            let answer = answered(get("/"), text.as_bytes(), piece).await.unwrap();
            assert_eq!(answer.status(), 201);
            assert!(!answer.headers().contains_key("link"));
            assert_eq!(self::text(answer).await, "ok");
        }
        let endless = interim.repeat(9) + "HTTP/1.1 200 OK\r\n\r\n";
        let error = answered(get("/"), endless.as_bytes(), 1000).await.unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::UpstreamProtocol);
        let unasked = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
        let error = answered(get("/"), unasked, 1000).await.unwrap_err();
        assert_eq!(error.fault.kind, FaultKind::UpstreamProtocol);
        assert!(error.fault.detail.contains("unasked"), "{}", error.fault);
    });
}

#[test]
fn an_answer_is_the_same_however_it_is_cut() {
    run(async {
        let long = "y".repeat(700);
        for text in [
            "HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 11\r\n\r\nhello world".to_owned(),
            "HTTP/1.1 200 OK\r\n\r\nuntil the end".to_owned(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5;a=b\r\nhello\r\n0;c\r\nx-sum: 7\r\n\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nlong: {long}\r\ntransfer-encoding: chunked\r\n\r\n2bc\r\n{long}\r\n0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello".to_owned(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel".to_owned(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\na".to_owned(),
        ] {
            let whole = seen(answered(get("/"), text.as_bytes(), usize::MAX).await).await;
            for piece in [1, 7, 64] {
                let cut = seen(answered(get("/"), text.as_bytes(), piece).await).await;
                assert_eq!(cut, whole, "{text:?} in pieces of {piece}");
            }
            assert!(matches!(whole, Ok(_) | Err(FaultKind::UpstreamReset)), "{text:?} gives {whole:?}");
        }
    });
}

#[test]
fn an_answer_that_is_cut_off_is_a_reset_and_never_a_clean_end() {
    run(async {
        let whole =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
        for end in 0..whole.len() {
            let cut = seen(answered(get("/"), &whole.as_bytes()[..end], usize::MAX).await).await;
            assert_eq!(cut, Err(FaultKind::UpstreamReset), "cut at {end}");
        }
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for end in 0..whole.len() {
            let cut = seen(answered(get("/"), &whole.as_bytes()[..end], usize::MAX).await).await;
            assert_eq!(cut, Err(FaultKind::UpstreamReset), "cut at {end}");
        }
    });
}

#[test]
fn a_connection_serves_many_requests_and_not_after_surplus_bytes() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let serving = spawn_local(async move {
            let mut stream = accept(&listener).await;
            for number in 0..50 {
                let head = read_head(&mut stream).await;
                assert!(head.starts_with(&format!("GET /{number} ")), "{head}");
                let answer = [
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                ][number % 2];
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")
                .await
                .unwrap();
            closed(&mut stream).await;
        });
        for number in 0..50 {
            assert_eq!(text(pool.send(get(&format!("/{number}"))).await.unwrap()).await, "ok");
            assert!(pool.http1.has_no_input(), "the idle connection holds what it read");
        }
        assert_eq!((pool.stats().opened, pool.stats().reused, pool.stats().idle), (1, 49, 1));
        assert_eq!(text(pool.send(get("/surplus")).await.unwrap()).await, "ok");
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
        serving.await.unwrap();
    });
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        spawn_local(async move {
            let mut stream = accept(&listener).await;
            for status in ["200 OK", "304 Not Modified"] {
                read_head(&mut stream).await;
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 99\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        for method in ["HEAD", "GET"] {
            let mut request = get("/");
            *request.method_mut() = method.parse().unwrap();
            let answer = pool.send(request).await.unwrap();
            assert_eq!(answer.headers()["content-length"], "99");
            assert!(answer.body().is_end_stream());
            assert_eq!(pool.stats().idle, 1);
            drop(answer);
            assert!(pool.http1.has_no_input(), "the idle connection holds what it read");
        }
        assert_eq!(pool.stats().opened, 1);
    });
}

#[test]
fn the_body_that_an_answer_without_one_declares_is_not_taken_for_the_next_answer() {
    run(async {
        for head in [
            "204 No Content\r\ncontent-length: 40",
            "204 No Content\r\ntransfer-encoding: chunked",
            "304 Not Modified\r\ntransfer-encoding: chunked",
        ] {
            let (listener, spec) = listen().await;
            let pool = pool(&spec);
            spawn_local(async move {
                let mut stream = accept(&listener).await;
                read_head(&mut stream).await;
                stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await.unwrap();
                let mut second = accept(&listener).await;
                read_head(&mut second).await;
                // The body comes late, and looks like an answer.
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil").await;
                second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood").await.unwrap();
                std::future::pending::<()>().await;
            });
            let first = pool.send(get("/")).await.unwrap();
            assert!(first.body().is_end_stream());
            assert_eq!((pool.stats().idle, pool.stats().open), (0, 0), "{head}");
            assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "good", "{head}");
        }
    });
}

fn mebibyte(of: u8) -> Bytes {
    Bytes::from(vec![of; 1 << 20])
}

#[test]
fn neither_side_waits_for_the_other_when_both_are_long() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        // Answers all before it reads anything: neither message fits into the kernel's buffers.
        const TIMES: usize = 24;
        let serving = spawn_local(async move {
            let mut stream = accept(&listener).await;
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", TIMES << 20);
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..TIMES {
                stream.write_all(&mebibyte(b'a')).await.unwrap();
            }
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            rest.len()
        });
        let (feed, body) = TestBody::fed();
        for _ in 0..TIMES {
            feed.send(Ok(Frame::data(mebibyte(b'r')))).unwrap();
        }
        let answer = pool.send(post("/", body)).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), TIMES << 20);
        assert!(bytes.iter().all(|byte| *byte == b'a'));
        // The answer ended first: the rest of the request is given up.
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
        assert!(serving.await.unwrap() < TIMES << 20);
    });
}

#[test]
fn what_is_echoed_as_it_comes_arrives_whole_in_both_directions() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let serving = spawn_local(async move {
            let mut stream = accept(&listener).await;
            let head = read_head(&mut stream).await;
            assert!(head.contains("content-length: 16777216\r\n"), "{head}");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 16777216\r\n\r\n").await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut (&mut from).take(16 << 20), &mut to).await.unwrap();
            read_head(&mut stream).await.starts_with("GET /next ")
        });
        let (feed, body) = TestBody::fed();
        let mut request = post("/", body);
        request.headers_mut().insert("content-length", "16777216".parse().unwrap());
        let mut whole = Vec::new();
        for number in 0..16u8 {
            feed.send(Ok(Frame::data(mebibyte(number)))).unwrap();
            whole.extend_from_slice(&mebibyte(number));
        }
        drop(feed);
        let answer = pool.send(request).await.unwrap();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes == whole, "what came back is not what was sent");
        // Both were over: the connection is used again.
        assert_eq!(pool.stats().idle, 1);
        let _next = spawn_send(&pool, get("/next"));
        assert!(serving.await.unwrap());
    });
}

#[test]
fn an_upstream_that_answers_early_and_closes_is_heard() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let pool = pool(&UpstreamSpec::new(Address::Unix(path), "model".to_owned()));
        let serving = spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
        });
        let (feed, body) = TestBody::fed();
        let sending = spawn_send(&pool, post("/", body));
        // Everything the server did, and its close, comes before the next write fails.
        serving.await.unwrap();
        feed.send(Ok(Frame::data(mebibyte(b'x')))).unwrap();
        let answer = sending.await.unwrap().unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(text(answer).await, "big");
        assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
    });
}

#[test]
fn a_body_that_breaks_its_declared_length_breaks_the_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        for (content, expected) in [("four", "shorter"), ("six666", "longer")] {
            let (feed, body) = TestBody::fed();
            let mut request = post("/", body);
            request.headers_mut().insert("content-length", "5".parse().unwrap());
            let sending = spawn_send(&pool, request);
            let mut stream = accept(&listener).await;
            let head = read_head(&mut stream).await;
            assert!(head.contains("content-length: 5\r\n") && !head.contains("transfer-encoding"), "{head}");
            feed.send(data(content)).unwrap();
            drop(feed);
            let error = sending.await.unwrap().map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::BadRequest);
            assert!(error.fault.detail.contains(expected), "{}", error.fault);
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(rest.len() < 5, "{rest:?}");
            assert_eq!((pool.stats().idle, pool.stats().open), (0, 0));
        }
        // What is wrong from the start is not sent at all, and the connection is none the worse.
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept(&listener).await;
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        text(sending.await.unwrap().unwrap()).await;
        let mut request = post("/", TestBody::text("four"));
        request.headers_mut().insert("content-length", "5".parse().unwrap());
        let error = pool.send(request).await.map(|_| ()).unwrap_err();
        assert_eq!((error.fault.kind, error.unsent.is_some()), (FaultKind::BadRequest, true));
        assert_eq!(pool.stats().idle, 1);
    });
}

#[test]
fn head_and_small_body_leave_in_one_piece_and_trailers_behind_them() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = pool(&spec);
        let (feed, body) = TestBody::fed();
        feed.send(data("hello ")).unwrap();
        feed.send(data("")).unwrap();
        feed.send(data("world")).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        trailers.insert("content-length", "1".parse().unwrap());
        feed.send(Ok(Frame::trailers(trailers))).unwrap();
        let sending = spawn_send(&pool, post("/", body));
        let mut stream = accept(&listener).await;
        let mut buffer = vec![0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
        let (_, sent) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(sent, "6\r\nhello \r\n5\r\nworld\r\n0\r\nx-sum: 7\r\n\r\n");
        stream.write_all(OK).await.unwrap();
        sending.await.unwrap().unwrap();
    });
}

#[test]
fn a_request_whose_body_was_begun_does_not_come_back_and_another_does() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let pool = pool(&UpstreamSpec::new(Address::Unix(path.clone()), "model".to_owned()));
        for (body, comes_back) in [(TestBody::text("x"), false), (TestBody::empty(), true)] {
            let sending = spawn_send(&pool, get("/1"));
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            text(sending.await.unwrap().unwrap()).await;
            // Dead without the pool's knowing, and nobody to connect to: the address is gone.
            drop(stream);
            std::fs::rename(&path, path.with_extension("gone")).unwrap();
            let error = pool.send(post("/2", body)).await.map(|_| ()).unwrap_err();
            std::fs::rename(path.with_extension("gone"), &path).unwrap();
            assert_eq!(error.fault.kind, FaultKind::ConnectFailed);
            assert_eq!(error.unsent.is_some(), comes_back);
        }
    });
}
