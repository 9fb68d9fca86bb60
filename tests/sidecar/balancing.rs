//! Several endpoints behind one version: who is asked, who is left out, and what is sent again.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::Response;

use crate::support::{RawClient, Refusing, Sidecar, Upstream, blocking_until, full, raw_upstream};

fn config(endpoints: &[String], upstream: &str, model: &str) -> String {
    let list: Vec<String> = endpoints.iter().map(|url| format!("'{url}'")).collect();
    format!(
        "models: [{{name: m, {model}versions: [{{name: v1, upstream: {{{upstream}endpoints: [{}]}}}}]}}]\n",
        list.join(", ")
    )
}

fn standing(sidecar: &Sidecar, standing: &str) -> f64 {
    sidecar.metric("switchback_upstream_endpoints", &[&format!("standing=\"{standing}\"")])
}

#[test]
fn requests_are_shared_out_and_an_endpoint_that_dies_fails_none() {
    let (one, mut two) = (Upstream::echo("one"), Upstream::echo("two"));
    let sidecar = Sidecar::start(&config(&[one.url(), two.url()], "outlier: {baseEjection: 1h}, ", ""));
    let ask = |times: usize| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let address = sidecar.main();
                std::thread::spawn(move || {
                    let mut client = RawClient::connect(address);
                    (0..times).filter(|_| client.post("/x", "", b"hello").status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    };
    assert_eq!(ask(50), 200);
    assert!(one.count() > 10 && two.count() > 10, "{} {}", one.count(), two.count());
    two.stop();
    let before = one.count();
    assert_eq!(ask(50), 200);
    assert!(one.count() >= before + 200);
    assert_eq!(
        sidecar.json("/api/v1/status")["models"][0]["versions"][0]["endpoints"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn an_endpoint_that_only_refuses_is_moved_from_and_then_left_out() {
    let (one, refusing) = (Upstream::echo("one"), Refusing::start());
    let upstream = "outlier: {consecutiveFailures: 1, baseEjection: 1h}, ";
    let sidecar = Sidecar::start(&config(&[refusing.url(), one.url()], upstream, ""));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..100 {
        assert_eq!(client.post("/x", "", b"hello").status, 200);
    }
    assert_eq!((standing(&sidecar, "ejected"), standing(&sidecar, "available")), (1.0, 1.0));
    assert_eq!(sidecar.metric("switchback_upstream_ejections_total", &[]), 1.0);
    assert_eq!(sidecar.metric("switchback_upstream_retries_total", &[]), 1.0);
}

#[test]
fn an_endpoint_that_fails_its_health_check_gets_nothing_until_it_passes_again() {
    let well = Arc::new(AtomicBool::new(true));
    let (asked, say) = (Arc::new(AtomicUsize::new(0)), well.clone());
    let count = asked.clone();
    let one = Upstream::start(move |seen| {
        let check = seen.uri == "/healthz?full=1";
        count.fetch_add(usize::from(!check), SeqCst);
        let status = if check && !say.load(SeqCst) { 503 } else { 200 };
        Response::builder().status(status).body(full("one")).unwrap()
    });
    let two = Upstream::echo("two");
    let upstream =
        "panicBelow: 0%, healthCheck: {http: {path: '/healthz?full=1'}, interval: 20ms, unhealthyAfter: 2}, ";
    let sidecar = Sidecar::start(&config(&[one.url(), two.url()], upstream, ""));
    let settled = |sick: f64| {
        blocking_until("the checks have an opinion", || {
            (standing(&sidecar, "unhealthy") == sick).then_some(())
        });
    };
    blocking_until("checks", || {
        (sidecar.metric("switchback_upstream_health_checks_total", &["result=\"passed\""]) > 2.0)
            .then_some(())
    });
    well.store(false, SeqCst);
    settled(1.0);
    let before = asked.load(SeqCst);
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..50 {
        assert_eq!(client.post("/x", "", b"hello").status, 200);
    }
    assert_eq!(asked.load(SeqCst), before);
    well.store(true, SeqCst);
    settled(0.0);
    blocking_until("it is asked again", || {
        assert_eq!(client.post("/x", "", b"hello").status, 200);
        (asked.load(SeqCst) > before).then_some(())
    });
}

/// Answers a request with these bytes, as often as it comes.
fn answer(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    use std::io::Read as _;
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !read.ends_with(b"hello") {
        match stream.read(&mut piece) {
            Ok(n @ 1..) => read.extend_from_slice(&piece[..n]),
            _ => return false,
        }
    }
    stream.write_all(bytes).is_ok()
}

#[test]
fn what_may_be_repeated_is_sent_again_to_another_endpoint_and_what_may_not_is_not() {
    let broken = Arc::new(AtomicUsize::new(0));
    let count = broken.clone();
    // It reads a request, and hangs up.
    let address = raw_upstream(move |mut stream| {
        if answer(&mut stream, b"") {
            count.fetch_add(1, SeqCst);
        }
    });
    let good = Upstream::echo("good");
    let model = "retry: {attempts: 2, backoff: 0ms}, ";
    let upstream = "outlier: {enabled: false}, ";
    let sidecar = Sidecar::start(&config(&[format!("http://{address}"), good.url()], upstream, model));
    let mut client = RawClient::connect(sidecar.main());
    // What fails counts as slow, so it is not asked for long; a fresh sidecar asks either first.
    let mut repeated = 0.0;
    for _ in 0..40 {
        assert_eq!(client.post("/v2/models/m/infer", "", b"hello").status, 200);
        repeated = sidecar.metric("switchback_upstream_retries_total", &[]);
        if repeated > 0.0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(repeated > 0.0 && broken.load(SeqCst) > 0);
    let failures = (0..200).filter(|_| client.post("/anything", "", b"hello").status == 502).count();
    assert_eq!(failures, broken.load(SeqCst) - repeated as usize, "a POST of something unknown is sent once");
}

#[test]
fn a_version_that_says_unavailable_is_asked_again_within_the_budget() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let upstream = Upstream::start(move |_| {
        count.fetch_add(1, SeqCst);
        Response::builder().status(503).body(full("busy")).unwrap()
    });
    let model = "retry: {attempts: 3, backoff: 0ms, budget: 50%, minPerSecond: 0}, ";
    let sidecar = Sidecar::start(&config(&[upstream.url()], "", model));
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..100 {
        let answer = client.post("/v2/models/m/infer", "", b"hello");
        assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    }
    assert_eq!(seen.load(SeqCst), 150, "half as many again, and no more");
    assert_eq!(sidecar.metric("switchback_upstream_retries_total", &[]), 50.0);
    assert!(sidecar.metric("switchback_upstream_retries_refused_total", &[]) >= 50.0);
}

#[test]
fn no_answer_within_the_time_of_a_try_is_tried_again_and_the_total_is_kept() {
    let first = Arc::new(AtomicBool::new(true));
    let address = raw_upstream(move |mut stream| {
        if first.swap(false, SeqCst) {
            // It hangs for as long as the other side cares.
            while answer(&mut stream, b"") {}
            return;
        }
        while answer(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") {}
    });
    let model = "retry: {when: [timeout], perTry: 200ms, backoff: 0ms}, timeouts: {total: 10s}, ";
    let sidecar = Sidecar::start(&config(&[format!("http://{address}")], "", model));
    let answer = RawClient::connect(sidecar.main()).post("/v2/models/m/infer", "", b"hello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));

    let trickling = raw_upstream(|mut stream| {
        use std::io::Read as _;
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let model = "timeouts: {total: 500ms}, ";
    let sidecar = Sidecar::start(&config(&[format!("http://{trickling}")], "", model));
    let mut client = RawClient::connect(sidecar.main());
    client.send("GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.head().0, 200);
    assert!(client.is_closed(), "it is cut when its time is over, though it never stood still");
    crate::support::outcomes(&sidecar, &[("fault", 1)]);
}

#[test]
fn the_configuration_moves_endpoints_while_requests_are_served() {
    let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
    let sidecar = Sidecar::start(&config(&[one.url()], "", ""));
    let mut client = RawClient::connect(sidecar.main());
    assert_eq!(client.post("/x", "", b"hello").header("x-upstream"), Some("one"));
    sidecar.rewrite(&config(&[two.url(), one.url()], "", ""));
    blocking_until("the new endpoint is asked", || {
        let answer = client.post("/x", "", b"hello");
        assert_eq!(answer.status, 200);
        (answer.header("x-upstream") == Some("two")).then_some(())
    });
}
