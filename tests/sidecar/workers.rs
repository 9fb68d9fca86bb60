//! A worker that fails is started again: the others notice nothing, and who connects is served.

use crate::support::{RawClient, Sidecar, Upstream, blocking_until, one_version};

/// Whether the sidecar under test was built with the way to make a worker panic.
const CAN_PANIC: bool = cfg!(debug_assertions);

#[test]
fn a_worker_that_panics_is_counted_and_started_again() {
    if !CAN_PANIC {
        return;
    }
    let upstream = Upstream::echo("v1");
    let folder = tempfile::tempdir().unwrap();
    let trigger = folder.path().join("panic-now");
    let sidecar = Sidecar::start_env(
        folder,
        &[("SWITCHBACK_PANIC_WORKER", trigger.to_str().unwrap())],
        &one_version(&upstream.url(), "workers: 2\n"),
    );
    for round in 1..=3 {
        std::fs::write(&trigger, "").unwrap();
        blocking_until("the worker is started again", || {
            (sidecar.metric("switchback_worker_restarts_total", &[]) == f64::from(round)).then_some(())
        });
        // Whichever worker the kernel chooses: connections spread over both.
        for _ in 0..20 {
            assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"hello").status, 200);
        }
    }
    assert_eq!(upstream.count(), 60);
    assert!(sidecar.log().contains("a worker failed and is started again"));
    assert_eq!(RawClient::connect(sidecar.admin()).get("/readyz").status, 200);
    // It still ends in order, and its port is free at once.
    let address = sidecar.main();
    let mut sidecar = sidecar;
    sidecar.signal("TERM");
    assert_eq!(sidecar.wait().code(), Some(0));
    assert!(std::net::TcpStream::connect(address).is_err());
}
