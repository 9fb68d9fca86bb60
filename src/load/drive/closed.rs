//! Closed loop: each client sends its next request when it has the answer to its last.
//!
//! A slow server then gets fewer requests, so what this measures is how a fixed number of polite
//! clients fares, and never how users do who don't wait for each other.
//!
//! Nothing here has a time at which it is meant to happen, so a thread that gets no core would not
//! be seen: its answers would lie unread, and look slow. A tick that does have its time is watched
//! instead of the requests, and if it is late too often the run is invalid like any other.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::exchange::exchange;
use crate::load::clock::Clock;
use crate::load::series::Failure;

/// After a failure that took no time, a client waits this long: a refused connection must not
/// become a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the thread looks whether it is late, and whether the run is to end.
const TICK: Duration = Duration::from_millis(5);

/// Runs this thread's share of `clients` until `duration` is over. Does not wait for the last
/// answers.
pub(super) async fn run(bench: &Rc<Bench>, clients: usize, duration: Duration) -> io::Result<()> {
    let end = bench.shared.start + duration;
    let clock = Clock::new()?;
    tokio::time::sleep_until(bench.shared.start.into()).await;
    let (part, threads) = (bench.part as u64, bench.shared.threads.max(1) as u64);
    // Threads share the requests that may be sent; the first ones get what does not divide.
    let most = bench.shared.prepared.scenario.limits.max_requests;
    let left = Rc::new(Cell::new(most / threads + u64::from(part < most % threads)));
    let mine = (bench.part..clients).step_by(bench.shared.threads.max(1));
    let mut running = Vec::new();
    for client in mine {
        let (bench, left) = (Rc::clone(bench), Rc::clone(&left));
        let client = async move {
            let mut number = client as u64;
            while Instant::now() < end && !bench.is_stopped() && left.get() > 0 {
                left.set(left.get() - 1);
                let intended = Instant::now();
                bench.live.sent.add(1);
                let pick = bench.pick(number);
                number += clients as u64;
                bench.under_way.set(bench.under_way.get() + 1);
                bench.live.under_way.add(1);
                let done = exchange(&bench, pick, intended, intended).await;
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
    loop {
        if bench.is_stopped() || Instant::now() >= end {
            return Ok(());
        }
        // They end before their time when there is nothing left that they may send.
        if running.iter().all(tokio::task::JoinHandle::is_finished) {
            bench.spent.set(Some(Instant::now()));
            return Ok(());
        }
        let due = Instant::now() + TICK;
        clock.sleep(TICK).await?;
        bench.lags(due, Instant::now());
    }
}
