//! The client against small servers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::testing::{Fake, answer, serve, stream};
use super::*;

#[test]
fn a_command_carries_token_and_key_and_its_answer_comes_back() {
    let fake = Fake::start(vec![answer(201, &json!({"id": "m-1"}))]);
    let access = AccessArgs { token: Some("a-token-of-some-length".to_owned()), ..AccessArgs::default() };
    let server = Server::new(&fake.url, &access).unwrap();
    let done = server.post("/rollouts", &json!({"model": "m"}), Some("run-17")).unwrap();
    assert_eq!(done, json!({"id": "m-1"}));
    let request = &fake.requests()[0];
    assert!(request.starts_with("POST /api/v1/rollouts HTTP/1.1\r\n"), "{request}");
    for part in
        ["authorization: Bearer a-token-of-some-length", "idempotency-key: run-17", "{\"model\":\"m\"}"]
    {
        assert!(request.contains(part), "no {part} in {request}");
    }
}

#[test]
fn refusals_are_told_apart_by_their_status() {
    let said = json!({"error": "no"});
    let statuses = [401, 403, 404, 409, 400, 422, 429, 500, 503];
    let fake = Fake::start(statuses.map(|status| answer(status, &said)).to_vec());
    let errors = statuses.map(|_| fake.server().get("/x").unwrap_err());
    assert!(matches!(errors[0], CallError::Denied(_)) && matches!(errors[1], CallError::Denied(_)));
    assert_eq!(errors[2], CallError::NotFound("no".to_owned()));
    assert_eq!(errors[3], CallError::Refused("no".to_owned()));
    assert!(errors[4..6].iter().all(|error| matches!(error, CallError::Invalid(_))));
    assert!(errors[6..].iter().all(|error| matches!(error, CallError::Unavailable(_)) && error.may_pass()));
}

#[test]
fn what_is_no_sidecar_is_said_to_be_none() {
    let page = "HTTP/1.1 200 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>".to_owned();
    let fake =
        Fake::start(vec![page, answer(404, &json!("nothing")), String::new(), "garbage\r\n".to_owned()]);
    assert!(matches!(fake.server().get("/x"), Err(CallError::Garbled(_))));
    assert!(matches!(fake.server().get("/x"), Err(CallError::Garbled(_))));
    assert!(matches!(fake.server().get("/x"), Err(CallError::Unreachable(_))));
    assert!(fake.server().get("/x").is_err());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        Server::new(&format!("http://{gone}"), &AccessArgs::default()).unwrap().get("/x").unwrap_err();
    assert!(error.to_string().contains("--server"), "{error}");
    assert!(matches!(error, CallError::Unreachable(_)));
}

#[test]
fn events_come_as_they_are_sent() {
    let fake = Fake::start(vec![
        stream(&[json!({"n": 1}), json!({"n": 2})]),
        answer(503, &json!({"error": "full"})),
    ]);
    let events: Vec<_> = fake.server().events("/w", None).unwrap().map(|event| event.data).collect();
    assert_eq!(events, ["{\"n\":1}", "{\"n\":2}"]);
    assert_eq!(fake.server().events("/w", None).err(), Some(CallError::Unavailable("full".to_owned())));
}

#[test]
fn a_silent_stream_is_given_up_when_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
        // Until the client leaves.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let server = Server::new(&url, &AccessArgs::default()).unwrap();
    let events: Vec<_> = server.events("/w", Some(Duration::from_millis(200))).unwrap().collect();
    assert_eq!(events.len(), 1);
    silent.join().unwrap();
}

#[test]
fn a_unix_socket_is_asked_like_any_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&log);
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(&stream, &stream, &answer(200, &json!([1])), &heads);
    });
    let server = Server::new(&format!("unix:{}", path.display()), &AccessArgs::default()).unwrap();
    assert_eq!(server.get("/status").unwrap(), json!([1]));
    serving.join().unwrap();
    assert!(log.lock().unwrap()[0].starts_with("GET /api/v1/status HTTP/1.1\r\n"));
    assert!(matches!(server.get("/status"), Err(CallError::Unreachable(_))));
}

#[test]
fn addresses_and_tokens_that_cannot_be_are_refused_before_anything_is_sent() {
    assert_eq!(base("127.0.0.1:9901").unwrap(), "http://127.0.0.1:9901");
    assert_eq!(base("https://sidecar:1/prefix/").unwrap(), "https://sidecar:1/prefix");
    for wrong in ["", "ftp://x", "http://", "http://u:p@host", "a b"] {
        assert!(base(wrong).is_err(), "{wrong:?}");
    }
    let access = AccessArgs { token: Some("two words".to_owned()), ..AccessArgs::default() };
    assert_eq!(Server::new("http://127.0.0.1:1", &access).unwrap_err().exit, Exit::Usage);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "from-a-file\n").unwrap();
    let access = AccessArgs { token_file: Some(path), ..AccessArgs::default() };
    assert_eq!(token(&access).unwrap().as_deref(), Some("from-a-file"));
    let identity = |certificate: &str, key: &str| {
        let [client_cert, client_key] = [certificate, key].map(|name| Some(folder.path().join(name)));
        let access = AccessArgs { client_cert, client_key, ..AccessArgs::default() };
        Server::new("https://127.0.0.1:1", &access).map(drop).map_err(|failure| failure.message)
    };
    for name in ["a", "b"] {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), pair.cert.pem()).unwrap();
        std::fs::write(folder.path().join(format!("{name}.key")), pair.signing_key.serialize_pem()).unwrap();
    }
    assert_eq!(identity("a.pem", "a.key"), Ok(()));
    for (certificate, key, said) in [
        ("a.pem", "b.key", "cannot be used with --client-key"),
        ("a.key", "a.key", "--client-cert: "),
        ("a.pem", "a.pem", "--client-key: "),
        ("nowhere", "a.key", "--client-cert: cannot read"),
    ] {
        let error = identity(certificate, key).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(segment("sha256:a/b ü"), "sha256%3Aa%2Fb%20%C3%BC");
}
