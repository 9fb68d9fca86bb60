//! Load tests: requests at times of their own, latencies that leave nothing out, and a verdict.
//!
//! Open `run` for a whole test. [`spec`] is what is wanted, as data; [`prepare`] finds every mistake
//! before the first request; [`schedule`] is the plan, a pure function of its seed; [`drive`] sends
//! by it and counts into [`series`]; [`verdict`] says whether the goals of [`slo`] hold, with
//! intervals from [`interval`] and [`mod@ratio`]; [`mod@result`] is all of it as data, and [`report`]
//! what people and programs read.
//!
//! What is never done: a request's time counted from when it happened to leave, a failed request
//! counted as a fast one, a run called good in which the generator itself could not keep up.
//!
//! Memory does not grow with the length of a run. Deliberately absent: printing (the command line
//! does that), reading of scenario files (`config` does), and load from several machines.

pub mod ask;
pub mod body;
pub mod check;
pub mod clock;
pub mod drive;
pub mod encode;
pub mod histogram;
pub mod inputs;
pub mod interval;
pub mod prepare;
pub mod random;
pub mod ratio;
pub mod report;
pub mod resources;
pub mod result;
pub mod run;
pub mod schedule;
pub mod search;
pub mod series;
pub mod slo;
pub mod spec;
pub mod stream;
pub mod verdict;
