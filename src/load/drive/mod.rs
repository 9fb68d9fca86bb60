//! Sending: threads that each own a runtime, connections and a part of the plan.
//!
//! Nothing is shared on the way of a request but bytes. A thread walks through its part of the plan
//! by a clock of its own and never waits for an answer before it sends the next request; what it
//! counts it hands over at the end. Meanwhile a few numbers can be watched ([`Live`]).

mod bench;
mod closed;
mod exchange;
mod kept;
mod live;
mod open;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::{Builder, LocalOptions};

use super::histogram::Histogram;
use super::prepare::Prepared;
use super::schedule::Schedule;
use super::series::Series;

pub use live::{Live, Moment};

use bench::Bench;

/// What is sent in one run.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Requests at times of their own, warm-up included.
    Open(Schedule),
    /// Clients that each wait for their answer.
    Closed {
        /// How many.
        clients: usize,
        /// For how long, warm-up included.
        duration: Duration,
    },
}

impl Plan {
    /// How long it takes, warm-up included.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Open(schedule) => schedule.duration(),
            Self::Closed { duration, .. } => *duration,
        }
    }
}

/// Asks a run to end early.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one run counted.
#[derive(Debug)]
pub struct Counted {
    /// For each target, for each kind.
    pub series: Vec<Vec<Series>>,
    /// How late requests left, in nanoseconds, measured time only.
    pub lag: Histogram,
    /// How many left later than they may.
    pub late: u64,
    /// Requests under way when a run that was stopped ended; they are counted nowhere else.
    pub cut: u64,
    /// Whether it was stopped before its time.
    pub interrupted: bool,
    /// Whether a closed loop had sent all the requests that it may before its time.
    pub spent: bool,
    /// Seconds that were measured: less than planned where it was interrupted, or spent.
    pub seconds: f64,
    /// When the measured time began.
    pub began: SystemTime,
    /// Threads that sent.
    pub threads: usize,
    /// CPU time of this process meanwhile, warm-up included, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Requests sent, warm-up included.
    pub sent: u64,
    /// Connections opened, warm-up included.
    pub connections: u64,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// No thread, no runtime, no timer.
    #[error("the system has no room for the load generator: {0}")]
    System(#[from] std::io::Error),
    /// A thread panicked, which is a mistake of this program.
    #[error("a thread of the load generator broke down")]
    Broken,
}

/// Everything that the threads of a run share. Read only.
pub(super) struct Shared {
    prepared: Arc<Prepared>,
    plan: Plan,
    /// When the plan begins; the measured time begins a warm-up later.
    start: Instant,
    warmup: f64,
    seconds: f64,
    threads: usize,
    max_lag: Duration,
    stop: Stop,
}

/// Threads that a plan needs, unless the scenario says how many.
fn threads(prepared: &Prepared, plan: &Plan) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = match plan {
        // A core sends several times as many; it should not be the one that is measured.
        Plan::Open(schedule) => (schedule.profile.highest_rate() / 15_000.0).ceil() as usize,
        Plan::Closed { clients, .. } => clients.div_ceil(256).min(*clients),
    };
    match prepared.scenario.limits.threads {
        0 => wanted.clamp(1, cores),
        said => said,
    }
}

/// Runs `plan`, of which the first `warmup` is not measured. Blocks until it is over; `watch` is
/// called about ten times a second meanwhile, on this thread.
///
/// # Errors
/// [`DriveError`], when the system has no room.
pub fn drive(
    prepared: &Arc<Prepared>,
    plan: Plan,
    warmup: Duration,
    stop: &Stop,
    watch: &mut dyn FnMut(&Moment),
) -> Result<Counted, DriveError> {
    let threads = threads(prepared, &plan);
    let duration = plan.duration();
    let seconds = duration.saturating_sub(warmup).as_secs_f64().max(1e-3);
    // Threads get the time to be there when the first request is due.
    let lead = Duration::from_millis(20);
    let cpu_before = cpu_seconds();
    let shared = Arc::new(Shared {
        prepared: Arc::clone(prepared),
        plan,
        start: Instant::now() + lead,
        warmup: warmup.as_secs_f64(),
        seconds,
        threads,
        max_lag: prepared.scenario.max_lag(),
        stop: stop.clone(),
    });
    let began = SystemTime::now() + lead + warmup;
    let lives: Vec<Arc<Live>> = (0..threads).map(|_| Arc::new(Live::default())).collect();
    let mut handles = Vec::with_capacity(threads);
    for (part, live) in lives.iter().enumerate() {
        let (shared, live) = (Arc::clone(&shared), Arc::clone(live));
        let name = format!("load-{part}");
        handles.push(std::thread::Builder::new().name(name).spawn(move || thread(&shared, part, live))?);
    }
    while !handles.iter().all(std::thread::JoinHandle::is_finished) {
        watch(&Moment::of(&lives, shared.start, duration, warmup));
        std::thread::sleep(Duration::from_millis(if duration < Duration::from_secs(2) { 10 } else { 100 }));
    }
    watch(&Moment::of(&lives, shared.start, duration, warmup));
    let mut counted: Option<Counted> = None;
    for handle in handles {
        let part = handle.join().map_err(|_| DriveError::Broken)??;
        match &mut counted {
            None => counted = Some(part),
            Some(sum) => sum.add(&part),
        }
    }
    let mut counted = counted.ok_or(DriveError::Broken)?;
    counted.began = began;
    counted.threads = threads;
    counted.cpu_seconds = Some(cpu_seconds() - cpu_before);
    Ok(counted)
}

impl Counted {
    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.series.iter_mut().zip(&other.series) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| mine.add(theirs));
        }
        self.lag.add(&other.lag);
        self.late += other.late;
        self.cut += other.cut;
        self.interrupted |= other.interrupted;
        // A thread whose requests are spent waits for nobody: the run is over with the last one.
        self.seconds = match self.spent || other.spent {
            true => self.seconds.max(other.seconds),
            false => self.seconds.min(other.seconds),
        };
        self.spent &= other.spent;
        self.sent += other.sent;
        self.connections += other.connections;
    }

    /// Everything that was counted at one target.
    pub fn of_target(&self, target: usize) -> Series {
        let mut sum = Series::new(self.seconds);
        if let Some(kinds) = self.series.get(target) {
            if let Some(first) = kinds.first() {
                sum = first.clone();
            }
            kinds.iter().skip(1).for_each(|series| sum.add(series));
        }
        sum
    }
}

fn thread(shared: &Arc<Shared>, part: usize, live: Arc<Live>) -> Result<Counted, std::io::Error> {
    // Tasks of a `LocalSet` would wake it by a system call each.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let bench = Bench::new(Arc::clone(shared), part, live);
    runtime.block_on(async {
        // Setting the earliest of all timers wakes the runtime by a system call. Every request sets one,
        // for its timeout; this one is always earlier.
        let earlier = (shared.prepared.scenario.limits.timeout / 2).min(Duration::from_secs(1));
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(earlier).await;
            }
        });
        match &shared.plan {
            Plan::Open(schedule) => open::run(&bench, schedule).await?,
            Plan::Closed { clients, duration } => closed::run(&bench, *clients, *duration).await?,
        }
        Ok(bench.finish().await)
    })
}

/// CPU time of this process so far.
fn cpu_seconds() -> f64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
