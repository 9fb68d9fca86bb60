//! The bounded queue between the proxy's workers and the threads that own sessions.
//!
//! Any thread pushes without waiting; an owner blocks in [`Queue::pop`]. The queue is bounded in
//! jobs and in bytes. What nobody waits for any more never runs: it is dropped when it is reached,
//! and before a newcomer is refused. Where the model allows it, an owner takes everything that
//! waits and may share a run, up to a limit of rows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::inference::tensor::Tensor;

use super::batch;
use super::error::EngineError;
use super::statistics::Recorder;

/// Jobs behind the first that are looked at for company.
const LOOK_AT: usize = 1024;

/// One inference to do.
pub(super) struct Job {
    pub(super) inputs: Vec<Tensor>,
    /// Its rows, where it may share a run.
    pub(super) rows: Option<usize>,
    /// Memory that the inputs take.
    pub(super) bytes: usize,
    /// When it is of no use any more.
    pub(super) deadline: Option<Instant>,
    /// When it came.
    pub(super) arrived: StdInstant,
    pub(super) answer: oneshot::Sender<Result<Vec<Tensor>, EngineError>>,
}

impl Job {
    /// Whether the caller has gone.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// How jobs are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gather {
    /// Most rows of one run; 1 leaves every job alone.
    pub(super) max_rows: usize,
    /// How long the first job waits for others.
    pub(super) delay: Duration,
}

/// Jobs waiting for an owner.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// As many as there are in `state`, to be read without its lock.
    waiting: AtomicUsize,
    max_jobs: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Owners blocked in `pop`. A job that one of them is about to take does not count as waiting.
    idle: usize,
    closed: bool,
}

impl State {
    /// Drops the jobs whose callers have gone; says how many.
    fn forget_abandoned(&mut self) -> usize {
        let before = self.jobs.len();
        self.jobs.retain(|job| !job.is_abandoned());
        self.bytes = self.jobs.iter().map(|job| job.bytes).sum();
        before - self.jobs.len()
    }

    /// Takes the first job that somebody waits for.
    fn first(&mut self, recorder: &Recorder) -> Option<Job> {
        while let Some(job) = self.jobs.pop_front() {
            self.bytes -= job.bytes;
            if !job.is_abandoned() {
                return Some(job);
            }
            recorder.abandoned(1);
        }
        None
    }

    /// Moves the jobs that may share a run with the first of `taken` to it, while they fit.
    fn gather(&mut self, taken: &mut Vec<Job>, max_rows: usize) {
        let mut rows: usize = taken.iter().filter_map(|job| job.rows).sum();
        let mut at = 0;
        while let Some(job) = self.jobs.get(at).filter(|_| at < LOOK_AT && rows < max_rows) {
            let fits = job.rows.is_some_and(|more| rows.saturating_add(more) <= max_rows)
                && !job.is_abandoned()
                && taken.first().is_some_and(|first| batch::may_join(&first.inputs, &job.inputs));
            match fits.then(|| self.jobs.remove(at)).flatten() {
                Some(job) => {
                    self.bytes -= job.bytes;
                    rows += job.rows.unwrap_or_default();
                    taken.push(job);
                }
                None => at += 1,
            }
        }
    }
}

impl Queue {
    pub(super) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        let (state, arrived) = (Mutex::default(), Condvar::new());
        Self { state, arrived, waiting: AtomicUsize::new(0), max_jobs, max_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `job`, or refuses it when the queue is full or closed.
    pub(super) fn push(&self, job: Job, recorder: &Recorder) -> Result<(), EngineError> {
        let mut state = self.state();
        if state.closed {
            return Err(EngineError::Unavailable("the engine was stopped".to_owned()));
        }
        // A single job is taken whatever its size: the body limit has judged it.
        let full = |state: &State| {
            state.jobs.len() >= self.max_jobs.saturating_add(state.idle)
                || (!state.jobs.is_empty() && state.bytes.saturating_add(job.bytes) > self.max_bytes)
        };
        if full(&state) {
            recorder.abandoned(state.forget_abandoned());
            if full(&state) {
                recorder.rejected();
                return Err(EngineError::Overloaded { waiting: state.jobs.len() });
            }
        }
        state.bytes += job.bytes;
        state.jobs.push_back(job);
        self.waiting.store(state.jobs.len(), Relaxed);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job that somebody waits for, and those that may share its run. Blocks; none when
    /// the queue is closed.
    pub(super) fn pop(&self, how: Gather, recorder: &Recorder) -> Option<Vec<Job>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.first(recorder) {
                return Some(self.with_company(state, job, how));
            }
            self.waiting.store(0, Relaxed);
            state.idle += 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn with_company(&self, mut state: MutexGuard<'_, State>, first: Job, how: Gather) -> Vec<Job> {
        let until = first.arrived + how.delay;
        // Who is in a hurry is not kept.
        let is_late = first.deadline.is_some_and(|deadline| deadline.into_std() <= until);
        let until = if is_late { first.arrived } else { until };
        let joins = first.rows.is_some();
        let mut taken = vec![first];
        if joins && how.max_rows > 1 {
            state.gather(&mut taken, how.max_rows);
            loop {
                let rows: usize = taken.iter().filter_map(|job| job.rows).sum();
                let left = until.saturating_duration_since(StdInstant::now());
                // Something that does not fit waits: this run goes first, so that it is not late.
                if rows >= how.max_rows || left.is_zero() || state.closed || !state.jobs.is_empty() {
                    break;
                }
                self.waiting.store(0, Relaxed);
                state.idle += 1;
                let woken = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
                state = woken.0;
                state.idle -= 1;
                state.gather(&mut taken, how.max_rows);
            }
        }
        self.waiting.store(state.jobs.len(), Relaxed);
        if state.idle > 0 && !state.jobs.is_empty() {
            // The signal for it may have woken this owner instead.
            self.arrived.notify_one();
        }
        taken
    }

    /// Ends every owner. Jobs that still wait are dropped, and their callers see it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        state.bytes = 0;
        self.waiting.store(0, Relaxed);
        drop(state);
        self.arrived.notify_all();
        drop(jobs);
    }

    /// How many jobs wait. It may be a moment old.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}
