//! What the tests of the sidecar share.
#![allow(dead_code, reason = "each test file uses its own part")]

mod client;
pub mod fault_proxy;
pub mod grpc;
pub mod load;
mod operator;
pub mod pki;
mod process;
pub mod rollouts;
pub mod streams;
mod upstream;

pub use client::{Http, RawClient, RawResponse};
pub use process::{Sidecar, onnx_library};
pub use upstream::{Body, Refusing, Seen, Upstream, full, raw_upstream};

use std::future::Future;
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test on a runtime of its own, within [`LIMIT`] times three.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(LIMIT * 3, test).await.expect("the test took too long")
    })
}

/// Polls `check` until it gives something.
pub async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A configuration with one model `m` of one version `v1` at `url`; `rest` are further whole lines
/// of the document.
pub fn one_version(url: &str, rest: &str) -> String {
    format!("{rest}models: [{{name: m, versions: [{{name: v1, upstream: {{url: '{url}'}}}}]}}]\n")
}

/// Waits until `m` has counted exactly this many requests of each outcome.
pub fn outcomes(sidecar: &Sidecar, expected: &[(&str, u64)]) {
    let mut counted = Vec::new();
    let started = Instant::now();
    while counted != expected {
        assert!(started.elapsed() < LIMIT, "counted {counted:?}, expected {expected:?}");
        let count = |outcome: &str| {
            let label = format!("outcome=\"{outcome}\"");
            sidecar.metric("switchback_requests_total", &["model=\"m\"", &label]) as u64
        };
        counted = expected.iter().map(|(outcome, _)| (*outcome, count(outcome))).collect();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [`until`] without a runtime.
pub fn blocking_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
