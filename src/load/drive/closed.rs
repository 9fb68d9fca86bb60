//! Closed loop: each client sends its next request when it has the answer to its last.
//!
//! A slow server then gets fewer requests, so what this measures is how a fixed number of polite
//! clients fares, and never how users do who don't wait for each other.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::exchange::exchange;
use crate::load::series::Failure;

/// After a failure that took no time, a client waits this long: a refused connection must not
/// become a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs this thread's share of `clients` until `duration` is over. Does not wait for the last
/// answers.
pub(super) async fn run(bench: &Rc<Bench>, clients: usize, duration: Duration) -> io::Result<()> {
    let end = bench.shared.start + duration;
    tokio::time::sleep_until(bench.shared.start.into()).await;
    let most = bench.shared.prepared.scenario.limits.max_requests / bench.shared.threads.max(1) as u64;
    let left = Rc::new(Cell::new(most));
    let mine = (bench.part..clients).step_by(bench.shared.threads.max(1));
    let mut running = Vec::new();
    for client in mine {
        let (bench, left) = (Rc::clone(bench), Rc::clone(&left));
        let client = async move {
            let mut number = client as u64;
            while Instant::now() < end && !bench.is_stopped() && left.get() > 0 {
                left.set(left.get() - 1);
                let intended = Instant::now();
                bench.leaves(intended, intended);
                let pick = bench.pick(number);
                number += clients as u64;
                bench.under_way.set(bench.under_way.get() + 1);
                bench.live.under_way.add(1);
                let done = exchange(&bench, pick, intended).await;
                bench.under_way.set(bench.under_way.get() - 1);
                bench.live.under_way.add(-1);
                bench.count(pick, &done);
                if matches!(done.failure, Some(Failure::Fault(_))) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        running.push(tokio::task::spawn_local(client));
    }
    // Looked at often enough that a run which is stopped ends at once.
    while running.iter().any(|client| !client.is_finished()) && Instant::now() < end && !bench.is_stopped() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
