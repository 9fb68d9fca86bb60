//! Several endpoints behind one version: who is asked, who is left out, and what is sent again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::Response;

use crate::support::grpc::answer as answer_grpc;
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
    // A request that is under way when its endpoint dies may have had its effect: it takes a policy to
    // send it again.
    let (outlier, retry) = ("outlier: {baseEjection: 1h}, ", "retry: {attempts: 2, minPerSecond: 1000}, ");
    let sidecar = Sidecar::start(&config(&[one.url(), two.url()], outlier, retry));
    let ask = |times: usize| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let address = sidecar.main();
                std::thread::spawn(move || {
                    let mut client = RawClient::connect(address);
                    let mut ask = || client.post("/v2/models/m/infer", "", b"hello").status == 200;
                    (0..times).filter(|_| ask()).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    };
    assert_eq!(ask(50), 200);
    // How the requests fall is a matter of how the machine runs; that both get some is not.
    assert!(one.count() > 0 && two.count() > 0, "{} {}", one.count(), two.count());
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
fn with_one_endpoint_hanging_and_one_dead_every_request_is_answered() {
    let hanging = raw_upstream(|mut stream| while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {});
    let (dead, well) = (Refusing::start(), Upstream::echo("well"));
    let endpoints = [format!("http://{hanging}"), format!("http://{}", dead.address()), well.url()];
    let model = "timeouts: {response: 1s}, retry: {attempts: 2, when: [timeout], minPerSecond: 1000}, ";
    let sidecar = Sidecar::start(&config(&endpoints, "connectTimeout: 500ms, ", model));
    let address = sidecar.main();
    // All at once: nothing is known of any endpoint yet.
    let clients: Vec<_> = (0..24)
        .map(|_| {
            std::thread::spawn(move || {
                RawClient::connect(address).post("/v2/models/m/infer", "", b"hello").status
            })
        })
        .collect();
    let statuses: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(statuses, [200; 24]);
    assert!(sidecar.metric("switchback_upstream_retries_total", &[]) > 0.0);
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
    let model = "retry: {when: [timeout], perTry: 3s, backoff: 0ms}, timeouts: {total: 60s}, ";
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
    let model = "timeouts: {total: 4s}, ";
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

#[test]
fn readiness_and_grpc_health_are_asked_in_their_own_words() {
    // Each says of one thing that it is well, and of anything else that it is not.
    let oip = Upstream::start(|seen| {
        let status = if seen.uri == "/v2/models/fraud/ready" { 200 } else { 404 };
        Response::builder().status(status).body(full("")).unwrap()
    });
    let grpc = Upstream::start(|seen| {
        let is_asked = seen.uri.ends_with("/grpc.health.v1.Health/Check");
        let about = seen.body.ends_with(b"fraud.Scorer");
        let status = if is_asked && about { 1 } else { 2 };
        answer_grpc(vec![0, 0, 0, 0, 2, 8, status])
    });
    for (upstream, well, unwell) in [
        (&oip, "oip: {model: fraud}", "oip: {model: other}"),
        (&grpc, "grpc: {service: fraud.Scorer}", "grpc: {}"),
    ] {
        for (check, expected) in [(well, "available"), (unwell, "unhealthy")] {
            let more = format!("healthCheck: {{{check}, interval: 20ms}}, ");
            let sidecar = Sidecar::start(&config(&[upstream.url()], &more, ""));
            let result = if expected == "available" { "passed" } else { "failed" };
            blocking_until("it was asked", || {
                let label = format!("result=\"{result}\"");
                let checks = sidecar.metric("switchback_upstream_health_checks_total", &[&label]);
                (checks >= 2.0 && standing(&sidecar, expected) == 1.0).then_some(())
            });
        }
    }
}

#[test]
fn nothing_is_sent_again_once_an_answer_has_begun() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let address = raw_upstream(move |mut stream| {
        // It begins an answer, and breaks it off.
        if answer(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart") {
            count.fetch_add(1, SeqCst);
        }
    });
    let model = "retry: {attempts: 3, when: [reset, timeout, serverError], nonIdempotent: true}, ";
    let sidecar = Sidecar::start(&config(&[format!("http://{address}")], "", model));
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST /v2/models/m/infer HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.head().0, 200);
    assert!(client.is_closed(), "the client can tell that it is not whole");
    crate::support::outcomes(&sidecar, &[("fault", 1)]);
    assert_eq!(asked.load(SeqCst), 1);
    assert_eq!(sidecar.metric("switchback_upstream_retries_total", &[]), 0.0);
}

#[test]
fn a_wait_that_would_outlast_the_deadline_is_not_begun() {
    let failing = Upstream::start(|_| Response::builder().status(503).body(full("no")).unwrap());
    let model = "retry: {attempts: 10, backoff: 10s, minPerSecond: 1000}, timeouts: {total: 1s}, ";
    let sidecar = Sidecar::start(&config(&[failing.url()], "", model));
    for _ in 0..5 {
        let answer = RawClient::connect(sidecar.main()).get("/x");
        assert_eq!((answer.status, answer.text().as_str()), (503, "no"), "what came of the last attempt");
    }
}
