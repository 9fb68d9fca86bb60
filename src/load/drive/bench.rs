//! What one sending thread has and counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::kept::{ROOM, Room};
use super::live::Live;
use super::{Counted, Shared};
use crate::load::body::Whole;
use crate::load::histogram::Histogram;
use crate::load::prepare::Kind;
use crate::load::random::{Purpose, bits, unit};
use crate::load::series::{Done, Series};
use crate::upstream::Pool;

/// After a run was stopped, requests under way get this long.
const GRACE: Duration = Duration::from_secs(2);

/// One thread's side of a run.
pub(super) struct Bench {
    pub(super) shared: Arc<Shared>,
    pub(super) part: usize,
    pub(super) live: Arc<Live>,
    /// Connections, for each target.
    pub(super) pools: Vec<Rc<Pool<Whole>>>,
    /// When the measured time begins.
    pub(super) zero: Instant,
    /// For answers that are kept to be checked.
    pub(super) room: Room,
    series: RefCell<Vec<Vec<Series>>>,
    lag: RefCell<Histogram>,
    late: Cell<u64>,
    pub(super) under_way: Cell<usize>,
    pub(super) most_under_way: usize,
    /// When it was stopped before its time.
    pub(super) stopped: Cell<Option<Instant>>,
    /// When the last request that may be sent was over, before its time.
    pub(super) spent: Cell<Option<Instant>>,
}

/// Which request is meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub(super) target: usize,
    pub(super) kind: usize,
    pub(super) sample: u64,
}

impl Bench {
    pub(super) fn new(shared: Arc<Shared>, part: usize, live: Arc<Live>) -> Rc<Self> {
        let prepared = &shared.prepared;
        let one = || prepared.kinds.iter().map(|_| Series::new(shared.seconds)).collect::<Vec<_>>();
        let most_under_way = prepared.scenario.limits.max_in_flight.div_ceil(shared.threads);
        Rc::new(Self {
            part,
            live,
            pools: prepared.targets.iter().map(|target| Pool::new(Arc::clone(target))).collect(),
            zero: shared.start + Duration::from_secs_f64(shared.warmup),
            room: Rc::new(Cell::new(ROOM / shared.threads.max(1))),
            series: RefCell::new(prepared.targets.iter().map(|_| one()).collect()),
            lag: RefCell::default(),
            late: Cell::new(0),
            under_way: Cell::new(0),
            most_under_way: most_under_way.max(1),
            stopped: Cell::new(None),
            spent: Cell::new(None),
            shared,
        })
    }

    /// What request number `index` of the plan is: which kind by weight, which target by turns of
    /// two in random order, so that whatever disturbs one disturbs the other alike.
    pub(super) fn pick(&self, index: u64) -> Pick {
        let prepared = &self.shared.prepared;
        let seed = prepared.scenario.seed;
        let (target, number) = match prepared.targets.len() {
            0 | 1 => (0, index),
            _ => {
                let turn = index / 2;
                let first = bits(seed, Purpose::Target, turn) & 1;
                (usize::from(first ^ (index & 1) == 1), turn)
            }
        };
        // Both targets of a turn get the same request.
        let kind = match prepared.kinds.as_slice() {
            [_] => 0,
            kinds => {
                let drawn = unit(seed, Purpose::Kind, number);
                kinds.iter().position(|kind| drawn < kind.up_to).unwrap_or(0)
            }
        };
        Pick { target, kind, sample: number }
    }

    pub(super) fn kind(&self, pick: Pick) -> Option<&Kind> {
        self.shared.prepared.kinds.get(pick.kind)
    }

    /// Seconds from the beginning of the measured time to `at`; negative in warm-up.
    pub(super) fn seconds(&self, at: Instant) -> f64 {
        match at.checked_duration_since(self.zero) {
            Some(after) => after.as_secs_f64(),
            None => -self.zero.duration_since(at).as_secs_f64(),
        }
    }

    /// Notes that a request that was meant for `intended` leaves at `now`.
    pub(super) fn leaves(&self, intended: Instant, now: Instant) {
        self.live.sent.add(1);
        self.lags(intended, now);
    }

    /// Notes that this thread did at `now` what it meant to do at `intended`.
    pub(super) fn lags(&self, intended: Instant, now: Instant) {
        if intended >= self.zero {
            let lag = now.saturating_duration_since(intended);
            self.lag.borrow_mut().record(nanos(lag));
            if lag > self.shared.max_lag {
                self.late.set(self.late.get() + 1);
                self.live.late.add(1);
            }
        }
    }

    /// Counts a request that is over.
    pub(super) fn count(&self, pick: Pick, done: &Done) {
        match done.failure {
            None => {
                self.live.ok.add(1);
                self.live.latency.record(done.latency);
            }
            Some(_) => self.live.failed.add(1),
        }
        if done.intended < 0.0 || done.intended > self.shared.seconds {
            return;
        }
        let mut all = self.series.borrow_mut();
        if let Some(series) = all.get_mut(pick.target).and_then(|kinds| kinds.get_mut(pick.kind)) {
            series.record(done, self.shared.seconds);
        }
    }

    /// Counts a time between two tokens of a request that was meant for `intended`.
    pub(super) fn gap(&self, pick: Pick, intended: Instant, gap: u64) {
        if intended < self.zero {
            return;
        }
        let mut all = self.series.borrow_mut();
        if let Some(series) = all.get_mut(pick.target).and_then(|kinds| kinds.get_mut(pick.kind)) {
            series.record_gap(self.seconds(intended), gap);
        }
    }

    /// Whether the run is to end now.
    pub(super) fn is_stopped(&self) -> bool {
        if self.stopped.get().is_none() && self.shared.stop.is_asked() {
            self.stopped.set(Some(Instant::now()));
        }
        self.stopped.get().is_some()
    }

    /// Waits for what is under way, and gives what was counted.
    pub(super) async fn finish(self: &Rc<Self>) -> Counted {
        let patience = self.shared.prepared.scenario.limits.timeout + Duration::from_secs(1);
        let over = Instant::now() + patience;
        while self.under_way.get() > 0 && Instant::now() < over {
            if self.is_stopped() && self.stopped.get().is_some_and(|at| at.elapsed() > GRACE) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let full = self.shared.seconds;
        let end = self.stopped.get().or(self.spent.get());
        let seconds = end.map_or(full, |at| self.seconds(at).clamp(0.0, full));
        Counted {
            series: self.series.take(),
            lag: self.lag.take(),
            late: self.late.get(),
            cut: self.under_way.get() as u64,
            interrupted: self.stopped.get().is_some(),
            spent: self.spent.get().is_some(),
            seconds,
            began: SystemTime::UNIX_EPOCH,
            threads: 1,
            cpu_seconds: None,
            sent: self.live.sent.get(),
            connections: self.pools.iter().map(|pool| pool.stats().opened).sum(),
        }
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
