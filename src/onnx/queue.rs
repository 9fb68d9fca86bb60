//! The bounded queue between the proxy's workers and the threads that own sessions.
//!
//! Any thread pushes without waiting; an owner blocks in [`Queue::pop`]. The queue is bounded in
//! jobs and in bytes. What nobody waits for any more never runs: it is dropped when it is reached,
//! and before a newcomer is refused.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::inference::tensor::Tensor;

use super::error::EngineError;

/// What runs a model. It lives on the thread that made it.
pub(super) trait Runner {
    /// Runs inputs that were checked and are in the graph's order.
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>;
}

/// One inference to do.
pub(super) struct Job {
    pub(super) inputs: Vec<Tensor>,
    /// Memory that the inputs take.
    pub(super) bytes: usize,
    /// When it is of no use any more.
    pub(super) deadline: Option<Instant>,
    pub(super) answer: oneshot::Sender<Result<Vec<Tensor>, EngineError>>,
}

impl Job {
    /// Whether the caller has gone.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Jobs waiting for an owner.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
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
    fn forget_abandoned(&mut self) {
        self.jobs.retain(|job| !job.is_abandoned());
        self.bytes = self.jobs.iter().map(|job| job.bytes).sum();
    }
}

impl Queue {
    pub(super) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), max_jobs, max_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `job`, or refuses it when the queue is full or closed.
    pub(super) fn push(&self, job: Job) -> Result<(), EngineError> {
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
            state.forget_abandoned();
            if full(&state) {
                return Err(EngineError::Overloaded { waiting: state.jobs.len() });
            }
        }
        state.bytes += job.bytes;
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next job that somebody waits for. Blocks; none when the queue is closed.
    fn pop(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            while let Some(job) = state.jobs.pop_front() {
                state.bytes -= job.bytes;
                if !job.is_abandoned() {
                    return Some(job);
                }
            }
            state.idle += 1;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Ends every owner. Jobs that still wait are dropped, and their callers see it.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        state.bytes = 0;
        drop(state);
        self.arrived.notify_all();
        drop(jobs);
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().jobs.len()
    }

    /// Runs jobs until the queue is closed. A panic in a run fails that run only.
    pub(super) fn serve(&self, runner: &mut dyn Runner) {
        while let Some(Job { inputs, deadline, answer, .. }) = self.pop() {
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let _ = answer.send(Err(EngineError::DeadlineExceeded));
                continue;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| runner.run(inputs))).unwrap_or_else(|panic| {
                Err(EngineError::Failed(format!("it panicked: {}", panic_message(&*panic))))
            });
            // The caller may have gone while the model ran.
            let _ = answer.send(outcome);
        }
    }
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
