//! Sequential tests: evidence that may be looked at after every request, and still means what it
//! says.
//!
//! Each test keeps a wealth that begins at 1 and that, as long as its null hypothesis is true, is
//! not expected to grow: an *e-process*. By Ville's inequality it reaches `1/α` at any time with
//! probability at most `α`, so "act the first time that it does" is wrong at most that often,
//! however long a rollout runs and however often it is looked at. A survey is Ramdas, Grünwald,
//! Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference" (2023).
//!
//! | type | null hypothesis | one step is |
//! |---|---|---|
//! | [`ArmTest`] | the candidate's event rate is at most `tolerance` × the stable one's, at every moment | an event |
//! | [`TailTest`] | the candidate (with its tolerance) is not slower than stable | a request |
//! | [`RateTest`] | one arm's event rate is at most `max` | a request of that arm |
//! | [`DifferenceTest`] | means differ by at most a margin | a request |
//! | [`TiltTest`] | a number has the same distribution in both arms | a request |
//! | [`AdvanceTest`] | the candidate does at least the declared harm | an event |
//! | [`SampleRatioTest`] | requests fall on the arms as their weights say | a request |
//!
//! The guarantee stands on the coin of the split: every request's arm is an independent draw with
//! the weight that is handed to `observe`. Since both arms share each moment, daily cycles and
//! incidents that strike both do no harm; a comparison with yesterday would have no such shield.
//!
//! All bets are fixed grids, so a test takes *counts*: replicas and workers add theirs up, the one
//! decider hands over what was added since its last look, and a delta of a million costs what a
//! delta of one does. The arithmetic is `+ × ÷ √` on `f64` in a fixed order, without the platform's
//! mathematical library, hence the same bits everywhere: a record can be recomputed elsewhere.
//! Every state is plain data for serde and restores exactly from JSON (`float_roundtrip`).
//!
//! No input panics. A delta that says nothing about the null (a weight that is not strictly between
//! 0 and 1, a bound that is not a number) leaves a test as it was: no evidence, never a verdict.
//!
//! Deliberately absent: thresholds and what follows from them (`rollout`), clocks, randomness.

mod advance;
mod arm;
mod arms;
mod combine;
mod difference;
mod dispersion;
mod drift;
mod interval;
mod power;
mod rate;
mod sample_ratio;
pub(crate) mod special;
mod tail;
mod tilt;
mod wealth;
mod wide;

pub use advance::AdvanceTest;
pub use arm::{ArmTest, RATIOS};
pub use arms::Arms;
pub use combine::{Share, e_benjamini_hochberg, weighted_mean, with_segments};
pub use difference::{DifferenceTest, Side};
pub use dispersion::Dispersion;
pub use drift::{psi, psi_lower_bound};
pub use interval::{Interval, WeightStep, rate_interval, ratio_interval};
pub use power::{Plan, lower_bound, requests_for_power, requests_to_rule_out, smallest_harm};
pub use rate::RateTest;
pub use sample_ratio::SampleRatioTest;
pub use tail::{Exceedance, ODDS, TailTest};
pub use tilt::TiltTest;

/// Names the grids, priors and investment schedules of this build. It belongs into every record
/// of a decision: evidence is recomputed with the grids it was gathered with or not at all.
pub const GRIDS: &str = "1";

/// How many bins of ranks [`DifferenceTest`] and [`TiltTest`] take by default.
pub const RANK_BINS: usize = 32;

#[cfg(test)]
mod tests;
