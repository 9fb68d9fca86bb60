//! Clients that break HTTP: each is refused, the version sees nothing of it, and the sidecar goes on.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use crate::support::{RawClient, Sidecar, Upstream, one_version};

/// Sends `bytes` and gives the status code of the answer; `None` where the connection was closed
/// without one. The connection must be closed after it.
fn refused(address: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let mut client = RawClient::connect(address);
    // The sidecar may close before everything is written.
    let _ = client.0.write_all(bytes);
    let mut answer = Vec::new();
    let ended = client.0.read_to_end(&mut answer);
    let open = ended.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::ConnectionReset);
    assert!(!open, "{ended:?} after {:?}", String::from_utf8_lossy(bytes));
    let text = String::from_utf8_lossy(&answer);
    assert!(text.matches("HTTP/1.1 ").count() <= 1, "more than one answer: {text}");
    text.split(' ').nth(1).and_then(|code| code.parse().ok())
}

fn still_serves(sidecar: &Sidecar) {
    assert_eq!(RawClient::connect(sidecar.main()).get("/alive").status, 200);
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n";
    let cases = [
        ("two lengths", "content-length: 0\r\ncontent-length: 38\r\n", ""),
        ("two lengths in one", "content-length: 0, 38\r\n", ""),
        ("a signed length", "content-length: +0\r\n", ""),
        ("a negative length", "content-length: -1\r\n", ""),
        ("a hexadecimal length", "content-length: 0x0\r\n", ""),
        ("an empty length", "content-length:\r\n", ""),
        ("a huge length", "content-length: 99999999999999999999\r\n", ""),
        ("an unknown coding", "transfer-encoding: gzip\r\n", "0\r\n\r\n"),
        ("a coding after chunked", "transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ("chunked twice", "transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("chunked on two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        (
            "chunked and identity",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
            "0\r\n\r\n",
        ),
        ("almost chunked", "transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        ("chunked in quotes", "transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("a vertical tab", "transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("space before the colon", "content-length : 5\r\n", ""),
        ("tab before the colon", "transfer-encoding\t: chunked\r\n", "0\r\n\r\n"),
        ("a folded line", "x-a: b\r\n content-length: 5\r\n", ""),
        ("a folded coding", "transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ("a line that begins with space", " x-a: b\r\n", ""),
        ("two hosts", "host: other\r\n", ""),
        ("a line without a colon", "x-a\r\n", ""),
        ("an empty name", ": b\r\n", ""),
        ("a NUL in a value", "x-a: b\0c\r\n", ""),
        ("a bare CR in a value", "x-a: b\rcontent-length: 5\r\n", ""),
        ("a NUL in a name", "x\0a: b\r\n", ""),
    ];
    for (what, fields, body) in cases {
        let request = format!("POST /case HTTP/1.1\r\nhost: test\r\n{fields}\r\n{body}{smuggled}");
        let status = refused(sidecar.main(), request.as_bytes());
        assert!(matches!(status, Some(400 | 413 | 501)), "{what}: {status:?}");
        assert_eq!(upstream.count(), 0, "{what}: {:?}", upstream.seen());
    }
    still_serves(&sidecar);
}

/// RFC 9112 section 6.3 lets a server read the chunks, if it drops the length and closes.
#[test]
fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n";
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let request = format!("POST /case HTTP/1.1\r\nhost: test\r\n{fields}\r\n0\r\n\r\n{smuggled}");
        let status = refused(sidecar.main(), request.as_bytes());
        assert!(matches!(status, Some(200 | 400)), "{fields:?}: {status:?}");
    }
    for seen in upstream.seen() {
        assert_eq!((seen.uri.as_str(), seen.body.len()), ("/case", 0), "{seen:?}");
        assert!(!seen.headers.contains_key("content-length"), "{seen:?}");
    }
    still_serves(&sidecar);
}

#[test]
fn a_request_line_or_host_that_is_none_is_refused() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET http://user@test/ HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET ftp://test/ HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET test:80 HTTP/1.1\r\nhost: test\r\n\r\n",
        "CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\n\r\n",
        "TRACE / HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET  / HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET / HTTP/1.2\r\nhost: test\r\n\r\n",
        "GET / HTTP/2.0\r\nhost: test\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: test\r\n\r\n",
        "GET / http/1.1\r\nhost: test\r\n\r\n",
        "GET / \r\nhost: test\r\n\r\n",
        "GE(T / HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nhost: test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: test\r\nexpect: a-miracle\r\n\r\n",
    ] {
        let end = format!("{}connection: close\r\n\r\n", request.strip_suffix("\r\n").unwrap());
        let status = refused(sidecar.main(), end.as_bytes());
        assert!(matches!(status, Some(400 | 417 | 501 | 505)), "{request:?}: {status:?}");
        assert_eq!(upstream.count(), 0, "{request:?}: {:?}", upstream.seen());
    }
    still_serves(&sidecar);
}

#[test]
fn a_broken_chunk_breaks_the_request_and_never_looks_like_its_end() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 \u{b}\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\nabc\n0\n\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
    ] {
        let head = "POST /case HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
        let status = refused(sidecar.main(), format!("{head}{body}").as_bytes());
        assert!(matches!(status, None | Some(400)), "{body:?}: {status:?}");
        assert_eq!(upstream.count(), 0, "{body:?}: {:?}", upstream.seen());
    }
    still_serves(&sidecar);
}

#[test]
fn what_is_not_http_at_all_is_sent_away() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let many: Vec<u8> = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(20_000)].concat();
    for bytes in [
        &noise[..],
        &[hello.as_slice(), &[0; 300]].concat(),
        &[0; 5000],
        b"\r\n\r\n\r\n\r\nhello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        &[&preface[..], &noise].concat(),
        // A frame before SETTINGS, a frame too long, HEADERS on stream 0, an even stream, a bad HPACK.
        &[&preface[..], b"\x00\x00\x00\x00\x01\x00\x00\x00\x01"].concat(),
        &[&preface[..], b"\xff\xff\xff\x04\x00\x00\x00\x00\x00"].concat(),
        &[&preface[..], b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x00\x80"]
            .concat(),
        &[&preface[..], b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x02\x82"]
            .concat(),
        &[&preface[..], b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x02\x01\x05\x00\x00\x00\x01\xff\xff"]
            .concat(),
        &many,
    ] {
        let mut client = RawClient::connect(sidecar.main());
        let _ = client.0.write_all(bytes);
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        assert!(client.is_closed());
        assert_eq!(upstream.count(), 0);
    }
    // Bytes that never become anything are no request either.
    for start in [&preface[..10], b"GET / HTT", b"G"] {
        let mut client = RawClient::connect(sidecar.main());
        client.send(start).0.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.is_closed());
    }
    still_serves(&sidecar);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn heads_beyond_the_limits_are_431() {
    let upstream = Upstream::echo("v1");
    let limits = "downstream: {headerCount: 20, headerBytes: 8Ki}\n";
    let sidecar = Sidecar::start(&one_version(&upstream.url(), limits));
    let many: String = (0..30).map(|i| format!("x-{i}: a\r\n")).collect();
    let large = format!("x-large: {}\r\n", "a".repeat(9 * 1024));
    for fields in [many, large] {
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
        assert_eq!(refused(sidecar.main(), request.as_bytes()), Some(431));
    }
    assert_eq!(upstream.count(), 0);
    let some: String = (0..15).map(|i| format!("x-{i}: a\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{some}\r\n");
    assert_eq!(RawClient::connect(sidecar.main()).send(request).read().status, 200);
}

#[test]
fn heads_beyond_the_limits_are_431_on_http2_as_well() {
    crate::support::run(async {
        use crate::support::Http;
        let upstream = Upstream::echo("v1");
        let limits = "downstream: {headerCount: 20, headerBytes: 8Ki}\n";
        let sidecar = Sidecar::start(&one_version(&upstream.url(), limits));
        let mut client = Http::two(sidecar.main()).await;
        let names: Vec<String> = (0..30).map(|i| format!("x-{i}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
        assert_eq!(client.post("/", &many, b"").await.status(), 431);
        let large = "a".repeat(9 * 1024);
        assert_eq!(client.post("/", &[("x-large", &large)], b"").await.status(), 431);
        assert_eq!(upstream.count(), 0);
        assert_eq!(client.post("/", &many[..10], b"").await.status(), 200);
    });
}

#[test]
fn what_no_model_matches_is_404_and_counted() {
    let upstream = Upstream::echo("v1");
    let config = format!(
        "models: [{{name: m, match: [{{pathPrefix: /m}}], versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]",
        upstream.url()
    );
    let sidecar = Sidecar::start(&config);
    let mut client = RawClient::connect(sidecar.main());
    let response = client.post("/other", "", b"body");
    assert_eq!(response.status, 404);
    assert_eq!(response.header("x-switchback-error"), Some("no_route"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.text(), r#"{"error":"no_route: no model matches /other"}"#);
    assert_eq!(sidecar.metric("switchback_unrouted_requests_total", &["reason=\"no_route\""]), 1.0);
    assert_eq!(upstream.count(), 0);
    assert_eq!(RawClient::connect(sidecar.main()).get("/m").status, 200);
}

#[test]
fn a_length_that_lies_over_http2_smuggles_nothing_into_http1() {
    use crate::support::streams::{Stream, ready};
    crate::support::run(async {
        let upstream = Upstream::echo("v1");
        let sidecar = Sidecar::start(&format!(
            "models: [{{name: m, versions: [{{name: v1, upstream: {{url: '{}', protocol: http1}}}}]}}]",
            upstream.url()
        ));
        let smuggled = b"GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n";
        for length in
            ["0", "1", "37", "39", "100000", "-1", "+38", "0x26", "38, 38", "", "99999999999999999999"]
        {
            let mut client = Stream::two(sidecar.main()).await;
            let request = http::Request::post("/case").header("content-length", length);
            let answer = client.send(request.body(ready(&[smuggled], None)).unwrap()).await;
            let refused = answer.as_ref().map_or(true, |a| a.status().is_client_error());
            // A request that says that it is empty may be answered as what it says before its body comes.
            assert!(refused || length == "0", "{length:?}: {answer:?}");
        }
        for name in ["transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade"] {
            let mut client = Stream::two(sidecar.main()).await;
            let request = http::Request::post("/case").header(name, "chunked");
            let answer = client.send(request.body(ready(&[b"0\r\n\r\n", smuggled], None)).unwrap()).await;
            for seen in upstream.seen() {
                // Of what lied about its length, an empty request may have passed.
                let whole = seen.body.is_empty() || seen.body.ends_with(smuggled);
                assert!(whole, "{name}: {answer:?} {seen:?}");
            }
        }
        assert!(upstream.seen().iter().all(|seen| seen.uri == "/case"), "{:?}", upstream.seen());
        tokio::task::spawn_blocking(move || still_serves(&sidecar)).await.unwrap();
    });
}

#[test]
fn a_tls_listener_sends_away_what_is_no_tls_and_counts_it() {
    let upstream = Upstream::echo("v1");
    let folder = tempfile::tempdir().unwrap();
    crate::support::streams::Identity::new(folder.path());
    let listener = "listeners: [{name: main, address: 127.0.0.1:0, tls: {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}}]\n";
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), listener));
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 4096],
        hello,
    ] {
        let mut client = RawClient::connect(sidecar.main());
        let _ = client.0.write_all(bytes);
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        assert!(client.is_closed());
    }
    crate::support::blocking_until("the failures are counted", || {
        (sidecar.metric("switchback_tls_handshake_failures_total", &[]) == 4.0).then_some(())
    });
    assert_eq!(upstream.count(), 0);
}
