//! Header fields on their way: what passes untouched, what ends here, and what is added.

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;

use crate::support::streams::{Stream, ready};
use crate::support::{RawClient, Sidecar, Upstream, full, one_version, raw_upstream, run};

fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
}

#[test]
fn what_speaks_of_the_connection_ends_here_in_both_directions() {
    let upstream = Upstream::start(|_| {
        Response::builder()
            .header("connection", "x-hop, keep-alive")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("proxy-connection", "keep-alive")
            .header("x-stays", "1")
            .body(full("ok"))
            .unwrap()
    });
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let request = "GET / HTTP/1.1\r\nhost: test\r\n\
         connection: X-Hop, keep-alive, x-absent\r\nconnection: x-second\r\n\
         x-hop: 1\r\nx-second: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
         proxy-authorization: Basic eA==\r\nte: gzip\r\nupgrade: foo\r\nx-switchback-error: forged\r\nx-stays: 1\r\n\r\n";
    let mut client = RawClient::connect(sidecar.main());
    let response = client.send(request).read();
    assert_eq!(response.status, 200, "{response:?}");
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "proxy-connection", "connection"] {
        assert_eq!(response.header(name), None, "{name}: {response:?}");
    }
    assert_eq!(response.header("x-stays"), Some("1"));
    let seen = upstream.seen().pop().unwrap();
    for name in [
        "x-hop",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "connection",
        "x-switchback-error",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}: {:?}", seen.headers);
    }
    assert_eq!(seen.headers["x-stays"], "1");

    // What the upstream relies on cannot be named away.
    let request = "POST / HTTP/1.1\r\ncontent-length: 2\r\nauthorization: a\r\ncookie: b=c\r\nx-forwarded-for: 1.2.3.4\r\n\
         host: test\r\nconnection: host, content-length, authorization, cookie, x-forwarded-for, x-request-id\r\n\r\nok";
    assert_eq!(client.send(request).read().status, 200);
    let seen = upstream.seen().pop().unwrap();
    for name in ["host", "content-length", "authorization", "cookie", "x-forwarded-for", "x-request-id"] {
        assert!(seen.headers.contains_key(name), "{name}: {:?}", seen.headers);
    }
    assert_eq!(seen.body, "ok");
}

#[test]
fn repeated_fields_stay_repeated_and_bytes_stay_bytes() {
    let upstream = raw_upstream(|mut stream| {
        use std::io::{Read as _, Write as _};
        let mut bytes = [0; 8192];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut bytes) {
                Ok(read @ 1..) => head.extend_from_slice(&bytes[..read]),
                _ => return,
            }
        }
        let has = |part: &[u8]| head.windows(part.len()).any(|w| w == part);
        let all = has(b"x-many: one\r\n")
            && has(b"x-many: two\r\n")
            && has(b"x-bytes: caf\xe9 \xff\r\n")
            && has(b"x-empty: \r\n");
        let status = if all { "200 OK" } else { "418 Lost" };
        let first =
            format!("HTTP/1.1 {status}\r\nset-cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\n");
        let answer = [
            first.as_bytes(),
            b"set-cookie: b=2\r\nset-cookie: c=3\r\nx-bytes: caf\xe9 \xff\r\ncontent-length: 0\r\n\r\n",
        ];
        let _ = stream.write_all(&answer.concat());
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    client.send(b"GET / HTTP/1.1\r\nhost: test\r\nx-many: one\r\nx-many: two\r\nx-bytes: caf\xe9 \xff\r\nx-empty:\r\n\r\n");
    let mut answer = vec![0; 4096];
    let read = std::io::Read::read(&mut client.0, &mut answer).unwrap();
    let answer = &answer[..read];
    let at = |part: &[u8]| answer.windows(part.len()).position(|w| w == part);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
    let cookies =
        [&b"set-cookie: a=1; Expires=Wed, 09 Jun"[..], b"set-cookie: b=2\r\n", b"set-cookie: c=3\r\n"]
            .map(at);
    assert!(cookies.is_sorted() && cookies.iter().all(Option::is_some), "{cookies:?}");
    assert!(at(b"x-bytes: caf\xe9 \xff\r\n").is_some());
}

#[test]
fn a_version_is_told_of_the_client_and_what_a_trusted_proxy_said_before() {
    let upstream = Upstream::echo("v1");
    let listeners = "listeners:
- {name: main, address: 127.0.0.1:0}
- {name: behind, address: 127.0.0.1:0, trustedPeers: [127.0.0.0/8]}
- {name: strangers, address: 127.0.0.1:0, trustedPeers: [192.0.2.0/24]}
";
    let sidecar = Sidecar::start(&(listeners.to_owned() + &one_version(&upstream.url(), "")));
    let mut client = RawClient::connect(sidecar.main());
    client.get("/");
    let first = upstream.seen().pop().unwrap().headers;
    assert_eq!(texts(&first, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(texts(&first, "x-forwarded-proto"), ["http"]);
    assert_eq!(texts(&first, "x-forwarded-host"), ["test"]);
    assert_eq!(texts(&first, "host"), ["test"]);
    let (id, parent) = (texts(&first, "x-request-id"), texts(&first, "traceparent"));
    assert!(id.len() == 1 && id[0].len() == 36, "{id:?}");
    assert!(parent.len() == 1 && parent[0].len() == 55 && parent[0].starts_with("00-"), "{parent:?}");

    client.get("/");
    let second = upstream.seen().pop().unwrap().headers;
    assert_ne!(texts(&second, "x-request-id"), id);
    assert_ne!(texts(&second, "traceparent"), parent);

    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let said = format!(
        "x-forwarded-for: 203.0.113.9\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: shop.example\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\n\
         x-forwarded-client-cert: By=me\r\nX_Forwarded_For: 203.0.113.9\r\n\
         x-request-id: mine\r\ntraceparent: {trace}\r\ntracestate: a=b\r\n"
    );
    // Nobody is believed who is not named.
    for listener in ["main", "strangers"] {
        RawClient::connect(sidecar.address(listener)).post("/", &said, b"");
        let taken = upstream.seen().pop().unwrap().headers;
        assert_eq!(texts(&taken, "x-forwarded-for"), ["127.0.0.1"], "{listener}");
        assert_eq!(texts(&taken, "x-forwarded-proto"), ["http"], "{listener}");
        assert_eq!(texts(&taken, "x-forwarded-host"), ["test"], "{listener}");
        for name in ["forwarded", "x-real-ip", "x-forwarded-client-cert", "x_forwarded_for"] {
            assert!(!taken.contains_key(name), "{name} on {listener}");
        }
        assert_eq!(texts(&taken, "x-request-id"), ["mine"], "{listener}");
    }

    RawClient::connect(sidecar.address("behind")).post("/", &said, b"");
    let kept = upstream.seen().pop().unwrap().headers;
    assert_eq!(texts(&kept, "forwarded"), ["for=203.0.113.9"]);
    assert_eq!(texts(&kept, "x-real-ip"), ["203.0.113.9"]);
    assert_eq!(texts(&kept, "x-forwarded-for"), ["203.0.113.9, 10.0.0.1, 127.0.0.1"]);
    assert_eq!(texts(&kept, "x-forwarded-proto"), ["https"]);
    assert_eq!(texts(&kept, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(texts(&kept, "x-forwarded-client-cert"), ["By=me"]);
    assert_eq!(texts(&kept, "x-request-id"), ["mine"]);
    assert_eq!(
        (texts(&kept, "traceparent"), texts(&kept, "tracestate")),
        (vec![trace.to_owned()], vec!["a=b".to_owned()])
    );

    client.post("/", "traceparent: 00-broken\r\ntracestate: a=b\r\n", b"");
    let remade = upstream.seen().pop().unwrap().headers;
    assert!(texts(&remade, "traceparent")[0].len() == 55 && !remade.contains_key("tracestate"), "{remade:?}");
}

#[test]
fn an_http_1_0_client_is_answered_in_its_own_way() {
    let upstream = raw_upstream(|mut stream| {
        use std::io::{Read as _, Write as _};
        if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
            );
        }
    });
    let sidecar = Sidecar::start(&one_version(&format!("http://{upstream}"), ""));
    let mut client = RawClient::connect(sidecar.main());
    let response = client.send("GET / HTTP/1.0\r\n\r\n").read();
    assert_eq!(
        (response.status, response.header("transfer-encoding"), response.text().as_str()),
        (200, None, "abcdef")
    );

    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..2 {
        let request = "POST / HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 4\r\n\r\nbody";
        let response = client.send(request).read();
        assert_eq!(response.text(), "body");
        assert_eq!(response.header("connection"), Some("keep-alive"));
    }
    assert_eq!(client.send("POST / HTTP/1.0\r\ncontent-length: 4\r\n\r\nbody").read().text(), "body");
    assert!(client.is_closed());
    assert!(upstream.seen().iter().all(|seen| seen.version == http::Version::HTTP_11));
}

#[test]
fn pipelined_requests_are_answered_in_their_order_and_close_is_heard() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    let mut requests = String::new();
    for i in 0..20 {
        let body = format!("body {i}").repeat(i);
        requests += &match i % 2 {
            0 => format!("POST /{i} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            _ => format!(
                "POST /{i} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ),
        };
    }
    requests += "GET /last HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\nGET /never HTTP/1.1\r\nhost: test\r\n\r\n";
    client.send(&requests);
    for i in 0..20 {
        assert_eq!(client.read().text(), format!("body {i}").repeat(i));
    }
    let last = client.read();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    assert_eq!(upstream.count(), 21);
}

#[test]
fn an_answers_close_is_not_the_clients() {
    let upstream =
        Upstream::start(|_| Response::builder().header("connection", "close").body(full("ok")).unwrap());
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.header("connection")), ("ok", None));
    }
}

#[test]
fn the_crumbs_of_a_cookie_and_the_target_survive_the_change_of_protocol() {
    run(async {
        let upstream = Upstream::echo("v1");
        let sidecar = Sidecar::start(&format!(
            "models: [{{name: m, versions: [{{name: v1, upstream: {{url: '{}', protocol: http1}}}}]}}]",
            upstream.url()
        ));
        let mut client = Stream::two(sidecar.main()).await;
        let request =
            Request::get("/a%2Fb//c/../d?x=1&y=%20").header("cookie", "a=1").header("cookie", "b=2");
        let response = client.send(request.body(ready(&[], None)).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.uri, "/a%2Fb//c/../d?x=1&y=%20");
        assert_eq!(texts(&seen.headers, "cookie"), ["a=1; b=2"]);
        assert_eq!(texts(&seen.headers, "host"), ["test"]);
        assert!(!seen.headers.contains_key("transfer-encoding"), "{:?}", seen.headers);
    });
}
