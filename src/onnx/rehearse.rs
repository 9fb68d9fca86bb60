//! What a session does before its first request: known answers, a warm-up, and the measuring of how
//! many rows are best brought together.
//!
//! The first run of a session allocates and is many times slower than the next; the first run on a
//! larger batch again. So both ends are run before there is traffic, with the inputs of the golden
//! examples where there are some, else with zeros.

use std::time::{Duration, Instant};

use crate::inference::tensor::Tensor;

use super::abort::Abort;
use super::batch;
use super::golden::Golden;
use super::lane::{Runner, guarded};
use super::pace::Pace;
use super::signature::Signature;
use super::statistics::Took;

/// Inputs of a warm-up may take this many bytes.
const WARM_UP_BYTES: usize = 256 * 1024 * 1024;
/// Measuring batch sizes ends after this.
const BUDGET: Duration = Duration::from_secs(5);
/// Runs of each kind; the quickest counts, because whatever else the machine does only slows down.
const RUNS: usize = 3;
/// A larger batch has to be better by this factor.
const WORTH: f64 = 0.97;

/// What a rehearsal works with.
pub(super) struct Rehearsal<'a> {
    pub(super) signature: &'a Signature,
    pub(super) golden: Option<&'a Golden>,
    /// Most rows that the operator allows in one run.
    pub(super) max_rows: usize,
    pub(super) pace: &'a Pace,
    pub(super) abort: &'a Abort,
}

impl Rehearsal<'_> {
    /// Runs `runner` on what it will be asked; says how many rows are best brought together at most.
    ///
    /// # Errors
    /// Why the model is not fit to serve, in one line.
    pub(super) fn run(&self, runner: &mut dyn Runner) -> Result<usize, String> {
        if let Some(golden) = self.golden {
            golden.check(|inputs| {
                let inputs = self.signature.check(inputs)?;
                guarded(runner, inputs, self.pace, &mut Took::default())
            })?;
        }
        let Some(sample) = self.sample() else { return Ok(self.shareable(1, self.max_rows)) };
        let rows = batch::rows(&sample).unwrap_or(1);
        let single = match self.quickest(runner, &sample) {
            Ok((time, _)) => time,
            // Only a model for which zeros must work is refused when they do not.
            Err(error) if self.golden.is_some() || self.must_work() => {
                return Err(format!("warm-up: {error}"));
            }
            Err(error) => {
                tracing::debug!(error, "the model does not run on zeros of length 1");
                return Ok(self.shareable(1, self.max_rows));
            }
        };
        let max_rows = self.shareable(rows, self.max_rows);
        if max_rows <= rows { Ok(max_rows) } else { Ok(self.tune(runner, &sample, rows, max_rows, single)) }
    }

    fn must_work(&self) -> bool {
        self.signature.zeros_must_work() || self.abort.is_set()
    }

    /// One request: of the golden examples the smallest, else zeros.
    fn sample(&self) -> Option<Vec<Tensor>> {
        let smallest = self.golden.and_then(|golden| {
            golden
                .examples
                .iter()
                .min_by_key(|example| example.inputs.iter().map(Tensor::size).sum::<usize>())
        });
        match smallest {
            Some(example) => self.signature.check(example.inputs.clone()).ok(),
            None => self.signature.zeros(WARM_UP_BYTES),
        }
    }

    /// As many rows as the model allows in one run. Says so where it is not what was asked for.
    fn shareable(&self, rows: usize, wanted: usize) -> usize {
        if wanted > rows && !self.signature.is_batchable() {
            tracing::warn!(
                "maxBatchSize has no effect: not every input and output of the model has a free first dimension"
            );
            return 1;
        }
        wanted
    }

    /// The quickest of some runs, and the outputs.
    fn quickest(
        &self,
        runner: &mut dyn Runner,
        inputs: &[Tensor],
    ) -> Result<(Duration, Vec<Tensor>), String> {
        let mut best = Duration::MAX;
        let mut outputs = Vec::new();
        for _ in 0..RUNS {
            let mut took = Took::default();
            outputs = guarded(runner, inputs.to_vec(), self.pace, &mut took)
                .map_err(|error| error.to_string().trim_start_matches("the model failed: ").to_owned())?;
            let time = took.input + took.infer + took.output;
            best = best.min(time);
            if time > BUDGET / 20 || self.abort.is_set() {
                break;
            }
        }
        Ok((best, outputs))
    }

    /// Doubles the batch up to `max_rows` and finds the size with the least time per row.
    fn tune(
        &self,
        runner: &mut dyn Runner,
        sample: &[Tensor],
        rows: usize,
        max_rows: usize,
        single: Duration,
    ) -> usize {
        let end = Instant::now() + BUDGET;
        let per_row = |time: Duration, rows: usize| time.as_secs_f64() / rows as f64;
        let (mut best, mut best_time) = (rows, per_row(single, rows));
        let mut copies = 2;
        loop {
            let size = rows * copies;
            if size > max_rows || size_of(sample).saturating_mul(copies) > WARM_UP_BYTES {
                break;
            }
            let Some(inputs) = batch::join(&vec![sample; copies]) else { break };
            let (time, outputs) = match self.quickest(runner, &inputs) {
                Ok(run) => run,
                Err(error) => {
                    tracing::warn!(rows = size, error, "the model fails on larger batches");
                    break;
                }
            };
            if let Some(error) = outputs.iter().find_map(|output| batch::check_rows(output, size).err()) {
                tracing::warn!(error, "maxBatchSize has no effect: the model does not answer row by row");
                return 1;
            }
            if per_row(time, size) < best_time * WORTH {
                (best, best_time) = (size, per_row(time, size));
            }
            if size == max_rows || Instant::now() >= end || self.abort.is_set() {
                break;
            }
            copies = (copies * 2).min((max_rows / rows).max(copies + 1));
        }
        tracing::info!(rows = best, allowed = max_rows, per_row_us = best_time * 1e6, "batch size measured");
        best
    }
}

fn size_of(inputs: &[Tensor]) -> usize {
    inputs.iter().map(Tensor::size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tensor::{Dtype, TensorData};
    use crate::onnx::error::EngineError;
    use crate::onnx::signature::{Dim, Slot};

    /// Says that it took as long as a function says of its rows.
    struct Timed<F>(F, Vec<usize>);

    impl<F: Fn(usize) -> Duration + Send> Runner for Timed<F> {
        fn run(&mut self, inputs: Vec<Tensor>, took: &mut Took) -> Result<Vec<Tensor>, EngineError> {
            let rows = batch::rows(&inputs).unwrap();
            self.1.push(rows);
            took.infer = (self.0)(rows);
            Ok(inputs)
        }
    }

    fn signature(dim: Dim) -> Signature {
        let slot = Slot { name: "x".into(), dtype: Dtype::Fp32, dims: vec![dim] };
        Signature { inputs: vec![slot.clone()], outputs: vec![slot], hidden: Vec::new() }
    }

    fn rehearse(signature: &Signature, max_rows: usize, runner: &mut dyn Runner) -> Result<usize, String> {
        let (pace, abort) = (Pace::default(), Abort::default());
        let rehearsal = Rehearsal { signature, golden: None, max_rows, pace: &pace, abort: &abort };
        let found = rehearsal.run(runner);
        assert!(pace.expects(1).is_some());
        found
    }

    #[test]
    fn the_size_with_the_least_time_per_row_is_found_and_the_largest_is_warmed_up_too() {
        // Dear up to 4 rows, linear beyond: 4 is best.
        let cost = |rows: usize| Duration::from_micros(2_000 * rows.div_ceil(4) as u64 + rows as u64);
        let mut runner = Timed(cost, Vec::new());
        let free = signature(Dim::Any("batch".into()));
        assert_eq!(rehearse(&free, 12, &mut runner), Ok(4));
        assert_eq!((runner.1.first(), runner.1.last()), (Some(&1), Some(&12)));
    }

    #[test]
    fn a_model_of_fixed_size_runs_one_request_at_a_time() {
        let mut runner = Timed(|_| Duration::ZERO, Vec::new());
        assert_eq!(rehearse(&signature(Dim::Fixed(1)), 8, &mut runner), Ok(1));
    }

    #[test]
    fn a_model_that_sums_over_its_rows_is_not_batched() {
        struct Sum;
        impl Runner for Sum {
            fn run(&mut self, _: Vec<Tensor>, took: &mut Took) -> Result<Vec<Tensor>, EngineError> {
                took.infer = Duration::from_micros(1);
                Ok(vec![Tensor::new("x", vec![1], TensorData::Fp32(vec![0.0])).unwrap()])
            }
        }
        assert_eq!(rehearse(&signature(Dim::Any("n".into())), 8, &mut Sum), Ok(1));
    }
}
