//! Bodies as they pass: of every length and framing, chunk by chunk, with backpressure, and no
//! more of them in memory than is under way.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::support::streams::{Place, Stream, chunk, fields, ready, serve, streamed};
use crate::support::{
    RawClient, Sidecar, Upstream, blocking_until, full, one_version, outcomes, raw_upstream, run, until,
};

const GIB: u64 = 1 << 30;

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

#[test]
fn bodies_of_every_length_and_framing_come_back_as_they_were() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    for length in [0, 1, 2, 1023, 4096, 16384, 65535, 65536, 65537, 1 << 20, 5_000_001] {
        let body: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
        assert!(client.post("/", "", &body).body == body, "{length} by length");
        client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        for part in body.chunks(70_001) {
            client.send([format!("{:X};ext=\"a\"\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        assert!(client.send("0\r\n\r\n").read().body == body, "{length} in chunks");
    }
    let seen = upstream.seen();
    for pair in seen.chunks(2) {
        let length = pair[0].body.len().to_string();
        assert_eq!(pair[0].headers["content-length"], length.as_str());
        assert!(!pair[1].headers.contains_key("content-length"), "{:?}", pair[1].headers);
    }
    let total: usize = seen.iter().map(|s| s.body.len()).sum();
    outcomes(&sidecar, &[("success", 22)]);
    assert_eq!(sidecar.metric("switchback_request_body_bytes_total", &[]), total as f64);
    assert_eq!(sidecar.metric("switchback_response_body_bytes_total", &[]), total as f64);
}

#[test]
fn answers_without_a_body_have_none_and_keep_their_fields() {
    let upstream = Upstream::start(|seen| {
        let builder = Response::builder();
        match (seen.method.as_str(), seen.uri.trim_start_matches("http://test")) {
            ("HEAD", "/length") => builder.header("content-length", "12345").body(full("")).unwrap(),
            (_, "/204") => builder.status(204).body(full("")).unwrap(),
            (_, "/304") => builder
                .status(304)
                .header("etag", "\"a\"")
                .header("content-length", "7")
                .body(full(""))
                .unwrap(),
            _ => builder.body(full("body")).unwrap(),
        }
    });
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    let (status, head) = client.send("HEAD /length HTTP/1.1\r\nhost: test\r\n\r\n").head();
    assert_eq!(status, 200);
    assert!(head.contains("content-length: 12345\n") && !head.contains("transfer-encoding"), "{head}");
    // The connection goes on, so there was no body.
    let response = client.get("/204");
    assert_eq!((response.status, response.header("content-length")), (204, None));
    assert_eq!(response.header("transfer-encoding"), None);
    let response = client.get("/304");
    assert_eq!((response.status, response.header("etag")), (304, Some("\"a\"")));
    assert_eq!(client.get("/").text(), "body");
    let (_, head) = client.send("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n").head();
    assert!(head.contains("content-length: 4\n"), "{head}");
    assert_eq!(client.get("/").text(), "body");
    outcomes(&sidecar, &[("success", 6)]);

    run(async {
        let mut client = Stream::two(sidecar.main()).await;
        for (method, path, status, length) in [
            ("HEAD", "/length", 200, Some("12345")),
            ("GET", "/204", 204, None),
            ("GET", "/304", 304, Some("7")),
        ] {
            let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
            let response = client.send(request.body(ready(&[], None)).unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            let given = response.headers().get("content-length").map(|l| l.to_str().unwrap());
            assert!(given == length || status == 304, "{path}: {given:?}");
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    });
}

#[test]
fn what_switchback_says_itself_has_no_body_for_head_either() {
    let sidecar = Sidecar::start(
        "models: [{name: m, match: [{pathPrefix: /m}], versions: [{name: v1, upstream: {url: 'http://127.0.0.1:1'}}]}]",
    );
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..2 {
        let (status, head) = client.send("HEAD /m HTTP/1.1\r\nhost: test\r\n\r\n").head();
        assert!(status == 502 && head.contains("content-length: "), "{head}");
    }
    run(async {
        let mut client = Stream::two(sidecar.main()).await;
        for (path, status) in [("/m", 502), ("/other", 404), ("/v2/health/live", 200)] {
            let request = Request::head(path).body(ready(&[], None)).unwrap();
            let response = client.send(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert!(response.headers().contains_key("content-length"));
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    });
}

#[test]
fn each_chunk_arrives_before_the_next_is_sent() {
    run(async {
        for http2 in [false, true] {
            let (say, mut events) = tokio::sync::mpsc::unbounded_channel();
            let url =
                serve(Place::Tcp, move |request: Request<Incoming>| {
                    let (feed, body) = streamed();
                    say.send((feed, request.into_body())).ok().unwrap();
                    async move {
                        Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
                    }
                })
                .await;
            let sidecar = Sidecar::start(&one_version(&url, ""));
            let mut client =
                if http2 { Stream::two(sidecar.main()).await } else { Stream::one(sidecar.main()).await };
            let (up, body) = streamed();
            let answer = tokio::task::spawn_local(client.begin(Request::post("/").body(body).unwrap()).await);
            let (down, mut sent) = events.recv().await.unwrap();
            for i in 0..5 {
                up.data(format!("question {i}")).await;
                assert_eq!(chunk(&mut sent).await, format!("question {i}"));
            }
            drop(up);
            assert!(sent.collect().await.unwrap().to_bytes().is_empty());
            let mut response = answer.await.unwrap().unwrap();
            for i in 0..5 {
                down.data(format!("data: {i}\n\n")).await;
                assert_eq!(chunk(response.body_mut()).await, format!("data: {i}\n\n"));
            }
            drop(down);
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    });
}

#[test]
fn a_gibibyte_each_way_leaves_no_trace_in_memory() {
    let upstream = raw_upstream(|mut stream| {
        let bytes = vec![0; 1 << 20];
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("POST") {
            let copied = std::io::copy(&mut (&mut stream).take(GIB), &mut std::io::sink()).unwrap();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{copied:010}"
            );
            // The next request comes on a connection of its own.
        } else {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n").unwrap();
            for _ in 0..GIB >> 20 {
                stream.write_all(&bytes).unwrap();
            }
        }
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let before = sidecar.rss_kib();

    let mut client = RawClient::connect(sidecar.main());
    client.send(format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {GIB}\r\n\r\n"));
    let zeros = vec![0; 1 << 20];
    let mut highest = 0;
    for mib in 0..GIB >> 20 {
        client.send(&zeros);
        if mib % 64 == 0 {
            highest = highest.max(sidecar.rss_kib());
        }
    }
    assert_eq!(client.read().text(), format!("{GIB:010}"));

    let mut client = RawClient::connect(sidecar.main());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").head();
    let mut left = GIB;
    let mut bytes = vec![0; 1 << 20];
    while left > 0 {
        client.0.read_exact(&mut bytes).unwrap();
        left -= bytes.len() as u64;
        if left.is_multiple_of(64 << 20) {
            highest = highest.max(sidecar.rss_kib());
        }
    }
    let growth = highest.saturating_sub(before);
    assert!(growth < 6 * 1024, "resident memory grew by {growth} KiB");
    outcomes(&sidecar, &[("success", 2)]);
}

/// How far a writer gets whose reader stands still: what the sockets on the way hold and a little
/// more, then no further.
fn stands_still(written: &AtomicU64) -> u64 {
    let mut last = 0;
    let mut same = 0;
    blocking_until("the writer stands still", || {
        std::thread::sleep(Duration::from_millis(50));
        let now = written.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        (same == 6).then_some(now)
    })
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = raw_upstream(move |mut stream| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("POST") {
            let _ = wait.lock().unwrap().recv();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n").as_bytes()).unwrap();
        while stream.write_all(&[0; 65536]).is_ok() {
            count.fetch_add(65536, Ordering::SeqCst);
        }
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let before = sidecar.rss_kib();
    let mut client = RawClient::connect(sidecar.main());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").head();
    let passed = stands_still(&written);
    assert!(passed < 64 << 20, "{passed} bytes left the upstream unread");
    drop(client);

    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let mut client = RawClient::connect(sidecar.main());
    client.send(format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {GIB}\r\n\r\n"));
    let stream = client.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let mut stream = stream;
        while stream.write_all(&[0; 65536]).is_ok() {
            count.fetch_add(65536, Ordering::SeqCst);
        }
    });
    let passed = stands_still(&sent);
    assert!(passed < 64 << 20, "{passed} bytes left the client unread");
    let growth = sidecar.rss_kib().saturating_sub(before);
    assert!(growth < 6 * 1024, "resident memory grew by {growth} KiB");
    // The client's end stands behind all that it has sent.
    client.0.shutdown(std::net::Shutdown::Both).unwrap();
    writing.join().unwrap();
    drop(go_on);
    outcomes(&sidecar, &[("cancelled", 2), ("fault", 0)]);
}

#[test]
fn a_reader_of_http2_that_stops_stops_the_writer_and_nobody_else() {
    run(async {
        let url = serve(Place::Tcp, |request: Request<Incoming>| async move {
            if request.uri().path() == "/small" {
                return Response::new(ready(&[b"small"], None));
            }
            let (feed, body) = streamed();
            tokio::task::spawn_local(
                async move { while feed.data(Bytes::from_static(&[0; 65536])).await {} },
            );
            Response::new(body)
        })
        .await;
        let sidecar = Sidecar::start(&one_version(&url, ""));
        let mut client = Stream::two(sidecar.main()).await;
        let before = sidecar.rss_kib();
        // More unread streams than would fit in the connections' windows if they were shared.
        let mut unread = Vec::new();
        for _ in 0..20 {
            let request = Request::get("/endless").body(ready(&[], None)).unwrap();
            unread.push(client.send(request).await.unwrap());
        }
        let mut other = Stream::two(sidecar.main()).await;
        for _ in 0..50 {
            let request = Request::get("/small").body(ready(&[], None)).unwrap();
            let body = other.send(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), "small");
        }
        let growth = sidecar.rss_kib().saturating_sub(before);
        assert!(growth < 24 * 1024, "resident memory grew by {growth} KiB");
        drop(unread);
        until("the streams are given up", async || {
            (sidecar.metric("switchback_requests_total", &["outcome=\"cancelled\""]) == 20.0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_long_body_arrives_in_its_order_where_the_model_server_is_slow_to_take_it() {
    const LENGTH: usize = 24 << 20;
    let body: Arc<Vec<u8>> = Arc::new((0..LENGTH).map(|i| (i % 251) as u8).collect());
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let expected = body.clone();
    let address = raw_upstream(move |mut stream| {
        // Whoever only looks whether it is there goes at once.
        if read_head(&mut stream).is_none() {
            return;
        }
        // Until then it reads nothing, and all that lies between it and the client is full.
        let _ = wait.lock().unwrap().recv();
        let mut read = vec![0; LENGTH];
        stream.read_exact(&mut read).unwrap();
        let same = read.iter().zip(expected.iter()).take_while(|(a, b)| a == b).count();
        let said = same.to_string();
        let length = said.len();
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{said}").as_bytes())
            .unwrap();
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{address}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    let mut writer = client.0.try_clone().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let (counted, sending) = (sent.clone(), body.clone());
    let writing = std::thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {LENGTH}\r\n\r\n");
        writer.write_all(head.as_bytes()).unwrap();
        for part in sending.chunks(100_000) {
            writer.write_all(part).unwrap();
            counted.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
    });
    assert!(stands_still(&sent) < LENGTH as u64);
    go.send(()).unwrap();
    assert_eq!(client.read().text(), LENGTH.to_string(), "bytes that are the same");
    writing.join().unwrap();
}

#[test]
fn a_100_comes_when_the_body_is_wanted_and_the_upstream_is_not_asked() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    for framing in ["content-length: 4", "transfer-encoding: chunked"] {
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n{framing}\r\n\r\n"));
        assert_eq!(client.head().0, 100);
        client.send(if framing.starts_with('c') { "body" } else { "4\r\nbody\r\n0\r\n\r\n" });
        assert_eq!(client.read().text(), "body");
    }
    assert!(upstream.seen().iter().all(|s| !s.headers.contains_key("expect")));
    // Who does not wait is not made to.
    client.send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(client.read().text(), "body");
    // No 100 where nobody is there to take the body.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = Sidecar::start(&one_version(&format!("http://{nobody}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    assert_eq!(client.head().0, 502);
}

#[test]
fn interim_answers_of_an_upstream_break_nothing() {
    let upstream = raw_upstream(|mut stream| {
        while read_head(&mut stream).is_some() {
            stream
                .write_all(
                    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                      HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal",
                )
                .unwrap();
        }
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "final"));
    }
}

#[test]
fn an_answer_that_comes_before_the_request_is_whole_is_passed_on() {
    let upstream = raw_upstream(|mut stream| {
        if read_head(&mut stream).is_some() {
            stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
                .unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\npart");
    let response = client.read();
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
    drop(client);
    outcomes(&sidecar, &[("client_error", 1), ("fault", 0)]);
}

#[test]
fn trailers_pass_both_ways_whatever_is_spoken_on_either_side() {
    run(async {
        let url = serve(Place::Tcp, |request: Request<Incoming>| async move {
            let sent = request.into_body().collect().await.unwrap();
            let sum = sent.trailers().and_then(|t| t.get("x-sum")).map_or("none", |s| s.to_str().unwrap());
            let answer = ready(&[b"answer"], Some(fields(&[("x-back", sum)])));
            Response::builder().header("trailer", "x-back").body(answer).unwrap()
        })
        .await;
        for protocol in ["http1", "http2"] {
            let sidecar = Sidecar::start(&format!(
                "models: [{{name: m, versions: [{{name: v1, upstream: {{url: '{url}', protocol: {protocol}}}}}]}}]"
            ));
            for mut client in [Stream::one(sidecar.main()).await, Stream::two(sidecar.main()).await] {
                let request = Request::post("/").header("trailer", "x-sum").header("te", "trailers");
                let request = request.body(ready(&[b"question"], Some(fields(&[("x-sum", "8")])))).unwrap();
                let answer = client.send(request).await.unwrap().into_body().collect().await.unwrap();
                assert_eq!(answer.trailers().expect(protocol)["x-back"], "8", "{protocol}");
                assert_eq!(answer.to_bytes(), "answer");
            }
        }
    });
}
