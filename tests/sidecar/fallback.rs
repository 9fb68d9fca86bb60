//! Fallback: stable answers in the place of a canary that fails before its answer begins.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use http::Response;

use super::support::grpc::{self, INFER, Streams, message};
use super::support::load::{Load, body_of, echoed};
use super::support::{RawClient, Refusing, Sidecar, Upstream, full, raw_upstream, run, until};

/// Stable `v1` without weight, canary `v2` with all of it.
fn config(stable: &str, canary: &str, more: &str) -> String {
    format!(
        "models:
  - name: m
{more}    timeouts: {{response: 400ms}}
    versions:
      - {{name: v1, weight: 0%, upstream: {{url: \"{stable}\"}}}}
      - {{name: v2, weight: 100%, upstream: {{url: \"{canary}\"}}}}
"
    )
}

const ON: &str = "    fallback: {enabled: true, maxBodyBytes: 1Ki}\n";

/// A server that reads what comes and then does this once with each connection.
fn reads_then(act: impl Fn(&mut std::net::TcpStream) + Send + Sync + 'static) -> String {
    let address = raw_upstream(move |mut stream| {
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.windows(4).any(|w| w == b"end!") {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
        act(&mut stream);
    });
    format!("http://{address}")
}

#[test]
fn stable_answers_whatever_way_the_canary_fails_and_the_failure_stays_the_canarys() {
    let (stable, nobody) = (Upstream::echo("stable"), Refusing::start());
    let failing = Upstream::start(|_| Response::builder().status(503).body(full("no")).unwrap());
    for (canary, outcome, fault) in [
        (nobody.url(), "fault", "connect_failed"),
        (failing.url(), "server_error", ""),
        (
            reads_then(|s| s.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").unwrap()),
            "server_error",
            "",
        ),
        (reads_then(|_| ()), "fault", "upstream_reset"),
        (reads_then(|s| s.write_all(b"\x16\x03garbage\r\n\r\n").unwrap()), "fault", "upstream_protocol"),
        (reads_then(|_| std::thread::sleep(Duration::from_secs(5))), "fault", "response_timeout"),
    ] {
        let sidecar = Sidecar::start(&config(&stable.url(), &canary, ON));
        let mut client = RawClient::connect(sidecar.main());
        let answer = client.post("/x", "x-mine: 1\r\n", b"the end!");
        assert_eq!((answer.status, answer.text().as_str()), (200, "the end!"), "{canary} {outcome} {fault}");
        assert_eq!((answer.version(), answer.header("x-upstream")), ("v1", Some("stable")));
        assert_eq!(stable.seen().pop().unwrap().headers["x-mine"], "1");
        assert_eq!(sidecar.finished("v2", outcome), 1.0, "{fault}");
        if !fault.is_empty() {
            let reason = format!("reason=\"{fault}\"");
            assert_eq!(
                sidecar.metric("switchback_faults_total", &["version=\"v2\"", &reason]),
                1.0,
                "{fault}"
            );
        }
        assert_eq!(sidecar.metric("switchback_fallbacks_total", &["version=\"v2\""]), 1.0);
        assert_eq!(sidecar.finished("v1", "success"), 0.0, "a stand-in's answer is nobody's measurement");
        assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
        assert_eq!(client.get("/again").version(), "v1", "the connection goes on");
    }
}

#[test]
fn without_it_the_canarys_failure_is_the_answer() {
    let stable = Upstream::echo("stable");
    let failing = Upstream::start(|_| Response::builder().status(503).body(full("no")).unwrap());
    let sidecar = Sidecar::start(&config(&stable.url(), &failing.url(), ""));
    let answer = RawClient::connect(sidecar.main()).post("/x", "", b"end!");
    assert_eq!((answer.status, answer.text().as_str(), answer.version()), (503, "no", "v2"));
    assert_eq!(stable.count(), 0);
}

#[test]
fn a_failure_of_both_is_named_after_stable_whose_answer_it_stands_for() {
    let (one, other) = (Refusing::start(), Refusing::start());
    let sidecar = Sidecar::start(&config(
        &format!("http://{}", one.address()),
        &format!("http://{}", other.address()),
        ON,
    ));
    let answer = RawClient::connect(sidecar.main()).post("/x", "", b"body");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.header("x-switchback-version"), Some("v1"), "{answer:?}");
}

#[test]
fn a_request_that_stable_answers_instead_keeps_its_place_and_its_deadline() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let stable = Upstream::start(move |seen| {
        if seen.uri == "/slow" {
            let _ = wait.lock().unwrap().recv();
        }
        Response::new(full("stable"))
    });
    let failing = Upstream::start(|_| Response::builder().status(500).body(full("no")).unwrap());
    let more = "    fallback: {enabled: true}\n    concurrency: {max: 1}\n";
    let sidecar = Sidecar::start(
        &config(&stable.url(), &failing.url(), more)
            .replace("timeouts: {response: 400ms}", "timeouts: {response: 1h}"),
    );
    let mut slow = RawClient::connect(sidecar.main());
    slow.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    // Whatever a request is answered by, it is under way.
    run(until("it is under way at stable", async || {
        (sidecar.metric("switchback_fallbacks_total", &[]) == 1.0).then_some(())
    }));
    assert_eq!(sidecar.metric("switchback_concurrency", &["version=\"\""]), 1.0);
    let refused = RawClient::connect(sidecar.main()).get("/x");
    assert_eq!((refused.status, refused.header("x-switchback-error")), (503, Some("overloaded")));
    go.send(()).unwrap();
    assert_eq!(slow.read().text(), "stable");
    run(until("its place is free", async || {
        (sidecar.metric("switchback_concurrency", &["version=\"\""]) == 0.0).then_some(())
    }));
    assert_eq!(RawClient::connect(sidecar.main()).get("/x").text(), "stable");

    let sidecar = Sidecar::start(
        &config(&stable.url(), &failing.url(), ON)
            .replace("timeouts: {response: 400ms}", "timeouts: {response: 1h, total: 300ms}"),
    );
    let late = RawClient::connect(sidecar.main()).get("/slow");
    assert_eq!((late.status, late.header("x-switchback-error")), (504, Some("response_timeout")));
    drop(go);
}

#[test]
fn nobody_is_asked_instead_once_the_total_time_is_over() {
    let stable = Upstream::echo("stable");
    let canary = reads_then(|s| drop(s.read(&mut [0])));
    let sidecar = Sidecar::start(
        &format!(
            "listeners: [{{name: main, address: 127.0.0.1:0, allowPin: true}}]\n{}",
            config(&stable.url(), &canary, ON)
        )
        .replace("timeouts: {response: 400ms}", "timeouts: {response: 1h, total: 2s}"),
    );
    // A connection to stable lies ready.
    let pinned = RawClient::connect(sidecar.main()).post("/x", "x-switchback-version: v1\r\n", b"end!");
    assert_eq!(pinned.version(), "v1");
    let late = RawClient::connect(sidecar.main()).post("/x", "", b"end!");
    assert_eq!((late.status, late.header("x-switchback-error")), (504, Some("response_timeout")));
    assert_eq!(stable.count(), 1);
    assert_eq!(sidecar.metric("switchback_fallbacks_total", &["version=\"v2\""]), 0.0);
}

#[test]
fn a_canary_that_hangs_lowers_its_limit_although_stable_answers() {
    let stable = Upstream::echo("stable");
    let canary = raw_upstream(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(n) = stream.read(&mut buffer)
            && n > 0
        {
            if buffer[..n].starts_with(b"GET /quick") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        }
    });
    let sidecar = Sidecar::start(
        &config(&stable.url(), &format!("http://{canary}"), ON)
            .replace("response: 400ms", "response: 100ms")
            .replace("weight: 100%,", "weight: 100%, concurrency: {adaptive: {initial: 10, max: 12}},"),
    );
    let limit = || sidecar.metric("switchback_concurrency_limit", &["version=\"v2\""]);
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..200 {
        assert_eq!(client.get("/quick").version(), "v2");
    }
    let before = limit();
    for _ in 0..45 {
        assert_eq!(client.get("/hangs").version(), "v1");
    }
    assert!(limit() < before, "{} after {before}", limit());
}

#[test]
fn what_is_no_failure_of_the_canary_is_passed_on() {
    let stable = Upstream::echo("stable");
    for status in [200, 204, 302, 400, 404, 429, 501] {
        let canary = Upstream::start(move |_| Response::builder().status(status).body(full("")).unwrap());
        let sidecar = Sidecar::start(&config(&stable.url(), &canary.url(), ON));
        let answer = RawClient::connect(sidecar.main()).post("/x", "", b"b");
        assert_eq!((answer.status, answer.version()), (status, "v2"));
    }
    assert_eq!(stable.count(), 0);
}

#[test]
fn stables_own_failure_is_not_tried_again() {
    let failing = Upstream::start(|_| Response::builder().status(500).body(full("no")).unwrap());
    let sidecar = Sidecar::start(&config(&failing.url(), &failing.url(), ON));
    let answer = RawClient::connect(sidecar.main()).post("/x", "", b"b");
    assert_eq!((answer.status, answer.version()), (500, "v1"));
    assert_eq!(failing.count(), 2, "the canary once and stable once");
}

#[test]
fn bodies_up_to_the_limit_are_sent_again_and_longer_ones_are_not() {
    run(async {
        let stable = Upstream::echo("stable");
        let failing = Upstream::start(|_| Response::builder().status(500).body(full("no")).unwrap());
        // A copy may be longer than what is kept for a fallback; that must not lengthen the latter.
        for mirror in ["", "    mirror: [{to: v3, maxBodyBytes: 1Mi}]\n"] {
            let text = config(&stable.url(), &failing.url(), &format!("{ON}{mirror}"));
            let text = format!("{text}      - {{name: v3, upstream: {{url: \"{}\"}}}}\n", stable.url());
            let sidecar = Sidecar::start(&text);
            let mut client = RawClient::connect(sidecar.main());
            for (length, version) in [(0, "v1"), (1023, "v1"), (1024, "v1"), (1025, "v2"), (100_000, "v2")] {
                let body = vec![b'x'; length];
                let answer = client.post("/x", "", &body);
                assert_eq!(answer.version(), version, "{length} bytes, {mirror:?}");
                assert!(version == "v2" || answer.body == body);
                let head = "POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
                let chunk = if length == 0 {
                    String::new()
                } else {
                    format!("{length:x}\r\n{}\r\n", "x".repeat(length))
                };
                let answer = client.send(format!("{head}{chunk}0\r\n\r\n")).read();
                assert_eq!(answer.version(), version, "{length} bytes in chunks, {mirror:?}");
            }
        }
    });
}

#[test]
fn a_body_that_never_left_is_sent_to_stable_whatever_its_length() {
    let (stable, nobody) = (Upstream::echo("stable"), Refusing::start());
    let sidecar = Sidecar::start(&config(&stable.url(), &nobody.url(), ON));
    let body = vec![b'x'; 3_000_000];
    let answer = RawClient::connect(sidecar.main()).post("/x", "", &body);
    assert!(answer.status == 200 && answer.body == body, "{}", answer.status);
    assert_eq!(answer.version(), "v1");
}

#[test]
fn nothing_is_sent_again_once_an_answer_has_begun() {
    let stable = Upstream::echo("stable");
    let breaking =
        reads_then(|s| s.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").unwrap());
    let sidecar = Sidecar::start(&config(&stable.url(), &breaking, ON));
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nend!");
    let (status, head) = client.head();
    assert_eq!(status, 200, "{head}");
    assert_eq!(client.exactly(4), b"half");
    assert!(client.is_closed());
    assert_eq!(stable.count(), 0);
    run(until("the fault", async || (sidecar.finished("v2", "fault") == 1.0).then_some(())));
    assert_eq!(sidecar.metric("switchback_fallbacks_total", &[]), 0.0);
}

#[test]
fn a_grpc_canary_that_is_unavailable_before_its_first_message_is_stood_in_for() {
    run(async {
        let stable = grpc::grpc_echo();
        for (code, version) in [("14", "v1"), ("13", "v1"), ("3", "v2"), ("5", "v2")] {
            let canary = Upstream::start(move |_| {
                let head = Response::builder().header("content-type", "application/grpc");
                head.header("grpc-status", code).body(full("")).unwrap()
            });
            let sidecar = Sidecar::start(&config(&stable.url(), &canary.url(), ON));
            let sent = message(&[(1, "m")]);
            let called =
                Streams::connect(sidecar.main()).await.call(INFER, &[], grpc::whole(sent.clone())).await;
            assert_eq!(called.version(), version, "grpc-status {code}");
            match version {
                "v1" => assert_eq!((called.status(), &called.body), ("0", &sent)),
                _ => assert_eq!(called.status(), code),
            }
        }
    });
}

/// traefik#12988: a mirror and a retry together must not mix up bodies.
#[test]
fn fallbacks_and_mirrors_together_leave_every_body_as_it_was() {
    run(async {
        let stable = Upstream::echo("stable");
        let flaky = Upstream::start(|seen| {
            let fails = seen.body.len() % 3 != 0;
            Response::builder().status(if fails { 500 } else { 200 }).body(full(seen.body.clone())).unwrap()
        });
        let (shadow, nobody) = (Upstream::echo("shadow"), Refusing::start());
        let more = "    fallback: {enabled: true}\n    mirror: [{to: v3, maxInFlight: 10000, suspendAbove: 10000}, {to: v4, maxInFlight: 2}]\n";
        let mut text = config(&stable.url(), &flaky.url(), more);
        text += &format!("      - {{name: v3, upstream: {{url: \"{}\"}}}}\n", shadow.url());
        text += &format!("      - {{name: v4, upstream: {{url: \"{}\"}}}}\n", nobody.url());
        let sidecar = Sidecar::start(&text);
        let load = Load::start(sidecar.main(), 8, echoed);
        load.wait(2_000);
        let loaded = load.stop();
        loaded.is_fine(2_000);
        sidecar.mirror_settled("v3").await;
        sidecar.mirror_settled("v4").await;
        let mut copies: Vec<_> = shadow.seen().into_iter().map(|seen| seen.body).collect();
        let mut sent: Vec<_> = (0..loaded.requests).map(body_of).collect();
        copies.sort();
        sent.sort();
        assert_eq!(copies.len(), sent.len());
        assert!(copies == sent, "the shadow saw other bodies");
    });
}
