//! One endpoint of an upstream, as all workers and the control side see it: whether it may be used.
//!
//! Two things can keep it from that: health checks, which are asked on the control side, and
//! ejection, which the workers decide by what it answers. Both are a few atomics, read once per
//! choice and written only when something changes. Time comes as an argument, in milliseconds
//! since the upstream was set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::upstream::{OutlierSpec, Target};

/// Share of its requests that an endpoint gets at the beginning of its slow start.
const SLOWEST: f64 = 0.1;
/// An answer that broke off, among the failures in a row. Those without an answer count one each.
const BROKEN: u64 = 1 << 32;
/// The part of the failures that is requests without a good answer.
const UNANSWERED: u64 = BROKEN - 1;

/// An endpoint. Shared by all workers.
#[derive(Debug)]
pub struct Endpoint {
    target: Arc<Target>,
    /// What health checks say, as [`Health`].
    health: AtomicU8,
    /// Failures in a row, whichever worker saw them: answers that broke off, in units of [`BROKEN`], and
    /// below that requests without a good answer at all.
    failures: AtomicU64,
    /// How often it was ejected in short order.
    ejections: AtomicU32,
    /// Until when it is ejected.
    ejected_until: AtomicU64,
    /// Since when it may be used.
    since: AtomicU64,
}

/// What health checks say of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not enough was asked yet; it is used.
    Unknown,
    /// Well.
    Well,
    /// Unwell: it gets no requests.
    Unwell,
}

/// What an endpoint is to whoever chooses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It may be used.
    Available,
    /// Health checks say no.
    Unhealthy,
    /// Its answers have taken it out for a while.
    Ejected,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 3] = [Self::Available, Self::Unhealthy, Self::Ejected];

    /// The standing as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

impl Endpoint {
    pub(super) fn new(target: Arc<Target>, now: u64) -> Self {
        Self {
            target,
            health: AtomicU8::new(0),
            failures: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            since: AtomicU64::new(now),
        }
    }

    /// How to connect to it.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What health checks say.
    pub fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            0 => Health::Unknown,
            1 => Health::Well,
            _ => Health::Unwell,
        }
    }

    /// Takes note of what health checks say; `true` where that is new.
    pub(super) fn set_health(&self, health: Health, now: u64) -> bool {
        let new = match health {
            Health::Unknown => 0,
            Health::Well => 1,
            Health::Unwell => 2,
        };
        let old = self.health.swap(new, Relaxed);
        if old == 2 && new == 1 {
            self.since.store(now, Relaxed);
        }
        old != new
    }

    /// What it is at `now`.
    pub fn standing(&self, now: u64) -> Standing {
        match (self.health.load(Relaxed), self.ejected_until.load(Relaxed) > now) {
            (2, _) => Standing::Unhealthy,
            (_, true) => Standing::Ejected,
            (_, false) => Standing::Available,
        }
    }

    /// Until when it is ejected, if it is at `now`.
    pub fn ejected_until(&self, now: u64) -> Option<u64> {
        Some(self.ejected_until.load(Relaxed)).filter(|until| *until > now)
    }

    /// An answer began as it should. So do those that break off, so it makes up for none of these; that
    /// there are answers it says at once, for its end may be hours away.
    #[inline]
    pub(super) fn answered(&self) {
        if self.failures.load(Relaxed) & UNANSWERED != 0 {
            self.failures.fetch_and(!UNANSWERED, Relaxed);
        }
    }

    /// An answer was as it should be, to its end.
    #[inline]
    pub(super) fn succeeded(&self) {
        // Read first: a store would take the cache line away from other workers at each request.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It failed once more, in an answer that had begun well or before; `true` where `limit` failures in
    /// a row are reached, for one caller.
    pub(super) fn failed(&self, in_answer: bool, limit: u32) -> bool {
        let before = self.failures.fetch_add(if in_answer { BROKEN } else { 1 }, Relaxed);
        in_a_row(before) + 1 == u64::from(limit)
    }

    /// Takes it out for as long as its record says: how long that is.
    pub(super) fn eject(&self, spec: &OutlierSpec, now: u64) -> Duration {
        let last = self.ejected_until.load(Relaxed);
        let before = self.ejections.load(Relaxed);
        // Every `base` that it was well since takes one of the earlier ejections off its record.
        let well = now.saturating_sub(last) / millis(spec.base).max(1);
        let kept = if last == 0 { 0 } else { before.saturating_sub(u32::try_from(well).unwrap_or(u32::MAX)) };
        let count = kept.saturating_add(1);
        let out = spec.base.saturating_mul(count).min(spec.longest.max(spec.base));
        self.ejections.store(count, Relaxed);
        let until = now.saturating_add(millis(out));
        self.since.store(until, Relaxed);
        self.ejected_until.store(until, Relaxed);
        self.failures.store(0, Relaxed);
        out
    }

    /// The share of its requests that it should get at `now`, 0.1 to 1.
    #[inline]
    pub(crate) fn readiness(&self, slow_start: Duration, now: u64) -> f64 {
        if slow_start.is_zero() {
            return 1.0;
        }
        let age = now.saturating_sub(self.since.load(Relaxed));
        (age as f64 / millis(slow_start).max(1) as f64).clamp(SLOWEST, 1.0)
    }

    /// Failures in a row.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        in_a_row(self.failures.load(Relaxed))
    }

    /// When its slow start began.
    #[cfg(test)]
    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }
}

/// How many failures of either kind there are.
fn in_a_row(failures: u64) -> u64 {
    failures / BROKEN + (failures & UNANSWERED)
}

/// A duration in whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
