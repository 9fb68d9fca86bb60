//! Shadows that do everything wrong, under load: every client gets its own bytes back in time,
//! copies stay within their budget, memory within bounds, and every drop has its reason.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::support::load::{Load, echoed};
use super::support::{Refusing, Sidecar, Upstream, raw_upstream, run};

const REQUESTS: usize = 1_500;
const MAX_IN_FLIGHT: f64 = 8.0;

/// Hands each request's connection to `act` once its head has come.
fn shadow(act: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    raw_upstream(move |mut stream| {
        if stream.read(&mut [0; 16384]).is_ok_and(|n| n > 0) {
            act(&mut stream);
        }
    })
}

/// Puts load on a sidecar that copies everything to `shadow`; the copies end for `reasons`.
fn withstands(shadow: SocketAddr, reasons: &[&str]) {
    run(async {
        let live = Upstream::echo("live");
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{}\"}}}}
      - {{name: v3, upstream: {{url: \"http://{shadow}\"}}}}
    mirror: [{{to: v3, maxInFlight: {MAX_IN_FLIGHT}, maxBytes: 64Ki, deadline: 500ms}}]
",
            live.url()
        ));
        let load = Load::start(sidecar.main(), 4, echoed);
        load.wait(REQUESTS / 3);
        let before = sidecar.rss_kib();
        let (started, mut most) = (Instant::now(), (0.0f64, 0.0f64));
        // Long enough for deadlines to pass while requests go on.
        while load.count() < REQUESTS || started.elapsed() < Duration::from_millis(1_200) {
            most.0 = most.0.max(sidecar.metric("switchback_mirror_in_flight", &[]));
            most.1 = most.1.max(sidecar.metric("switchback_mirror_retained_bytes", &[]));
            std::thread::sleep(Duration::from_millis(20));
        }
        let grown = sidecar.rss_kib().saturating_sub(before);
        let loaded = load.stop();
        loaded.is_fine(REQUESTS);
        assert!(most.0 <= MAX_IN_FLIGHT && most.1 <= 65_536.0, "{most:?} copies and bytes at once");
        assert!(grown < 24 * 1024, "memory grew by {grown} KiB");
        sidecar.mirror_settled("v3").await;
        let total = loaded.requests as f64;
        let of = |reason: &&str| sidecar.dropped("v3", reason);
        assert_eq!(sidecar.mirrored("v3", "sampled"), total);
        let dropped = sidecar.metric("switchback_mirror_dropped_total", &[]);
        assert_eq!(dropped + sidecar.mirrored("v3", "completed"), total, "a copy was lost");
        let named: f64 = reasons.iter().chain(&["in_flight", "bytes"]).map(of).sum();
        assert_eq!(named, dropped, "{}", sidecar.mirror("v3"));
        assert!(reasons.iter().map(of).sum::<f64>() > 0.0 || reasons.is_empty(), "{}", sidecar.mirror("v3"));
        assert_eq!(sidecar.finished("v1", "success"), total);
        assert_eq!(sidecar.metric("switchback_faults_total", &["version=\"v1\""]), 0.0);
    });
}

#[test]
fn a_shadow_that_refuses() {
    let nobody = Refusing::start();
    withstands(nobody.address(), &["connect", "deadline"]);
}

#[test]
fn a_shadow_that_takes_connections_and_hangs() {
    withstands(shadow(|stream| while stream.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {}), &["deadline"]);
}

#[test]
fn a_shadow_that_never_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Its backlog takes the connections, nobody the requests.
    withstands(address, &["deadline"]);
    drop(listener);
}

#[test]
fn a_shadow_that_trickles_a_byte_a_second() {
    let trickle = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    withstands(shadow(trickle), &["deadline"]);
}

#[test]
fn a_shadow_that_resets_after_the_head() {
    let reset = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf");
        let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
    };
    withstands(shadow(reset), &["reset", "deadline"]);
}

#[test]
fn a_shadow_a_hundred_times_slower() {
    let slow = |stream: &mut TcpStream| loop {
        std::thread::sleep(Duration::from_millis(100));
        let answered = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
        if answered.is_err() || !stream.read(&mut [0; 16384]).is_ok_and(|n| n > 0) {
            return;
        }
    };
    withstands(shadow(slow), &[]);
}

#[test]
fn a_shadow_that_sends_garbage() {
    let garbage = |stream: &mut TcpStream| {
        let _ = stream.write_all(&[0xff; 5000]);
    };
    withstands(shadow(garbage), &["reset", "deadline"]);
}

#[test]
fn a_shadow_that_sends_a_head_without_end() {
    let head = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(&[b"x-y: ", &[b'z'; 1000][..], b"\r\n"].concat()).is_ok() {}
    };
    withstands(shadow(head), &["reset", "deadline"]);
}

#[test]
fn a_shadow_that_answers_with_a_gibibyte() {
    let flood = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
        let mebibyte = vec![b'x'; 1 << 20];
        while stream.write_all(&mebibyte).is_ok() {}
    };
    withstands(shadow(flood), &["deadline"]);
}
