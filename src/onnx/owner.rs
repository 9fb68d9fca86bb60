//! The life of an owner: the thread that takes jobs from the queue and runs them on its session,
//! several at once where the model allows it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant as StdInstant};

use tokio::time::Instant;

use crate::inference::tensor::Tensor;

use super::batch;
use super::error::EngineError;
use super::lane::Lane;
use super::pace::Pace;
use super::queue::{Gather, Job, Queue};
use super::statistics::{Recorder, Took};

/// How a model's requests share runs.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Most rows of one run; 1: none are shared.
    pub(super) max_rows: usize,
    /// How long a request may wait for others.
    pub(super) delay: Duration,
    /// The model turned out not to give a row for a row: nothing is shared any more.
    off: AtomicBool,
}

impl Sharing {
    pub(super) fn new(max_rows: usize, delay: Duration) -> Self {
        Self { max_rows, delay, off: AtomicBool::new(false) }
    }

    /// Whether requests may share a run.
    pub(super) fn is_on(&self) -> bool {
        self.max_rows > 1 && !self.off.load(Relaxed)
    }

    fn gather(&self) -> Gather {
        Gather { max_rows: if self.is_on() { self.max_rows } else { 1 }, delay: self.delay }
    }
}

/// What an owner works with.
pub(super) struct Owner<'a> {
    pub(super) lane: &'a Lane,
    pub(super) queue: &'a Queue,
    pub(super) sharing: &'a Sharing,
    pub(super) pace: &'a Pace,
    pub(super) recorder: &'a Recorder,
}

impl Owner<'_> {
    /// Runs jobs until the queue is closed, then ends the session.
    pub(super) fn serve(&self) {
        while let Some(mut jobs) = self.queue.pop(self.sharing.gather(), self.recorder) {
            let now = Instant::now();
            for late in jobs.extract_if(.., |job| job.deadline.is_some_and(|deadline| deadline <= now)) {
                let _ = late.answer.send(Err(EngineError::DeadlineExceeded));
            }
            let taken = StdInstant::now();
            for job in &jobs {
                self.recorder.waited(taken.saturating_duration_since(job.arrived));
            }
            match jobs.len() {
                0 => {}
                1 => jobs.into_iter().for_each(|job| self.alone(job)),
                _ => self.together(jobs),
            }
        }
        drop(self.lane.take());
    }

    fn alone(&self, job: Job) {
        let mut took = Took::default();
        let outcome = self.lane.run(job.inputs, self.pace, &mut took);
        if outcome.is_ok() {
            self.recorder.ran(1, job.rows.unwrap_or(1), &took);
        }
        // The caller may have gone while the model ran.
        let _ = job.answer.send(outcome);
    }

    /// Runs all of `jobs` at once; where that fails, one after the other, so that a bad one fails
    /// alone.
    fn together(&self, jobs: Vec<Job>) {
        let mut took = Took::default();
        match self.shared_run(&jobs, &mut took) {
            Ok(parts) => {
                let rows = jobs.iter().filter_map(|job| job.rows).sum();
                self.recorder.ran(jobs.len(), rows, &took);
                for (job, outputs) in jobs.into_iter().zip(parts) {
                    let _ = job.answer.send(Ok(outputs));
                }
            }
            Err(error) => {
                tracing::debug!(%error, requests = jobs.len(), "a batch failed, its requests run one by one");
                self.recorder.split_batch();
                jobs.into_iter().for_each(|job| self.alone(job));
            }
        }
    }

    fn shared_run(&self, jobs: &[Job], took: &mut Took) -> Result<Vec<Vec<Tensor>>, EngineError> {
        let start = StdInstant::now();
        let requests: Vec<&[Tensor]> = jobs.iter().map(|job| job.inputs.as_slice()).collect();
        let rows: Vec<usize> = jobs.iter().filter_map(|job| job.rows).collect();
        let inputs = batch::join(&requests)
            .ok_or_else(|| EngineError::Failed("inputs that do not join".to_owned()))?;
        let joined = start.elapsed();
        let outputs = self.lane.run(inputs, self.pace, took)?;
        let ran = StdInstant::now();
        let parts = batch::part(outputs, &rows).map_err(|error| {
            if !self.sharing.off.swap(true, Relaxed) {
                tracing::warn!(%error, "the model does not answer row by row: its requests share no runs any more");
            }
            EngineError::Failed(error)
        })?;
        took.input += joined;
        took.output += ran.elapsed();
        Ok(parts)
    }
}
