//! Clients that send or read slowly, and others who want what those hold: a place of a limit, or a connection
//! to the model server.

use std::io::{Read as _, Write as _};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::{Http, RawClient, Sidecar, Upstream, blocking_until, raw_upstream, run, until};

/// Waits until the two requests that may be under way are.
fn under_way(sidecar: &Sidecar) {
    blocking_until("two requests are under way", || {
        (sidecar.metric("switchback_concurrency", &["version=\"\""]) == 2.0).then_some(())
    });
}

/// A sidecar that lets two requests be under way, before a model server whose answers have no end; those
/// at `/x` are short.
fn before_endless() -> Sidecar {
    let address = raw_upstream(|mut stream| {
        let mut head = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut head) {
            if head.get(..read).is_some_and(|head| head.starts_with(b"GET /x ")) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nshort");
                continue;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
            while stream.write_all(&chunk).is_ok() {}
        }
    });
    Sidecar::start(&format!(
        "models: [{{name: m, concurrency: {{max: 2}}, versions: [{{name: v1, upstream: {{url: 'http://{address}'}}}}]}}]\n"
    ))
}

#[test]
fn answers_that_nobody_reads_make_room_for_those_that_wait() {
    run(async {
        let (one, two) = (before_endless(), before_endless());
        let (mut by_one, mut by_two) = (Vec::new(), Vec::new());
        let endless =
            || Request::get("/endless").header("host", "test").body(Full::<Bytes>::default()).unwrap();
        let mut multiplexed = Http::two(two.main()).await;
        for _ in 0..2 {
            let mut client = Http::one(one.main()).await;
            by_one.push((client.send(endless()).await, client));
            by_two.push(multiplexed.send(endless()).await);
        }
        for sidecar in [&one, &two] {
            until("somebody else is served", async || {
                let mut other = Http::one(sidecar.main()).await;
                let request = Request::get("/x").header("host", "test").body(Full::default()).unwrap();
                (other.send(request).await.status() == 200).then_some(())
            })
            .await;
            crate::support::outcomes(sidecar, &[("fault", 0), ("server_error", 0)]);
        }
        assert!(one.metric("switchback_connection_faults_total", &["reason=\"send_timeout\""]) >= 1.0);
        drop((by_one, by_two));
    });
}

#[test]
fn a_client_that_reads_on_keeps_its_place_whoever_waits() {
    let sidecar = before_endless();
    let mut readers: Vec<_> = (0..2).map(|_| RawClient::connect(sidecar.main())).collect();
    for client in &mut readers {
        client.send("GET /endless HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.head().0, 200);
    }
    under_way(&sidecar);
    // Fourteen seconds of a pace far below the one at which it comes, and fast enough.
    for _ in 0..28 {
        for reader in &mut readers {
            assert!((0..4).all(|_| reader.chunk().is_some()));
        }
        assert_eq!(RawClient::connect(sidecar.main()).get("/x").status, 503);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert_eq!(sidecar.metric("switchback_concurrency", &["version=\"\""]), 2.0);
}

/// A sidecar that lets two requests be under way, and eight clients that have sent the head of one with a
/// body of so many bytes and the first of them.
fn slow_bodies(upstream: &Upstream, length: usize) -> (Sidecar, Vec<RawClient>) {
    let sidecar = Sidecar::start(&format!(
        "workers: 1\nmodels: [{{name: m, concurrency: {{max: 2}}, versions: [\n\
         {{name: v1, upstream: {{url: '{}'}}}}]}}]\n",
        upstream.url()
    ));
    let slow = (0..8).map(|_| {
        let mut client = RawClient::connect(sidecar.main());
        client.send(format!("POST /slow HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\nx"));
        client
    });
    let slow = slow.collect();
    (sidecar, slow)
}

#[test]
fn short_bodies_that_come_slowly_take_nobodys_place() {
    let upstream = Upstream::echo("v1");
    let (sidecar, mut slow) = slow_bodies(&upstream, 5);
    assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"hello").status, 200);
    blocking_until("all of them are there", || {
        (sidecar.metric("switchback_connections_active", &[]) >= 8.0).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"hello").status, 200);
    }
    assert_eq!(upstream.count(), 21, "what is not whole has not been passed on");
    assert_eq!(sidecar.metric("switchback_concurrency", &["version=\"\""]), 0.0);
    for client in &mut slow {
        let answer = client.send("yyyy").read();
        assert!(answer.status == 200 && answer.text().contains("xyyyy"), "{answer:?}");
    }
}

#[test]
fn long_bodies_that_come_slowly_make_room_for_those_that_wait() {
    let upstream = Upstream::echo("v1");
    let (sidecar, mut slow) = slow_bodies(&upstream, 1 << 20);
    under_way(&sidecar);
    let served = blocking_until("somebody else is served", || {
        let answer = RawClient::connect(sidecar.main()).post("/x", "", b"hello");
        (answer.status == 200).then_some(answer)
    });
    assert!(served.text().contains("hello"), "{served:?}");
    // Two had places; the others had been turned away at once.
    let mut statuses: Vec<u16> = slow.iter_mut().map(|client| client.read().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 408, 503, 503, 503, 503, 503, 503]);
}

#[test]
fn a_request_that_waits_for_a_connection_has_slow_bodies_leave_one() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&format!(
        "workers: 1\nmodels: [{{name: m, versions: [\n\
         {{name: v1, upstream: {{url: '{}', maxConnections: 2}}}}]}}]\n",
        upstream.url()
    ));
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let mut client = RawClient::connect(sidecar.main());
            client.send("POST /slow HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
            client
        })
        .collect();
    blocking_until("both are under way", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 2.0).then_some(())
    });
    assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"hello").status, 200);
    // One had to go, and the other may stay: nobody waits any more.
    let left = sidecar.metric("switchback_requests_in_flight", &[]);
    assert!(left < 2.0 && !slow.is_empty(), "{left}");
}

#[test]
fn a_short_body_has_no_longer_than_the_whole_exchange() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, timeouts: {{total: 300ms}}, versions: [{{name: v1, upstream: {{url: '{}'}}}}]}}]\n",
        upstream.url()
    ));
    let mut client = RawClient::connect(sidecar.main());
    client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nx");
    let answer = client.read();
    assert!(answer.status == 408 && answer.text().contains("longer than the total timeout"), "{answer:?}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn requests_that_are_read_for_their_segment_take_nobodys_place_meanwhile() {
    let (v1, v2) = (Upstream::echo("v1"), Upstream::echo("v2"));
    let sidecar = Sidecar::start(&format!(
        "store: {{path: '{{dir}}/rollouts.db'}}\n\
         models:\n\
         - name: m\n\
         \x20 concurrency: {{max: 4}}\n\
         \x20 versions: [{{name: v1, upstream: {{url: '{}'}}}}, {{name: v2, upstream: {{url: '{}'}}}}]\n\
         \x20 rollout:\n\
         \x20   candidate: v2\n\
         \x20   autoStart: true\n\
         \x20   steps: [{{setWeight: {{weight: 50%, minDuration: 1h}}}}]\n\
         \x20   analysis: {{segments: {{by: {{jsonPointer: /region}}}}}}\n",
        v1.url(),
        v2.url()
    ));
    sidecar.rollout_until("traffic", |rollout| rollout["weight"] == "50%");
    let head = "POST /v2/models/m/infer HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut slow: Vec<_> = (0..8)
        .map(|_| {
            let mut client = RawClient::connect(sidecar.main());
            client.send(format!("{head}1\r\n{{\r\n"));
            client
        })
        .collect();
    blocking_until("all of them are there", || {
        (sidecar.metric("switchback_connections_active", &[]) >= 8.0).then_some(())
    });
    for _ in 0..20 {
        let answer = RawClient::connect(sidecar.main()).post("/v2/models/m/infer", "", b"{\"region\": 1}");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(sidecar.metric("switchback_concurrency", &["version=\"\""]), 0.0);
    // A client that leaves is written down as one that no version had.
    drop(slow.pop());
    blocking_until("it is counted", || {
        let left = sidecar.metric("switchback_unrouted_requests_total", &["reason=\"cancelled\""]);
        (left == 1.0).then_some(())
    });
    for client in &mut slow {
        let answer = client.send("1\r\n}\r\n0\r\n\r\n").read();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    }
}
