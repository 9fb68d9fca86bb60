//! What is told to people and their tools: the names of all metrics, logs, and the access log.
//!
//! Pure names and plain threads: no runtime, no socket, no clock of its own.

pub mod access_log;
pub mod catalog;
pub mod logging;
mod timestamp;

pub use timestamp::rfc3339;
