//! Predictions read out of live answers, on their way to the decider.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::divergence::score::ScoreSpec;
use crate::stats::trial::Arm;

/// Numbers that may wait for the decider.
const WAITING: usize = 65_536;

/// Numbers read out of the answers of both arms. One thread puts, the decider takes.
#[derive(Debug)]
pub struct Scores {
    /// Where the number stands in an answer.
    pub at: ScoreSpec,
    waiting: Mutex<Vec<(Arm, f64)>>,
    lost: AtomicU64,
}

impl Scores {
    /// No numbers yet.
    pub fn new(at: ScoreSpec) -> Self {
        Self { at, waiting: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Adds the number of one answer; `None` where it has none.
    pub fn put(&self, arm: Arm, score: Option<f64>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match score {
            Some(score) if waiting.len() < WAITING => waiting.push((arm, score)),
            _ => _ = self.lost.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// What came since the last call, in order.
    pub fn take(&self) -> Vec<(Arm, f64)> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers without a number, and numbers that nobody took in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
