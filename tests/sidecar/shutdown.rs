//! The end: readiness goes first, then what is under way ends in order, within its time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{RawClient, Sidecar, raw_upstream, run, until};

/// An upstream that begins a chunked answer, and sends a chunk each time it is told to; `None`
/// ends the answer.
struct Told {
    address: SocketAddr,
    tell: Sender<Option<&'static str>>,
    asked: Arc<Mutex<usize>>,
}

fn told() -> Told {
    let (tell, told) = channel();
    let (told, asked) = (Arc::new(Mutex::new(told)), Arc::new(Mutex::new(0)));
    let count = asked.clone();
    let address = raw_upstream(move |stream| serve(stream, &told, &count));
    Told { address, tell, asked }
}

fn serve(mut stream: TcpStream, told: &Mutex<Receiver<Option<&'static str>>>, asked: &Mutex<usize>) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return,
        }
    }
    *asked.lock().unwrap() += 1;
    let told = told.lock().unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    while let Ok(Some(chunk)) = told.recv() {
        if write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len()).is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n");
}

fn config(address: SocketAddr, drain: &str) -> String {
    format!(
        "drain: {drain}\nmodels: [{{name: m, versions: [{{name: v1, upstream: {{url: \"http://{address}\"}}}}]}}]\n"
    )
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err()
}

/// A client whose answer has begun.
fn begun(sidecar: &Sidecar, told: &Told) -> RawClient {
    told.tell.send(Some("one")).unwrap();
    let mut client = RawClient::connect(sidecar.main());
    client.send("GET /stream HTTP/1.1\r\nhost: t\r\n\r\n");
    assert_eq!(client.head().0, 200);
    assert_eq!(client.chunk().unwrap(), b"one");
    client
}

#[test]
fn readiness_goes_first_and_new_requests_are_still_served_during_the_delay() {
    run(async {
        let told = told();
        let mut sidecar = Sidecar::start(&config(told.address, "{delay: 2s, timeout: 10s}"));
        sidecar.ready().await;
        sidecar.signal("TERM");
        let reasons = until("readiness to fail", async || {
            let answer = RawClient::connect(sidecar.admin()).get("/readyz");
            (answer.status == 503).then(|| answer.text())
        })
        .await;
        assert!(reasons.contains("draining"), "{reasons}");
        assert_eq!(sidecar.status()["state"], "draining");
        assert_eq!(RawClient::connect(sidecar.admin()).get("/healthz").status, 200);
        // The load balancer has not heard of it yet.
        let mut client = begun(&sidecar, &told);
        told.tell.send(None).unwrap();
        assert!(client.chunk().is_none());
        assert_eq!(sidecar.wait().code(), Some(0));
    });
}

#[test]
fn a_stream_under_way_ends_in_order_while_new_connections_are_refused() {
    run(async {
        for signal in ["TERM", "INT"] {
            let told = told();
            let mut sidecar = Sidecar::start(&config(told.address, "{timeout: 15s}"));
            sidecar.ready().await;
            let mut client = begun(&sidecar, &told);
            let mut idle = RawClient::connect(sidecar.main());

            sidecar.signal(signal);
            assert!(idle.is_closed(), "an idle connection is closed at once");
            until("new connections to be refused", async || refuses(sidecar.main()).then_some(())).await;
            assert_eq!(RawClient::connect(sidecar.admin()).get("/healthz").status, 200);

            told.tell.send(Some("two")).unwrap();
            assert_eq!(client.chunk().unwrap(), b"two");
            told.tell.send(None).unwrap();
            assert!(client.chunk().is_none(), "the stream ends whole");
            assert_eq!(client.line().as_deref(), Some(""));
            assert!(client.is_closed());
            assert_eq!(sidecar.wait().code(), Some(0), "{signal}");
            assert_eq!(*told.asked.lock().unwrap(), 1);
        }
    });
}

#[test]
fn a_request_that_waits_for_its_answer_gets_it() {
    run(async {
        let told = told();
        // Its answer begins only when the other one, which holds the upstream, is over.
        let mut sidecar = Sidecar::start(&config(told.address, "{timeout: 15s}"));
        sidecar.ready().await;
        let mut first = begun(&sidecar, &told);
        let mut second = RawClient::connect(sidecar.main());
        second.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n");
        until("the second to be asked", async || (*told.asked.lock().unwrap() == 2).then_some(())).await;
        sidecar.signal("TERM");
        until("new connections to be refused", async || refuses(sidecar.main()).then_some(())).await;
        told.tell.send(None).unwrap();
        assert!(first.chunk().is_none());
        told.tell.send(Some("late")).unwrap();
        told.tell.send(None).unwrap();
        let answer = second.read();
        assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
        assert!(answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")), "{answer:?}");
        assert_eq!(sidecar.wait().code(), Some(0));
    });
}

#[test]
fn what_does_not_end_in_time_is_cut_and_the_exit_is_in_order() {
    run(async {
        let told = told();
        let mut sidecar = Sidecar::start(&config(told.address, "{timeout: 500ms}"));
        sidecar.ready().await;
        let mut client = begun(&sidecar, &told);
        // And one that never says what it wants, and one that trickles its body.
        let mut silent = RawClient::connect(sidecar.main());
        let mut half = RawClient::connect(sidecar.main());
        half.send("POST /x HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nhalf");
        sidecar.signal("TERM");
        assert_eq!(sidecar.wait().code(), Some(0));
        assert!(client.is_closed() && silent.is_closed() && half.is_closed());
        assert!(sidecar.log().contains("stopped"), "{}", sidecar.log());
    });
}

#[test]
fn a_second_signal_ends_at_once() {
    run(async {
        for drain in ["{timeout: 100s}", "{delay: 100s, timeout: 100s}"] {
            let told = told();
            let mut sidecar = Sidecar::start(&config(told.address, drain));
            sidecar.ready().await;
            let mut client = begun(&sidecar, &told);
            sidecar.signal("TERM");
            until("the drain to start", async || {
                (RawClient::connect(sidecar.admin()).get("/readyz").status == 503).then_some(())
            })
            .await;
            let asked = Instant::now();
            sidecar.signal("INT");
            assert_eq!(sidecar.wait().code(), Some(0), "{drain}");
            assert!(asked.elapsed() < Duration::from_secs(10));
            assert!(client.is_closed());
        }
    });
}

#[test]
fn a_reload_under_way_does_not_keep_the_process_from_ending() {
    run(async {
        let told = told();
        let mut sidecar = Sidecar::start(&config(told.address, "{timeout: 500ms}"));
        sidecar.ready().await;
        // A configuration that never comes to an end: a pipe that nobody writes to.
        let file = sidecar.folder().join("switchback.yaml");
        std::fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        sidecar.signal("HUP");
        until("the reload to begin", async || {
            sidecar.log().contains("reading the configuration again").then_some(())
        })
        .await;
        sidecar.signal("TERM");
        assert_eq!(sidecar.wait().code(), Some(0));
    });
}
