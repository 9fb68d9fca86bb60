//! What can be seen of a run while it goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stats::{Counter, Gauge, Histogram, Snapshot};

/// Numbers of one sending thread. It writes, anybody reads.
#[derive(Debug, Default)]
pub struct Live {
    /// Requests sent, or meant to be.
    pub sent: Counter,
    /// Good answers.
    pub ok: Counter,
    /// Failed requests.
    pub failed: Counter,
    /// Requests under way.
    pub under_way: Gauge,
    /// Requests that left later than they may.
    pub late: Counter,
    /// Latencies of good answers, coarsely.
    pub latency: Histogram,
}

/// All threads at one moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Since the beginning, warm-up included.
    pub elapsed: Duration,
    /// How long the run takes, warm-up included.
    pub duration: Duration,
    /// Whether it is still warming up.
    pub warming: bool,
    /// Requests sent.
    pub sent: u64,
    /// Good answers.
    pub ok: u64,
    /// Failed requests.
    pub failed: u64,
    /// Requests under way.
    pub under_way: i64,
    /// Requests that left late.
    pub late: u64,
    /// Latencies since the beginning.
    pub latency: Snapshot,
}

impl Moment {
    pub(super) fn of(lives: &[Arc<Live>], start: Instant, duration: Duration, warmup: Duration) -> Self {
        let elapsed = Instant::now().saturating_duration_since(start);
        let mut moment = Self {
            elapsed: elapsed.min(duration),
            duration,
            warming: elapsed < warmup,
            sent: 0,
            ok: 0,
            failed: 0,
            under_way: 0,
            late: 0,
            latency: Snapshot::default(),
        };
        for live in lives {
            moment.sent += live.sent.get();
            moment.ok += live.ok.get();
            moment.failed += live.failed.get();
            moment.under_way += live.under_way.get();
            moment.late += live.late.get();
            live.latency.add_to(&mut moment.latency);
        }
        moment
    }
}
