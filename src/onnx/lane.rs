//! One session and whoever has it now: its owner thread, or a caller that runs inline.
//!
//! A session runs one inference at a time (`run` takes `&mut`). The owner waits for it; a caller
//! only tries, because its thread serves other connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::inference::tensor::Tensor;

use super::error::EngineError;
use super::pace::{self, Pace};
use super::statistics::Took;

/// What runs a model.
pub(super) trait Runner: Send {
    /// Runs inputs that were checked and are in the graph's order; says what it took.
    fn run(&mut self, inputs: Vec<Tensor>, took: &mut Took) -> Result<Vec<Tensor>, EngineError>;
}

/// A session. It is gone once its engine is.
pub(super) struct Lane(Mutex<Option<Box<dyn Runner>>>);

impl Lane {
    pub(super) fn new(runner: Box<dyn Runner>) -> Self {
        Self(Mutex::new(Some(runner)))
    }

    /// Runs `inputs` once the session is free. Blocks.
    pub(super) fn run(
        &self,
        inputs: Vec<Tensor>,
        pace: &Pace,
        took: &mut Took,
    ) -> Result<Vec<Tensor>, EngineError> {
        let mut lane = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lane.as_mut() {
            Some(runner) => guarded(&mut **runner, inputs, pace, took),
            None => Err(EngineError::Unavailable("the engine was stopped".to_owned())),
        }
    }

    /// Runs `inputs` if the session is free; gives them back where it is not.
    pub(super) fn try_run(
        &self,
        inputs: Vec<Tensor>,
        pace: &Pace,
        took: &mut Took,
    ) -> Result<Result<Vec<Tensor>, EngineError>, Vec<Tensor>> {
        let mut lane = match self.0.try_lock() {
            Ok(lane) => lane,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(inputs),
        };
        match lane.as_mut() {
            Some(runner) => Ok(guarded(&mut **runner, inputs, pace, took)),
            None => Err(inputs),
        }
    }

    /// Takes the session out, for the one who ends it: dropping it takes long.
    pub(super) fn take(&self) -> Option<Box<dyn Runner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A run whose panic fails that run only.
pub(super) fn guarded(
    runner: &mut dyn Runner,
    inputs: Vec<Tensor>,
    pace: &Pace,
    took: &mut Took,
) -> Result<Vec<Tensor>, EngineError> {
    let values = pace::values(&inputs);
    let outcome = catch_unwind(AssertUnwindSafe(|| runner.run(inputs, took)));
    let outcome = outcome
        .unwrap_or_else(|panic| Err(EngineError::Failed(format!("it panicked: {}", panic_message(&*panic)))));
    if outcome.is_ok() {
        pace.took(values, took.input + took.infer + took.output);
    }
    outcome
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
