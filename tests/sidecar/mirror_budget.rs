//! The limits of mirrors, at their edges, and clients that leave: the primary is whole, every drop
//! is counted by its reason, and coverage falls.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::support::grpc::{self, Streams};
use super::support::{RawClient, Sidecar, Upstream, raw_upstream, run, until};

fn config(live: &str, shadow: &str, mirror: &str) -> String {
    format!(
        "models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{live}\"}}}}
      - {{name: v3, upstream: {{url: \"{shadow}\"}}}}
    mirror: [{{to: v3{mirror}}}]
"
    )
}

/// A server that reads and never answers; it counts connections, and those the other side closed.
struct Silent {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Silent {
    fn start() -> Self {
        let (opened, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (opens, closes) = (opened.clone(), closed.clone());
        let address = raw_upstream(move |mut stream| {
            let mut first = [0; 1];
            if stream.read(&mut first).is_ok_and(|n| n == 1) {
                opens.fetch_add(1, Ordering::Relaxed);
                while stream.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {}
                closes.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address, opened, closed }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn has_opened(&self, count: usize) {
        until("requests", async || (self.opened.load(Ordering::Relaxed) >= count).then_some(())).await;
    }

    async fn has_closed(&self, count: usize) {
        until("closed connections", async || (self.closed.load(Ordering::Relaxed) >= count).then_some(()))
            .await;
    }
}

fn chunked(client: &mut RawClient, body: &[u8]) -> Vec<u8> {
    let mut text = b"POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(700) {
        text.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
    }
    text.extend(b"0\r\n\r\n");
    client.send(text).read().body
}

/// istio#58870: over the limit the copy is dropped, counted, and seen in the coverage.
#[test]
fn a_body_of_one_byte_more_than_a_copy_may_have_is_not_copied_but_served() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ", maxBodyBytes: 64Ki"));
        let mut client = RawClient::connect(sidecar.main());
        let mut h2 = Streams::connect(sidecar.main()).await;
        for length in [65_535, 65_536, 65_537, 400_000] {
            let body: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            assert!(client.post("/x", "", &body).body == body, "{length}");
            assert!(chunked(&mut client, &body) == body, "{length} in chunks");
            let answer = h2.post("/x", &[], grpc::whole(body.clone())).await.unwrap();
            assert!(grpc::Called::of(answer).await.body == body, "{length} over HTTP/2");
        }
        sidecar.mirror_settled("v3").await;
        assert_eq!((sidecar.mirrored("v3", "sampled"), sidecar.mirrored("v3", "completed")), (12.0, 6.0));
        assert_eq!(sidecar.dropped("v3", "too_large"), 6.0);
        assert_eq!(sidecar.metric("switchback_mirror_coverage_ratio", &[]), 0.5);
        assert_eq!(sidecar.mirror("v3")["dropped"]["too_large"], 6);
        let mut lengths: Vec<_> = shadow.seen().iter().map(|s| s.body.len()).collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [65_535, 65_535, 65_535, 65_536, 65_536, 65_536]);
    });
}

#[test]
fn copies_beyond_the_number_under_way_are_dropped_until_the_deadline_frees_a_place() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Silent::start());
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ", maxInFlight: 3, deadline: 2s"));
        let mut client = RawClient::connect(sidecar.main());
        for _ in 0..10 {
            assert_eq!(client.post("/x", "", b"body").text(), "body");
        }
        assert_eq!(sidecar.metric("switchback_mirror_in_flight", &[]), 3.0);
        assert_eq!(sidecar.dropped("v3", "in_flight"), 7.0);
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.dropped("v3", "deadline"), 3.0);
        shadow.has_closed(3).await;
        assert_eq!(client.post("/x", "", b"body").text(), "body");
        shadow.has_opened(4).await;
        assert_eq!(sidecar.dropped("v3", "in_flight"), 7.0);
        assert_eq!(sidecar.finished("v1", "success"), 11.0);
    });
}

#[test]
fn copies_beyond_the_bytes_held_are_dropped() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Silent::start());
        let limits = ", maxBytes: 4Ki, maxBodyBytes: 2Ki, deadline: 2s";
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), limits));
        let mut client = RawClient::connect(sidecar.main());
        let mut post =
            |length: usize| assert_eq!(client.post("/x", "", &vec![b'x'; length]).body.len(), length);
        post(2048);
        post(2047);
        post(2);
        assert_eq!(sidecar.dropped("v3", "bytes"), 1.0);
        assert_eq!(sidecar.metric("switchback_mirror_retained_bytes", &[]), 4095.0);
        post(1);
        post(1);
        post(0);
        assert_eq!(sidecar.metric("switchback_mirror_retained_bytes", &[]), 4096.0);
        assert_eq!(sidecar.dropped("v3", "bytes"), 2.0);
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.dropped("v3", "deadline"), 4.0);
        post(2048);
        assert_eq!(sidecar.dropped("v3", "bytes"), 2.0);
    });
}

#[test]
fn mirroring_is_suspended_while_the_primary_is_saturated() {
    run(async {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let door = gate.clone();
        let live = raw_upstream(move |mut stream| {
            // Requests here fit a packet; each is answered when the gate is open.
            while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let open = door.1.wait_while(door.0.lock().unwrap(), |open| !*open).unwrap();
                drop(open);
                let _ =
                    std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let shadow = Upstream::echo("shadow");
        let sidecar = Sidecar::start(&config(&format!("http://{live}"), &shadow.url(), ", suspendAbove: 2"));
        let mut waiting = Vec::new();
        for n in 1..=5 {
            let mut client = RawClient::connect(sidecar.main());
            client.send("GET /x HTTP/1.1\r\nhost: test\r\n\r\n");
            until("the request", async || (sidecar.mirrored("v3", "sampled") == f64::from(n)).then_some(()))
                .await;
            waiting.push(client);
        }
        assert_eq!(sidecar.dropped("v3", "suspended"), 3.0);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
        assert_eq!(RawClient::connect(sidecar.main()).get("/x").status, 200);
        sidecar.mirror_settled("v3").await;
        assert_eq!((sidecar.mirrored("v3", "completed"), sidecar.dropped("v3", "suspended")), (3.0, 3.0));
    });
}

/// dynamo#14986: a client that leaves is counted as that, against nobody.
#[test]
fn a_client_that_leaves_cuts_its_copy_and_is_counted_against_nobody() {
    run(async {
        let (live, shadow) = (Silent::start(), Silent::start());
        // Over HTTP/1.1 the end of a request is the end of its connection, which these servers see.
        let text = config(&live.url(), &shadow.url(), "").replace("\"}}\n", "\", protocol: http1}}\n");
        let sidecar = Sidecar::start(&text);
        let mut client = RawClient::connect(sidecar.main());
        client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody");
        live.has_opened(1).await;
        shadow.has_opened(1).await;
        drop(client);
        live.has_closed(1).await;
        shadow.has_closed(1).await;
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.dropped("v3", "primary_cancelled"), 1.0);
        assert_eq!(sidecar.finished("v1", "cancelled"), 1.0);
        assert_eq!(sidecar.metric("switchback_faults_total", &[]), 0.0);

        // The same by HTTP/2: its stream is reset, the connection stays.
        let mut client = Streams::connect(sidecar.main()).await;
        {
            let call = client.post("/x", &[], grpc::whole("body"));
            let seen = async {
                live.has_opened(2).await;
                shadow.has_opened(2).await;
            };
            tokio::select! { _ = call => panic!("answered"), () = seen => {} }
        }
        live.has_closed(2).await;
        shadow.has_closed(2).await;
        sidecar.mirror_settled("v3").await;
        assert_eq!(sidecar.dropped("v3", "primary_cancelled"), 2.0);
        assert_eq!(sidecar.finished("v1", "cancelled"), 2.0);
        assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
    });
}

#[test]
fn a_copy_outlives_a_primary_that_is_done() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Silent::start());
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ", deadline: 1s"));
        let mut client = RawClient::connect(sidecar.main());
        assert_eq!(client.post("/x", "", b"body").text(), "body");
        drop(client);
        shadow.has_closed(1).await;
        sidecar.mirror_settled("v3").await;
        assert_eq!(
            (sidecar.dropped("v3", "deadline"), sidecar.dropped("v3", "primary_cancelled")),
            (1.0, 0.0)
        );
    });
}

#[test]
fn a_request_that_breaks_off_is_not_copied() {
    run(async {
        let (live, shadow) = (Upstream::echo("live"), Upstream::echo("shadow"));
        let sidecar = Sidecar::start(&config(&live.url(), &shadow.url(), ""));
        for half in [
            "POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\nhalf",
            "POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let sampled = sidecar.mirrored("v3", "sampled");
            let mut client = RawClient::connect(sidecar.main());
            client.send(half);
            until("the request", async || (sidecar.mirrored("v3", "sampled") > sampled).then_some(())).await;
        }
        let mut client = Streams::connect(sidecar.main()).await;
        let (feed, body) = grpc::fed();
        feed.data("half");
        let fail = async {
            until("the request", async || (sidecar.mirrored("v3", "sampled") == 3.0).then_some(())).await;
            feed.fail();
        };
        let (answer, ()) = futures_util::future::join(client.post("/x", &[], body), fail).await;
        assert!(answer.is_err());
        until("the end of all three", async || {
            (sidecar.dropped("v3", "request_incomplete") == 3.0).then_some(())
        })
        .await;
        sidecar.mirror_settled("v3").await;
        assert_eq!((sidecar.mirrored("v3", "sent"), shadow.count()), (0.0, 0));
        assert_eq!(sidecar.finished("v1", "cancelled"), 3.0);
    });
}
