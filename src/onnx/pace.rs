//! How long a run of a model takes, learned from the runs so far, by the size of its inputs.
//!
//! Sizes are classes of powers of two of the number of values. A class remembers a moving average
//! that rises fast and falls slowly: running a model on the caller's thread that turns out slow
//! holds up every connection of that thread, and running it elsewhere costs some microseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::inference::tensor::Tensor;

use super::statistics::nanos;

/// Classes of input size: up to 2^39 values, far beyond any body limit.
const CLASSES: usize = 40;

/// Moving averages of run times. Many threads write; a lost update is of no matter.
#[derive(Debug)]
pub(super) struct Pace([AtomicU64; CLASSES]);

impl Default for Pace {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// How many values `inputs` have in all.
pub(super) fn values(inputs: &[Tensor]) -> usize {
    inputs.iter().map(|tensor| tensor.data().len()).sum()
}

fn class(values: usize) -> usize {
    usize::try_from(values.max(1).ilog2()).unwrap_or(CLASSES).min(CLASSES - 1)
}

impl Pace {
    /// A run on so many values took this long.
    pub(super) fn took(&self, values: usize, time: Duration) {
        let Some(cell) = self.0.get(class(values)) else { return };
        // Zero says that nothing is known.
        let new = nanos(time).max(1);
        let old = cell.load(Relaxed);
        let next = match old {
            0 => new,
            _ if new > old => old + (new - old) / 2,
            _ => old - (old - new) / 16,
        };
        cell.store(next.max(1), Relaxed);
    }

    /// How long a run on so many values will take; `None` before anything is known. Between classes
    /// the time is taken to grow with the size, so a guess is rather too high.
    pub(super) fn expects(&self, values: usize) -> Option<Duration> {
        let at = class(values);
        let known = |class: usize| self.0.get(class).map(|cell| cell.load(Relaxed)).filter(|ns| *ns > 0);
        let below = (0..=at).rev().find_map(|class| Some((at - class, known(class)?)));
        let ns = match below {
            Some((steps, ns)) => ns.saturating_mul(1 << steps.min(63)),
            None => (at + 1..CLASSES).find_map(known)?,
        };
        Some(Duration::from_nanos(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn nothing_is_expected_before_the_first_run() {
        assert_eq!(Pace::default().expects(64), None);
    }

    #[test]
    fn an_unknown_size_is_guessed_from_the_next_smaller_one_and_rather_too_high() {
        let pace = Pace::default();
        pace.took(64, US(10));
        assert_eq!(pace.expects(100), Some(US(10)));
        assert_eq!(pace.expects(256), Some(US(40)));
        assert_eq!(pace.expects(1), Some(US(10)));
        pace.took(256, US(12));
        assert_eq!(pace.expects(300), Some(US(12)));
        assert!(pace.expects(usize::MAX).is_some());
    }

    #[test]
    fn one_slow_run_counts_at_once_and_is_forgotten_slowly() {
        let pace = Pace::default();
        pace.took(8, US(10));
        pace.took(8, US(1_010));
        assert_eq!(pace.expects(8), Some(US(510)));
        for _ in 0..10 {
            pace.took(8, US(10));
        }
        assert!(pace.expects(8).unwrap() > US(200));
        for _ in 0..200 {
            pace.took(8, US(10));
        }
        assert!(pace.expects(8).unwrap() < US(12));
    }
}
