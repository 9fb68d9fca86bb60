//! WebSocket and its like: passed to stable, joined byte for byte, or declined like anything else.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::{LIMIT, RawClient, Sidecar, Upstream, outcomes, raw_upstream};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn head(stream: &mut TcpStream) -> Option<String> {
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

/// Switches, greets at once in the same write, then echoes until the end and says goodbye.
fn switching() -> SocketAddr {
    raw_upstream(|mut stream| {
        let Some(asked) = head(&mut stream) else { return };
        assert!(
            asked.contains("upgrade: websocket\r\n") && asked.contains("connection: upgrade\r\n"),
            "{asked}"
        );
        assert!(asked.contains("sec-websocket-key: "), "{asked}");
        stream.write_all(&[SWITCH, b"hello"].concat()).unwrap();
        let mut bytes = [0; 65536];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => stream.write_all(&bytes[..read]).unwrap(),
                Err(_) => return,
            }
        }
        let _ = stream.write_all(b"goodbye");
    })
}

/// All traffic to the canary `v2`; upgrades belong to the stable `v1` all the same.
fn canary_takes_all(stable: SocketAddr, canary: &Upstream) -> Sidecar {
    Sidecar::start(&format!(
        "models: [{{name: m, stable: v1, versions: [\
         {{name: v1, upstream: {{url: 'http://{stable}'}}}}, \
         {{name: v2, weight: 100%, upstream: {{url: '{}'}}}}]}}]",
        canary.url()
    ))
}

#[test]
fn an_upgrade_goes_to_stable_and_carries_bytes_both_ways() {
    let canary = Upstream::echo("v2");
    let sidecar = canary_takes_all(switching(), &canary);
    assert_eq!(RawClient::connect(sidecar.main()).get("/").header("x-switchback-version"), Some("v2"));

    let mut client = RawClient::connect(sidecar.main());
    // What a client sends before it has the answer is the new protocol's already.
    let response = client.send([ASK.as_bytes(), b"early"].concat()).read();
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(response.header("connection"), Some("upgrade"));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.header("x-switchback-version"), Some("v1"));
    assert_eq!(client.exactly(10), b"helloearly");
    for round in 0..3 {
        let said = format!("round {round} \0\r\n");
        assert_eq!(client.send(&said).exactly(said.len()), said.as_bytes());
    }
    let large = vec![7; 4 << 20];
    let mut writer = client.0.try_clone().unwrap();
    let sent = large.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    assert!(client.exactly(large.len()) == large);
    writing.join().unwrap();
    // The end of one direction leaves the other open.
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.exactly(7), b"goodbye");
    assert!(client.is_closed());
    outcomes(&sidecar, &[("success", 2), ("cancelled", 0), ("fault", 0)]);
    assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
    assert_eq!(canary.count(), 1);
}

#[test]
fn a_declined_upgrade_is_an_ordinary_answer_on_a_connection_that_goes_on() {
    let stable = Upstream::start(|seen| {
        let asked = seen.headers.contains_key("upgrade");
        let status = if asked { 426 } else { 200 };
        http::Response::builder().status(status).body(crate::support::full("no")).unwrap()
    });
    let canary = Upstream::echo("v2");
    let sidecar = canary_takes_all(stable.address, &canary);
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..2 {
        let response = client.send(ASK).read();
        assert_eq!((response.status, response.text().as_str()), (426, "no"));
        assert_eq!(response.header("x-switchback-version"), Some("v1"));
    }
    assert_eq!(client.get("/").header("x-switchback-version"), Some("v2"));
    outcomes(&sidecar, &[("client_error", 2), ("success", 1)]);
}

#[test]
fn an_upgrade_without_an_upstream_is_502() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sidecar = canary_takes_all(nobody, &Upstream::echo("v2"));
    let response = RawClient::connect(sidecar.main()).send(ASK).read();
    assert_eq!(response.status, 502);
    assert_eq!(response.header("x-switchback-error"), Some("connect_failed"));
}

#[test]
fn upgrades_that_are_none_are_not_passed_on() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&crate::support::one_version(&upstream.url(), ""));
    for fields in [
        // Not named by Connection, HTTP/2 by upgrade (withdrawn), and on HTTP/1.0.
        "HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n",
        "HTTP/1.1\r\nhost: test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "HTTP/1.0\r\nhost: test\r\nconnection: upgrade, keep-alive\r\nupgrade: websocket\r\n",
    ] {
        let response = RawClient::connect(sidecar.main()).send(format!("GET / {fields}\r\n")).read();
        assert_eq!(response.status, 200, "{fields}");
        let seen = upstream.seen().pop().unwrap();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(!seen.headers.contains_key(name), "{fields}: {seen:?}");
        }
    }
}

#[test]
fn a_client_that_leaves_an_upgraded_connection_closes_the_upstreams() {
    let (say, ended) = std::sync::mpsc::channel();
    let stable = raw_upstream(move |mut stream| {
        if head(&mut stream).is_some() {
            stream.write_all(SWITCH).unwrap();
            let _ = stream.read(&mut [0]);
            say.send(()).unwrap();
        }
    });
    let sidecar = canary_takes_all(stable, &Upstream::echo("v2"));
    let mut client = RawClient::connect(sidecar.main());
    assert_eq!(client.send(ASK).read().status, 101);
    socket2::SockRef::from(&client.0).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    ended.recv_timeout(LIMIT).unwrap();
    outcomes(&sidecar, &[("cancelled", 1), ("fault", 0)]);
}
