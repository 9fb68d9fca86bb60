//! What is measured, and where the numbers lie until somebody reads them.
//!
//! Each worker thread writes its own shard with plain relaxed loads and stores: no locked
//! instruction, no shared cache line, no allocation after the first seconds. The admin thread
//! reads all shards through the [`Registry`] and adds them up. Pure: time arrives as nanoseconds.
//! Deliberately absent: names and pages (`telemetry::catalog`, `admin`), and clocks.

mod cell;
mod grid;
mod histogram;
mod outcome;
pub mod pairs;
mod registry;
pub mod segments;
pub mod sequential;
mod shard;
mod snapshot;
pub mod trial;

pub use cell::{Counter, Gauge};
pub use histogram::Histogram;
pub use outcome::{DropReason, Outcome};
pub use registry::{KEY_LIMIT, Merged, MirrorKey, OVERFLOW, Registry, VersionKey};
pub use shard::{CONNECTION_FAULTS, MirrorShard, Observation, VersionShard, WorkerShard};
pub use snapshot::Snapshot;
