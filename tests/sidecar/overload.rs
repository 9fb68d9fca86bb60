//! More than can be served: who is turned away, with which words, and that the rest is served as
//! before. Files and memory that run out.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{RawClient, Sidecar, Upstream, blocking_until, one_version, raw_upstream};

/// An upstream that holds every request until it is told to answer one.
struct Holding {
    url: String,
    go: Sender<()>,
}

fn holding() -> Holding {
    let (go, wait) = channel();
    let wait: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(wait));
    let address = raw_upstream(move |mut stream| {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer), Ok(1..)) {
            let told = wait.lock().unwrap().recv();
            if told.is_err() || stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    });
    Holding { url: format!("http://{address}"), go }
}

/// Requests under way: each waits for its answer.
fn begin(sidecar: &Sidecar, count: usize, headers: &str) -> Vec<RawClient> {
    (0..count)
        .map(|_| {
            let mut client = RawClient::connect(sidecar.main());
            client.send(format!("GET /x HTTP/1.1\r\nhost: test\r\n{headers}\r\n"));
            client
        })
        .collect()
}

fn under_way(sidecar: &Sidecar, count: usize) {
    blocking_until("the requests are under way", || {
        (sidecar.metric("switchback_concurrency", &["version=\"\""]) == count as f64).then_some(())
    });
}

#[test]
fn beyond_the_limit_of_a_model_it_is_503_with_retry_after_and_what_is_under_way_is_served() {
    let upstream = holding();
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, concurrency: {{max: 3}}, versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]\n",
        upstream.url
    ));
    let mut held = begin(&sidecar, 3, "");
    under_way(&sidecar, 3);
    let refused = RawClient::connect(sidecar.main()).get("/x");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("x-switchback-error"), Some("overloaded"));
    assert!(refused.text().contains("model m has the 3 requests under way"), "{}", refused.text());
    let grpc = RawClient::connect(sidecar.main()).post("/a.B/C", "content-type: application/grpc\r\n", b"");
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("8")));
    for _ in 0..3 {
        upstream.go.send(()).unwrap();
    }
    for client in &mut held {
        assert_eq!(client.read().status, 200);
    }
    under_way(&sidecar, 0);
    upstream.go.send(()).unwrap();
    assert_eq!(RawClient::connect(sidecar.main()).get("/x").status, 200);
    assert_eq!(sidecar.metric("switchback_shed_requests_total", &[]), 2.0);
    // Turned away is not failed: the version's own figures are those of what it was asked.
    crate::support::outcomes(&sidecar, &[("success", 4), ("fault", 0)]);
}

#[test]
fn shadows_go_first_then_canaries_and_stable_last() {
    let (upstream, shadow) = (holding(), Upstream::echo("shadow"));
    let sidecar = Sidecar::start(&format!(
        "listeners: [{{name: main, address: 127.0.0.1:0, allowPin: true}}]\n\
         models: [{{name: m, concurrency: {{max: 10}}, mirror: [{{to: v3}}], versions: [\n\
         {{name: v1, upstream: {{url: '{0}'}}}}, {{name: v2, weight: 1bp, upstream: {{url: '{0}'}}}},\n\
         {{name: v3, upstream: {{url: '{1}'}}}}]}}]\n",
        upstream.url,
        shadow.url()
    ));
    let (stable, canary) = ("x-switchback-version: v1\r\n", "x-switchback-version: v2\r\n");
    let ask = |headers: &str| {
        let mut client = RawClient::connect(sidecar.main());
        client.send(format!("GET /x HTTP/1.1\r\nhost: test\r\n{headers}\r\n"));
        client
    };
    let mut held = begin(&sidecar, 7, stable);
    under_way(&sidecar, 7);
    blocking_until("seven copies", || (shadow.count() == 7).then_some(()));
    held.extend(begin(&sidecar, 2, stable));
    under_way(&sidecar, 9);
    blocking_until("no copy of what comes at 80 %", || {
        (sidecar.metric("switchback_mirror_dropped_total", &["reason=\"suspended\""]) >= 1.0).then_some(())
    });
    assert_eq!(ask(canary).read().status, 503);
    held.push(ask(stable));
    under_way(&sidecar, 10);
    assert_eq!(ask(stable).read().status, 503);
    let shed = |role: &str| sidecar.metric("switchback_shed_requests_total", &[&format!("role=\"{role}\"")]);
    assert_eq!((shed("canary"), shed("stable")), (1.0, 1.0));
    for _ in &held {
        upstream.go.send(()).unwrap();
    }
    assert!(held.iter_mut().all(|client| client.read().status == 200));
}

#[test]
fn a_version_has_a_limit_of_its_own_and_a_stream_counts_until_its_end() {
    let address = raw_upstream(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        let _ = stream.read(&mut [0; 4096]);
    });
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, versions: [{{name: v1, concurrency: {{max: 1}}, upstream: {{url: 'http://{address}'}}}}]}}]\n"
    ));
    let mut first = RawClient::connect(sidecar.main());
    first.send("GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(first.head().0, 200);
    assert_eq!(RawClient::connect(sidecar.main()).get("/x").status, 503);
    drop(first);
    blocking_until("the client has left", || {
        let mut client = RawClient::connect(sidecar.main());
        client.send("GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
        (client.head().0 == 200).then_some(())
    });
}

#[test]
fn an_adaptive_limit_is_shown_and_stays_within_its_bounds() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, concurrency: {{adaptive: {{initial: 10, max: 12}}}}, versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]\n",
        upstream.url()
    ));
    let limit = || sidecar.metric("switchback_concurrency_limit", &["version=\"\""]);
    assert_eq!(limit(), 10.0);
    let mut client = RawClient::connect(sidecar.main());
    for _ in 0..200 {
        assert_eq!(client.get("/x").status, 200);
    }
    assert!((4.0..=12.0).contains(&limit()), "{}", limit());
}

#[test]
fn without_memory_everything_new_is_refused_and_the_process_lives_on() {
    let upstream = Upstream::echo("v1");
    // Less than any process needs: the least that the configuration takes.
    let sidecar = Sidecar::start(&one_version(&upstream.url(), "overload: {memory: 16Mi}\n"));
    blocking_until("the ceiling is noticed", || {
        (sidecar.metric("switchback_memory_used_ratio", &[]) > 0.95).then_some(())
    });
    let mut client = TcpStream::connect(sidecar.main()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = client.write_all(b"GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read);
    assert_eq!(String::from_utf8_lossy(&read), "", "a connection is closed at once");
    assert!(sidecar.metric("switchback_connections_refused_total", &[]) >= 1.0);
    assert_eq!(RawClient::connect(sidecar.admin()).get("/healthz").status, 200);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn clients_that_read_nothing_cost_little_and_are_sent_away() {
    // Endless: whatever is read of it, there is more.
    let address = raw_upstream(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {}
    });
    let rest = "downstream: {sendTimeout: 1s}\n";
    let sidecar = Sidecar::start(&one_version(&format!("http://{address}"), rest));
    let before = sidecar.rss_kib();
    let mut clients = begin(&sidecar, 30, "");
    blocking_until("each has begun", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 30.0
            || sidecar.metric("switchback_connection_faults_total", &["reason=\"send_timeout\""]) > 0.0)
            .then_some(())
    });
    assert!(sidecar.rss_kib() < before + 64 * 1024, "{} KiB, {before} before", sidecar.rss_kib());
    blocking_until("they are sent away", || {
        (sidecar.metric("switchback_connection_faults_total", &["reason=\"send_timeout\""]) == 30.0)
            .then_some(())
    });
    assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
    assert!(clients.iter_mut().all(RawClient::is_closed));
}

#[test]
fn idle_connections_cost_little() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&one_version(&upstream.url(), ""));
    let before = sidecar.rss_kib();
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..400 {
        let mut client = RawClient::connect(sidecar.main());
        assert_eq!(client.post("/x", "", b"hello").status, 200);
        idle.push(client.0);
    }
    let per_connection = sidecar.rss_kib().saturating_sub(before) as f64 / 400.0;
    assert!(per_connection < 16.0, "{per_connection} KiB per idle connection");
    assert_eq!(sidecar.metric("switchback_connections_active", &[]), 400.0);
}

/// The CPU time that a process has used, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    after[11].parse::<u64>().unwrap() + after[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_it_serves_those_that_are_there_rests_and_recovers() {
    let (upstream, other) = (Upstream::echo("v1"), Upstream::echo("other"));
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, match: [{{pathPrefix: /x}}], versions: [{{name: v1, upstream: {{url: '{}'}}}}]}},\n\
         {{name: other, versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]\n",
        upstream.url(),
        other.url()
    ));
    let mut known = RawClient::connect(sidecar.main());
    assert_eq!(known.post("/x", "", b"hello").status, 200);
    // Until every thread has opened what it needs, the same number for some time.
    let open = || std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap().count();
    let (mut before, mut same) = (0, 0);
    blocking_until("nothing more is opened", || {
        assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"hello").status, 200);
        let now = open();
        same = if now <= before { same + 1 } else { 0 };
        before = before.max(now);
        (same > 100).then_some(())
    });
    let limit = before + 12;
    let set = |limit: String| {
        let pid = sidecar.pid().to_string();
        let done = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={limit}")])
            .status();
        done.is_ok_and(|status| status.success())
    };
    if !set(format!("{limit}:{limit}")) {
        eprintln!("skipped: there is no prlimit here");
        return;
    }
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(sidecar.main()).unwrap()).collect();
    blocking_until("accepting fails", || {
        // The admin API may find no descriptor either, for a while: ask the log.
        sidecar.log().contains("accepting rests").then_some(())
    });
    for _ in 0..20 {
        assert_eq!(known.post("/x", "", b"hello").status, 200, "who is connected is served");
    }
    // A version that cannot be connected to for that reason has not failed.
    let unasked = known.post("/v2/models/other/infer", "", b"{}");
    assert_eq!((unasked.status, unasked.header("x-switchback-error")), (503, Some("exhausted")));
    assert_eq!(unasked.header("retry-after"), Some("1"));
    let before = ticks(sidecar.pid());
    std::thread::sleep(Duration::from_secs(1));
    let spent = ticks(sidecar.pid()) - before;
    assert!(spent < 50, "it spins: {spent} ticks in a second");
    drop(crowd);
    blocking_until("it recovers", || {
        let mut client = RawClient::connect(sidecar.main());
        client.patience(Duration::from_millis(500));
        let _ = client.0.write_all(b"GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
        let mut first = [0; 12];
        (client.0.read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 200").then_some(())
    });
}
