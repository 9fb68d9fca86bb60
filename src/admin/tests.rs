//! The whole operator's side over real sockets, with a sidecar that only remembers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::base::BindAddress;
use crate::config::AdminSpec;

mod api;
mod description;
mod fake;
mod limits;
mod logins;
mod page;
mod watching;

use fake::{Fake, busy};

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    // A refusal may reset the connection after its answer; what was read counts.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn ask(server: &AdminServer, line: &str, headers: &str, body: &str) -> Answer {
    let BindAddress::Tcp(address) = server.address() else { panic!("not TCP") };
    let connect = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {connect}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    exchange(TcpStream::connect(connect).unwrap(), request.as_bytes())
}

/// An admin at this address, without tokens.
fn at(address: &str) -> AdminSpec {
    AdminSpec { address: address.parse().unwrap(), tokens: Vec::new(), tls: None, clients: Vec::new() }
}

fn start(sidecar: Arc<Fake>) -> AdminServer {
    AdminServer::start(&at("127.0.0.1:0"), sidecar).unwrap()
}

fn get(server: &AdminServer, path: &str) -> Answer {
    ask(server, &format!("GET {path}"), "", "")
}

#[test]
fn readiness_is_told_by_status_and_reasons() {
    let sidecar = busy();
    let server = start(sidecar.clone());
    let ready = get(&server, "/readyz");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "reasons": []})));
    *sidecar.ready.lock().unwrap() = false;
    let ready = get(&server, "/readyz");
    assert_eq!((ready.status, ready.json()), (503, json!({"ready": false, "reasons": ["draining"]})));
    assert_eq!(get(&server, "/healthz").status, 200, "alive until the end");
}

#[test]
fn the_status_is_the_documented_one() {
    let answer = get(&start(busy()), "/api/v1/status");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"));
    let status = answer.json();
    let version = &status["models"][0]["versions"][1];
    assert_eq!(version["requests"]["success"], 4, "canary and standby, two workers each");
    assert_eq!(version["latencySeconds"]["count"], 20);
    let p99 = version["latencySeconds"]["p99"].as_f64().unwrap();
    assert!((p99 - 0.0025).abs() <= 0.05 * 0.0025, "{p99}");
    let empty = &status["models"][0]["versions"][2];
    assert_eq!(
        *empty,
        json!({
            "name": "v3", "role": "shadow", "weight": "0%", "weightBasisPoints": 0,
            "backend": "upstream", "target": "http://127.0.0.1/v3",
            "ready": false, "reason": "connection refused", "inFlight": 0,
            "requests": {"success": 0, "clientError": 0, "serverError": 0, "fault": 0, "cancelled": 0},
            "latencySeconds": {"count": 0, "p50": null, "p90": null, "p99": null},
            "firstByteSeconds": {"count": 0, "p50": null, "p90": null, "p99": null},
        })
    );
    let mirror = &status["models"][0]["mirrors"][0];
    assert_eq!((&mirror["dropped"]["too_large"], &mirror["coverage"]), (&json!(2), &json!(0.75)));
    assert_eq!((&mirror["to"], &mirror["sample"]), (&json!("v3"), &json!("100%")));
    let mut top = status.clone();
    top.as_object_mut().unwrap().remove("models");
    assert_eq!(
        top,
        json!({
            "version": env!("CARGO_PKG_VERSION"), "state": "ready", "ready": true, "uptimeSeconds": 1.5,
            "config": {
                "path": "switchback.yaml", "hash": "00ff", "loadedAt": "1970-01-01T00:00:00.000Z",
                "reloads": {"applied": 2, "refused": 1}, "lastError": "line 3: no such key",
            },
            "listeners": [{"name": "main", "address": "127.0.0.1:8080"}],
        })
    );
}

#[test]
fn weights_arrive_in_order_and_the_answer_says_what_they_are() {
    let sidecar = busy();
    let server = start(sidecar.clone());
    let answer = ask(
        &server,
        "PUT /api/v1/models/fraud/weights",
        "",
        r#"{"weights": {"v2": "0.5%", "v1": "9950bp"}}"#,
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(
        answer.json(),
        json!({"model": "fraud", "weights": {"v1": "99.5%", "v2": "0.5%"}, "durable": false})
    );
    let asked = sidecar.asked.lock().unwrap();
    assert_eq!(asked[0].1, [("v2", "0.5%"), ("v1", "9950bp")].map(|(a, b)| (a.into(), b.into())));
}

#[test]
fn what_is_wrong_with_a_change_is_said_in_one_line_of_json() {
    let sidecar = busy();
    let server = start(sidecar.clone());
    for (path, body, status, says) in [
        ("fraud", "", 400, "send"),
        ("fraud", "[]", 400, "send"),
        ("fraud", r#"{"weights": {}, "wights": {}}"#, 400, "wights"),
        ("fraud", r#"{"weights": {"v1": 90}}"#, 400, "string"),
        ("fraud", r#"{"weights": {"v1": "10%", "v1": "90%"}}"#, 400, "twice"),
        ("fraud", r#"{"weights": {"v1": "10"}}"#, 400, "10"),
        ("other", r#"{"weights": {"v1": "100%"}}"#, 404, "other"),
    ] {
        let answer = ask(&server, &format!("PUT /api/v1/models/{path}/weights"), "", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let line = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(line.contains(says) && !line.contains('\n'), "{line}");
    }
    *sidecar.ready.lock().unwrap() = false;
    let answer = ask(&server, "POST /api/v1/config/reload", "", "");
    assert_eq!((answer.status, answer.json()), (409, json!({"error": "the process is draining"})));
}

#[test]
fn a_reload_says_what_is_in_force() {
    let answer = ask(&start(busy()), "POST /api/v1/config/reload", "", "");
    assert_eq!((answer.status, answer.json()), (200, json!({"hash": "11ee", "changed": true})));
}

#[test]
fn unknown_paths_methods_and_endless_bodies_get_errors_in_json() {
    let server = start(busy());
    for (line, status) in [("GET /nope", 404), ("DELETE /metrics", 405), ("GET /api/v1/config/reload", 405)] {
        let answer = ask(&server, line, "", "");
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.json()["error"].is_string());
        assert_eq!(answer.head.contains("\r\nallow: "), status == 405, "{}", answer.head);
    }
    let long = format!("{{\"weights\": {}", " ".repeat(1024 * 1024));
    assert_eq!(ask(&server, "PUT /api/v1/models/fraud/weights", "", &long).status, 413);
}

#[test]
fn a_foreign_web_page_changes_nothing() {
    let sidecar = busy();
    let server = start(sidecar.clone());
    let body = r#"{"weights": {"v1": "100%"}}"#;
    let origin = "Origin: http://evil.example\r\n";
    assert_eq!(ask(&server, "PUT /api/v1/models/fraud/weights", origin, body).status, 403);
    assert!(sidecar.asked.lock().unwrap().is_empty());
}

#[test]
fn an_address_others_can_reach_answers_only_health_and_metrics() {
    let server = AdminServer::start(&at("0.0.0.0:0"), busy()).unwrap();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&server, path).status, 200, "{path}");
    }
    for line in
        ["GET /", "GET /api/v1/status", "PUT /api/v1/models/fraud/weights", "POST /api/v1/config/reload"]
    {
        let answer = ask(&server, line, "", "");
        assert_eq!(answer.status, 403, "{line}");
        assert!(answer.json()["error"].as_str().unwrap().contains("loopback"));
    }
}

#[test]
fn a_unix_socket_takes_the_place_of_a_dead_one_but_not_of_a_living_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = at(&format!("unix:{}", path.display()));
    let server = AdminServer::start(&address, busy()).unwrap();
    let request = b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(UnixStream::connect(&path).unwrap(), request).status, 200);
    let error = AdminServer::start(&address, busy()).unwrap_err().to_string();
    assert!(error.contains("admin.sock"), "{error}");
    assert_eq!(exchange(UnixStream::connect(&path).unwrap(), request).status, 200);
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_port_in_use_is_named_and_a_stopped_server_gives_it_back() {
    let server = start(busy());
    let address = server.address().to_string();
    let error = AdminServer::start(&at(&address), busy()).unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
    server.stop();
    AdminServer::start(&at(&address), busy()).unwrap();
}

#[test]
fn garbage_and_silence_do_not_keep_others_from_being_answered() {
    let server = start(busy());
    let BindAddress::Tcp(address) = server.address() else { panic!("not TCP") };
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let garbage = exchange(TcpStream::connect(address).unwrap(), b"\x16\x03\x01\0\x05hello\r\n\r\n");
    assert_eq!(garbage.status, 400);
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let BindAddress::Tcp(address) = server.address() else { panic!("not TCP") };
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    assert_eq!(get(&server, "/healthz").status, 200);
    drop(silent);
}

#[test]
fn the_index_links_to_what_can_be_looked_at_and_loads_nothing() {
    let server = start(busy());
    let page = get(&server, "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/html") && page.head.contains("default-src 'none'"));
    for link in page.body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(get(&server, link).status, 200, "{link}");
    }
    assert!(page.body.contains("<html lang=\"en\">") && !page.body.contains("src="));
}
