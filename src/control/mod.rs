//! Changing what is live: weights, configuration, and knowing what is ready.
//!
//! [`board`] makes new tables and puts them in place, one store each; [`reach`] asks the upstreams
//! whether they are there, [`health`] whether their endpoints are well; [`certificates`] and [`memory`]
//! watch files and the process; [`repository`] keeps up with model folders; [`rollouts`] decides how
//! models move from one version to the next. [`tasks`] keeps loops going that panic.

pub mod board;
pub mod certificates;
pub mod health;
pub mod memory;
pub mod reach;
pub mod repository;
pub mod rollouts;
pub mod tasks;
