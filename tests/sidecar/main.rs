//! The sidecar from outside: the real binary, real sockets, real processes.
//!
//! One test binary, so that it is linked once. `support` starts the sidecar, upstreams of all
//! characters, and clients that can say anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may panic, and says on stderr what it skips"
)]
mod hostile;
mod matrix;
mod support;

mod access;
mod access_log;
mod admin_api;
mod balancing;
mod between;
mod between_services;
mod bodies;
mod certificates;
mod certificates_change;
mod change;
mod command_line;
mod fallback;
mod faults;
mod grpc_wire;
mod headers;
mod in_process;
mod in_process_failures;
mod in_process_grpc;
mod load_edges;
mod load_mistakes;
mod load_models;
mod load_support;
mod load_truth;
mod metrics;
mod mirror;
mod mirror_budget;
mod mirror_hostile;
mod model_folders;
mod overload;
mod rewriting;
mod rollout_api;
mod rollout_cli;
mod rollouts;
mod rollouts_aa;
mod rollouts_declared;
mod rollouts_killed;
mod rollouts_told;
mod rollouts_world;
mod routing;
mod shutdown;
mod slow_clients;
mod soak;
mod split;
mod upgrades;
mod workers;
