//! Open loop: requests leave when the plan says, whatever has become of those before.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::exchange::exchange;
use crate::load::clock::Clock;
use crate::load::schedule::Schedule;
use crate::load::series::{Done, Failure};

/// How often a long wait looks whether the run is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Requests that may leave in a row before answers are looked at again.
const BURST: u32 = 32;

/// Sends this thread's part of `schedule`. Does not wait for the last answers.
pub(super) async fn run(bench: &Rc<Bench>, schedule: &Schedule) -> io::Result<()> {
    let clock = Clock::new()?;
    let mut in_a_row = 0;
    for due in schedule.part(bench.part as u64, bench.shared.threads as u64) {
        let intended = bench.shared.start + due.at;
        loop {
            if bench.is_stopped() {
                return Ok(());
            }
            let left = intended.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            in_a_row = 0;
            clock.sleep(left.min(LOOK)).await?;
        }
        in_a_row += 1;
        if in_a_row > BURST {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let pick = bench.pick(due.index);
        if bench.under_way.get() >= bench.most_under_way {
            bench.leaves(intended, Instant::now());
            let done = Done {
                intended: bench.seconds(intended),
                failure: Some(Failure::NotSent),
                ..Done::default()
            };
            bench.count(pick, &done);
            continue;
        }
        bench.under_way.set(bench.under_way.get() + 1);
        bench.live.under_way.add(1);
        let bench = Rc::clone(bench);
        tokio::task::spawn_local(async move {
            // Only here: it may have waited for other tasks of this thread.
            let left = Instant::now();
            bench.leaves(intended, left);
            let done = exchange(&bench, pick, intended, left).await;
            bench.under_way.set(bench.under_way.get() - 1);
            bench.live.under_way.add(-1);
            bench.count(pick, &done);
        });
    }
    Ok(())
}
