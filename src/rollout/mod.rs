//! Rollouts: the move of one model from its stable version to a candidate, and back.
//!
//! Everything here is a function of its arguments: `(state, input, now) → (state, effects)`. The
//! driver (`control`) feeds in counts, answers of gates, commands and the time, carries the effects
//! out in their order, and keeps the state where it lasts. Whoever replays the same inputs gets the
//! same state, the same verdicts and the same evidence, bit for bit.
//!
//! Read in this order: `policy` (what an operator asks for), `counts` (what was measured), `delta`
//! and `reduce` (what is new), `checks` and `analyzer` (evidence), `verdict` (what it means),
//! `state` and `machine` (what is done), `effect` (what the driver does), `record` (what is kept).
//!
//! Deliberately absent: clocks, randomness, I/O, and how anything is counted or served.

pub mod analyzer;
pub mod checks;
pub mod counts;
pub mod delta;
pub mod effect;
pub mod evidence;
mod gather;
pub mod journal;
pub mod live;
pub mod machine;
pub mod plain;
pub mod plan;
pub mod policy;
pub mod record;
pub mod reduce;
pub mod state;
pub mod time;
pub mod verdict;
pub mod version;
pub mod words;
