//! Changing what is live: weights, configuration, and knowing what is ready.
//!
//! [`board`] makes new tables and puts them in place, one store each; [`reach`] asks the upstreams
//! whether they are there. Both belong to the control thread.

pub mod board;
pub mod reach;
