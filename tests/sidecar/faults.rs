//! Upstreams that fail in every way: what the client is told, what is counted, and that a broken
//! answer never looks like a whole one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{
    LIMIT, RawClient, RawResponse, Sidecar, Upstream, blocking_until, one_version, outcomes, raw_upstream,
};

/// Reads one request's head and body (by its length).
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(head)
}

/// An upstream that answers each request with these bytes and then closes.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    raw_upstream(move |mut stream| {
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(bytes);
        }
    })
}

/// Closes with a reset in place of an end.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

fn sidecar_of(address: SocketAddr) -> Sidecar {
    Sidecar::start(&one_version(&format!("http://{address}"), ""))
}

fn assert_fault(response: &RawResponse, status: u16, reason: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("x-switchback-error"), Some(reason), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert!(body["error"].as_str().unwrap().starts_with(&format!("{reason}: ")), "{body}");
}

#[test]
fn an_upstream_that_refuses_is_502_and_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = sidecar_of(address);
    let response = RawClient::connect(sidecar.main()).post("/", "", b"body");
    assert_fault(&response, 502, "connect_failed");
    assert!(response.text().contains(&address.to_string()), "{}", response.text());
    outcomes(&sidecar, &[("fault", 1)]);
    assert_eq!(sidecar.metric("switchback_faults_total", &["reason=\"connect_failed\""]), 1.0);
}

#[test]
fn an_upstream_that_hangs_is_504_and_its_connection_is_closed() {
    let (say, closed) = std::sync::mpsc::channel();
    let address = raw_upstream(move |mut stream| {
        let Some(_) = read_request(&mut stream) else { return };
        say.send(stream.read(&mut [0]).unwrap_or(0)).unwrap();
    });
    let config = format!(
        "models: [{{name: m, timeouts: {{response: 200ms}}, \
         versions: [{{name: v1, upstream: {{url: 'http://{address}'}}}}]}}]"
    );
    let sidecar = Sidecar::start(&config);
    assert_fault(&RawClient::connect(sidecar.main()).get("/"), 504, "response_timeout");
    assert_eq!(closed.recv_timeout(LIMIT).unwrap(), 0);
    outcomes(&sidecar, &[("fault", 1)]);
}

#[test]
fn an_upstream_without_an_answer_or_with_a_broken_head_is_502() {
    let resetting = raw_upstream(|mut stream| {
        read_request(&mut stream);
        reset(stream);
    });
    let large = format!("HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n", "a".repeat(1 << 20));
    let cases: [(&str, SocketAddr, &str); 13] = [
        ("a reset", resetting, "upstream_reset"),
        ("a close", answering(b""), "upstream_reset"),
        ("half a head", answering(b"HTTP/1.1 200 OK\r\ncontent-le"), "upstream_reset"),
        ("garbage", answering(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), "upstream_protocol"),
        ("another protocol", answering(b"220 mail.example ESMTP\r\n"), "upstream_protocol"),
        ("a bad status", answering(b"HTTP/1.1 2000 OK\r\n\r\n"), "upstream_protocol"),
        ("a bad field", answering(b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n"), "upstream_protocol"),
        (
            "two lengths",
            answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            "upstream_protocol",
        ),
        ("no length", answering(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab"), "upstream_protocol"),
        (
            "gzip coding",
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab"),
            "upstream_protocol",
        ),
        (
            "an unasked switch",
            answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            "upstream_protocol",
        ),
        (
            "too many fields",
            answering(
                "HTTP/1.1 200 OK\r\n"
                    .bytes()
                    .chain(b"a: b\r\n".repeat(5000))
                    .chain(*b"\r\n")
                    .collect::<Vec<_>>()
                    .leak(),
            ),
            "upstream_protocol",
        ),
        ("a large head", answering(large.into_bytes().leak()), "upstream_protocol"),
    ];
    for (what, address, reason) in cases {
        let sidecar = sidecar_of(address);
        let response = RawClient::connect(sidecar.main()).post("/", "", b"body");
        assert_eq!(response.header("x-switchback-error"), Some(reason), "{what}: {response:?}");
        assert_fault(&response, 502, reason);
        outcomes(&sidecar, &[("fault", 1)]);
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let cases = [
        ("length", answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), "upstream_reset"),
        (
            "chunks",
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            "upstream_reset",
        ),
        (
            "half a chunk",
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab"),
            "upstream_reset",
        ),
        (
            "no last line",
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"),
            "upstream_reset",
        ),
        (
            "a bad chunk",
            answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
            "upstream_protocol",
        ),
    ];
    for (what, address, reason) in cases {
        let sidecar = sidecar_of(address);
        let mut client = RawClient::connect(sidecar.main());
        // Where the break comes with the head, hyper may close before it has written anything.
        let mut answer = Vec::new();
        let _ = client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").0.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 200") {
            let whole = match head.contains("content-length: 9") {
                true => body.len() >= 9,
                false => body.ends_with("0\r\n\r\n"),
            };
            assert!(!whole, "{what}: {answer}");
        }
        outcomes(&sidecar, &[("fault", 1)]);
        assert_eq!(
            sidecar.metric("switchback_faults_total", &[&format!("reason=\"{reason}\"")]),
            1.0,
            "{what}"
        );
    }
}

#[test]
fn a_connection_that_died_while_idle_is_replaced_once_and_nobody_notices() {
    let (say, closed) = std::sync::mpsc::channel();
    let address = raw_upstream(move |mut stream| {
        // The sidecar also connects to see whether it could.
        let Some(_) = read_request(&mut stream) else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        drop(stream);
        say.send(()).unwrap();
    });
    let sidecar = sidecar_of(address);
    let mut client = RawClient::connect(sidecar.main());
    for round in 0..20 {
        let response = client.post("/", "", b"body");
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "round {round}: {response:?}");
        closed.recv_timeout(LIMIT).unwrap();
        // The end was sent; it is another core that may have to see to its arrival.
        blocking_until("the end to have arrived", || (!has_open_connection(address.port())).then_some(()));
    }
    outcomes(&sidecar, &[("success", 20)]);
}

/// Whether a connection to this port of this machine has heard of no end yet.
fn has_open_connection(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The far end's address, and the state: 01 is ESTABLISHED.
        fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == "01"
    })
}

#[test]
fn a_request_that_may_have_been_seen_is_never_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    // The second request on each connection is read and dropped.
    let address = raw_upstream(move |mut stream| {
        let Some(_) = read_request(&mut stream) else { return };
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        if read_request(&mut stream).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let sidecar = sidecar_of(address);
    let mut client = RawClient::connect(sidecar.main());
    assert_eq!(client.post("/", "", b"body").status, 200);
    assert_fault(&client.post("/", "", b"body"), 502, "upstream_reset");
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(client.post("/", "", b"body").status, 200);
    outcomes(&sidecar, &[("success", 2), ("fault", 1)]);
}

#[test]
fn a_body_beyond_the_limit_is_413_by_length_and_by_chunk() {
    let upstream = Upstream::echo("v1");
    let config = format!(
        "models: [{{name: m, limits: {{requestBytes: 1Ki}}, \
         versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]",
        upstream.url()
    );
    let sidecar = Sidecar::start(&config);
    let large = [b'a'; 1025];
    assert_eq!(RawClient::connect(sidecar.main()).post("/", "", &large[1..]).status, 200);

    let mut client = RawClient::connect(sidecar.main());
    assert_fault(&client.post("/", "", &large), 413, "payload_too_large");
    // Who asks first is told before anything is sent, and without a 100.
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST / HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 1025\r\n\r\n");
    assert_eq!(client.head().0, 413);

    let mut client = RawClient::connect(sidecar.main());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..2 {
        client.send([b"300\r\n", &[b'a'; 0x300][..], b"\r\n"].concat());
    }
    assert_fault(&client.send("0\r\n\r\n").read(), 413, "payload_too_large");
    assert_eq!(upstream.count(), 1);
    assert_eq!(RawClient::connect(sidecar.main()).post("/", "", b"a").status, 200);
    outcomes(&sidecar, &[("success", 2), ("client_error", 1), ("fault", 0)]);
}

#[test]
fn a_client_that_leaves_is_cancelled_and_no_fault() {
    let (say_arrived, arrived) = std::sync::mpsc::channel();
    let (say, closed) = std::sync::mpsc::channel();
    let address = raw_upstream(move |mut stream| {
        let Some(head) = read_request(&mut stream) else { return };
        say_arrived.send(()).unwrap();
        if head.starts_with("GET /stream") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
        }
        say.send(stream.read(&mut [0]).unwrap_or(0)).unwrap();
    });
    let sidecar = sidecar_of(address);
    // Before the answer, in the answer, in a long request, and in a short one that nobody has yet.
    let mut client = RawClient::connect(sidecar.main());
    client.send("GET /wait HTTP/1.1\r\nhost: test\r\n\r\n");
    arrived.recv_timeout(LIMIT).unwrap();
    drop(client);
    assert_eq!(closed.recv_timeout(LIMIT).unwrap(), 0);
    let mut client = RawClient::connect(sidecar.main());
    client.send("GET /stream HTTP/1.1\r\nhost: test\r\n\r\n").head();
    assert_eq!(client.chunk().unwrap(), b"abc");
    drop(client);
    assert_eq!(closed.recv_timeout(LIMIT).unwrap(), 0);
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\nabc");
    crate::support::blocking_until("the upload has arrived", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) > 0.0).then_some(())
    });
    drop(client);
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nabc");
    crate::support::blocking_until("its connection is served", || {
        (sidecar.metric("switchback_connections_active", &[]) == 1.0).then_some(())
    });
    drop(client);
    crate::support::blocking_until("it is counted", || {
        let left = sidecar.metric("switchback_unrouted_requests_total", &["reason=\"cancelled\""]);
        (left == 1.0).then_some(())
    });
    outcomes(&sidecar, &[("cancelled", 3), ("fault", 0), ("client_error", 0), ("server_error", 0)]);
    assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
}

#[test]
fn answers_are_counted_by_what_they_say() {
    let upstream = Upstream::start(|seen| {
        let status: u16 = seen.uri.trim_start_matches('/').parse().unwrap();
        http::Response::builder().status(status).body(crate::support::full("said")).unwrap()
    });
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let mut client = RawClient::connect(sidecar.main());
    for status in [200, 201, 302, 400, 404, 429, 500, 503] {
        let response = client.get(&format!("/{status}"));
        assert_eq!((response.status, response.text().as_str()), (status, "said"));
        assert_eq!(response.header("x-switchback-error"), None);
        assert_eq!(response.header("x-switchback-version"), Some("v1"));
    }
    outcomes(
        &sidecar,
        &[("success", 3), ("client_error", 3), ("server_error", 2), ("fault", 0), ("cancelled", 0)],
    );
}
