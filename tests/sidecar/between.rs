//! A proxy that breaks things between every pair of parts: client and sidecar, sidecar and stable,
//! canary, shadow. Whatever it does, an answer that looks whole is whole, every request has an end,
//! and when the harm is over nothing is left of it.

use std::time::{Duration, Instant};

use crate::support::fault_proxy::{FaultProxy, Harm, Harms};
use crate::support::{RawClient, Sidecar, Upstream, blocking_until};

/// Bytes of a body: more than a socket buffer's first fill, and not a whole number of anything.
fn body() -> Vec<u8> {
    (0..200_003_u32).map(|n| (n % 251) as u8).collect()
}

const HARMS: [Harm; 12] = [
    Harm::Delay(Duration::from_millis(30)),
    Harm::Trickle(400),
    Harm::CutAfter(0),
    Harm::CutAfter(20),
    Harm::CutAfter(100_000),
    Harm::ResetAfter(0),
    Harm::ResetAfter(100_000),
    Harm::HalfCloseAfter(20),
    Harm::HalfCloseAfter(100_000),
    Harm::GarbageAfter(5),
    Harm::HangAfter(20),
    Harm::HangAfter(100_000),
];

/// What a client makes of one request: its whole and right answer, or none. A wrong one that looks
/// whole is what must not be.
fn ask(address: std::net::SocketAddr) -> Result<bool, String> {
    use std::io::{Read as _, Write as _};
    let sent = body();
    let started = Instant::now();
    let mut client = RawClient::connect(address);
    client.patience(Duration::from_secs(8));
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        sent.len()
    );
    let _ = client.0.write_all(head.as_bytes()).and_then(|()| client.0.write_all(&sent));
    let mut read = Vec::new();
    let ended = client.0.read_to_end(&mut read);
    if started.elapsed() > Duration::from_secs(7) {
        return Err(format!("no end after {:?}: {ended:?}, {} bytes", started.elapsed(), read.len()));
    }
    let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(false) };
    let (head, rest) = (String::from_utf8_lossy(&read[..end]).to_ascii_lowercase(), &read[end + 4..]);
    if !head.starts_with("http/1.1 200") {
        return Ok(false);
    }
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map(|l| l.parse::<usize>().unwrap());
    match length {
        Some(length) if rest.len() < length => Ok(false),
        Some(_) if rest == sent => Ok(true),
        None if !head.contains("transfer-encoding: chunked") => Ok(false),
        None if !rest.ends_with(b"0\r\n\r\n") => Ok(false),
        _ => Err(format!("an answer that looks whole and is not: {head}, {} bytes", rest.len())),
    }
}

fn config(stable: &str, more: &str) -> String {
    format!(
        "downstream: {{headerTimeout: 2s, sendTimeout: 2s}}\n\
         models: [{{name: m, timeouts: {{response: 2s, idle: 2s}}, {more}versions: [\n\
         {{name: v1, upstream: {{url: '{stable}', connectTimeout: 2s}}}}]}}]\n"
    )
}

/// Whether nothing is left of the harm: requests are served, and none is under way.
fn is_calm(sidecar: &Sidecar, address: std::net::SocketAddr) {
    for _ in 0..3 {
        assert_eq!(ask(address), Ok(true), "after the harm");
    }
    blocking_until("nothing is under way", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
    });
}

#[test]
fn between_the_sidecar_and_its_upstream() {
    let upstream = Upstream::echo("v1");
    let proxy = FaultProxy::before(upstream.address);
    let sidecar = Sidecar::start(&config(&proxy.url(), ""));
    for harm in HARMS {
        for harms in [Harms { there: harm, back: Harm::None }, Harms { there: Harm::None, back: harm }] {
            proxy.set(harms);
            let found = ask(sidecar.main());
            assert!(found.is_ok(), "{harms:?}: {found:?}");
            let slow = matches!(harm, Harm::Delay(_) | Harm::Trickle(_));
            assert!(!slow || found == Ok(true), "{harms:?}: what is slow is still served");
            proxy.set(Harms::NONE);
            is_calm(&sidecar, sidecar.main());
        }
    }
}

#[test]
fn between_a_client_and_the_sidecar() {
    let upstream = Upstream::echo("v1");
    let sidecar = Sidecar::start(&config(&upstream.url(), ""));
    let proxy = FaultProxy::before(sidecar.main());
    for harm in HARMS {
        for harms in [Harms { there: harm, back: Harm::None }, Harms { there: Harm::None, back: harm }] {
            proxy.set(harms);
            let found = ask(proxy.address);
            // What comes back to a client through such a proxy is not ours to mend; that the request has
            // an end is.
            let garbage = harms.back == Harm::GarbageAfter(5);
            assert!(
                found.is_ok() || garbage || matches!(harms.back, Harm::HangAfter(_)),
                "{harms:?}: {found:?}"
            );
            proxy.set(Harms::NONE);
            is_calm(&sidecar, sidecar.main());
        }
    }
    assert!(
        upstream.seen().iter().all(|seen| seen.uri == "/x" && seen.body == body()),
        "only whole requests arrive"
    );
}

#[test]
fn between_the_sidecar_and_a_shadow_no_client_notices() {
    let (stable, shadow) = (Upstream::echo("v1"), Upstream::echo("v2"));
    let proxy = FaultProxy::before(shadow.address);
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, mirror: [{{to: v2, deadline: 1s}}], versions: [\n\
         {{name: v1, upstream: {{url: '{}'}}}}, {{name: v2, upstream: {{url: '{}'}}}}]}}]\n",
        stable.url(),
        proxy.url()
    ));
    for harm in HARMS {
        for harms in [Harms { there: harm, back: Harm::None }, Harms { there: Harm::None, back: harm }] {
            proxy.set(harms);
            for _ in 0..3 {
                assert_eq!(ask(sidecar.main()), Ok(true), "{harms:?}");
            }
        }
    }
    proxy.set(Harms::NONE);
    blocking_until("every copy has an end", || {
        (sidecar.metric("switchback_mirror_in_flight", &[]) == 0.0).then_some(())
    });
    let count = |name: &str| sidecar.metric(name, &["model=\"m\""]);
    let (sampled, ended) = (
        count("switchback_mirror_sampled_total"),
        count("switchback_mirror_completed_total") + count("switchback_mirror_dropped_total"),
    );
    assert_eq!((sampled, ended), (72.0, 72.0));
}

#[test]
fn between_the_sidecar_and_a_canary_stable_answers() {
    let (stable, canary) = (Upstream::echo("v1"), Upstream::echo("v2"));
    let proxy = FaultProxy::before(canary.address);
    let sidecar = Sidecar::start(&format!(
        "models: [{{name: m, fallback: {{enabled: true}}, timeouts: {{response: 1s, idle: 2s}}, versions: [\n\
         {{name: v1, upstream: {{url: '{}'}}}}, {{name: v2, weight: 100%, upstream: {{url: '{}'}}}}]}}]\n",
        stable.url(),
        proxy.url()
    ));
    for harm in [
        Harm::CutAfter(0),
        Harm::ResetAfter(0),
        Harm::CutAfter(20),
        Harm::HangAfter(20),
        Harm::GarbageAfter(5),
    ] {
        proxy.set(Harms { there: Harm::None, back: harm });
        assert_eq!(ask(sidecar.main()), Ok(true), "{harm:?}");
    }
    assert_eq!(sidecar.metric("switchback_fallbacks_total", &[]), 5.0);
}
