//! A proxy that breaks things between every pair of parts: client and sidecar, sidecar and stable,
//! canary, shadow. Whatever it does, an answer that looks whole is whole, every request has an end,
//! and when the harm is over nothing is left of it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::fault_proxy::{FaultProxy, Harm, Harms};
use crate::support::{LIMIT, RawClient, Sidecar, Upstream, blocking_until};

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
/// whole is what must not be, nor a wait without an end: `patience` without a byte.
fn ask_within(address: SocketAddr, patience: Duration) -> Result<bool, String> {
    let sent = body();
    let mut client = RawClient::connect(address);
    client.patience(patience);
    client.0.set_write_timeout(Some(LIMIT)).unwrap();
    let head = format!(
        "POST /x HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        sent.len()
    );
    let _ = client.0.write_all(head.as_bytes()).and_then(|()| client.0.write_all(&sent));
    let mut read = Vec::new();
    if let Err(error) = client.0.read_to_end(&mut read)
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        return Err(format!("no end after {} bytes", read.len()));
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

fn ask(address: SocketAddr) -> Result<bool, String> {
    ask_within(address, LIMIT)
}

/// Only what hangs needs time limits to end; whatever else fails here must end by itself, and must
/// not end for a machine's being slow. Garbage has no end of a line, for which a server may wait.
fn hangs(harm: Harm) -> bool {
    matches!(harm, Harm::HangAfter(_) | Harm::GarbageAfter(_))
}

fn config(stable: &str, seconds: u32) -> String {
    format!(
        "downstream: {{headerTimeout: {seconds}s, sendTimeout: {seconds}s}}\n\
         models: [{{name: m, timeouts: {{response: {seconds}s, idle: {seconds}s}}, versions: [\n\
         {{name: v1, upstream: {{url: '{stable}'}}}}]}}]\n"
    )
}

/// Whether nothing is left of the harm: requests are served, and none is under way.
fn is_calm(sidecar: &Sidecar, address: SocketAddr) {
    blocking_until("the first after the harm", || (ask(address) == Ok(true)).then_some(()));
    blocking_until("nothing is under way", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
    });
}

/// Every harm, in either direction.
fn all_harms() -> impl Iterator<Item = (Harm, Harms)> {
    HARMS.into_iter().flat_map(|harm| {
        [Harms { there: harm, back: Harm::None }, Harms { there: Harm::None, back: harm }]
            .map(|harms| (harm, harms))
    })
}

#[test]
fn between_the_sidecar_and_its_upstream() {
    let upstream = Upstream::echo("v1");
    let proxy = FaultProxy::before(upstream.address);
    let [hasty, patient] = [1, 60].map(|seconds| Sidecar::start(&config(&proxy.url(), seconds)));
    for (harm, harms) in all_harms() {
        let sidecar = if hangs(harm) { &hasty } else { &patient };
        proxy.set(harms);
        let found = ask(sidecar.main());
        assert!(found.is_ok(), "{harms:?}: {found:?}");
        let slow = matches!(harm, Harm::Delay(_) | Harm::Trickle(_));
        assert!(!slow || found == Ok(true), "{harms:?}: what is slow is still served");
        proxy.set(Harms::NONE);
        is_calm(sidecar, sidecar.main());
    }
}

#[test]
fn between_a_client_and_the_sidecar() {
    let upstream = Upstream::echo("v1");
    let sidecars = [1, 60].map(|seconds| Sidecar::start(&config(&upstream.url(), seconds)));
    let [hasty, patient] = sidecars.map(|sidecar| (FaultProxy::before(sidecar.main()), sidecar));
    for (harm, harms) in all_harms() {
        let (proxy, sidecar) = if hangs(harm) { &hasty } else { &patient };
        proxy.set(harms);
        // What comes back to a client through such a proxy is not ours to mend; that the request has an
        // end at the sidecar is.
        match harms.back {
            Harm::HangAfter(_) => drop(ask_within(proxy.address, Duration::from_secs(1))),
            Harm::GarbageAfter(_) => drop(ask(proxy.address)),
            _ => {
                let found = ask(proxy.address);
                assert!(found.is_ok(), "{harms:?}: {found:?}");
            }
        }
        proxy.set(Harms::NONE);
        is_calm(sidecar, sidecar.main());
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
    for (_, harms) in all_harms() {
        proxy.set(harms);
        for _ in 0..3 {
            assert_eq!(ask(sidecar.main()), Ok(true), "{harms:?}");
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
        "models: [{{name: m, fallback: {{enabled: true}}, timeouts: {{response: 4s}}, versions: [\n\
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
