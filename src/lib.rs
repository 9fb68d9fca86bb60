//! Switchback: a model-serving sidecar that makes every model change reversible.
//!
//! It stands in front of model servers, or serves ONNX models in process, splits traffic between
//! versions by weight, mirrors requests to shadows and measures every version. `ARCHITECTURE.md`
//! is the map of the house; `proxy::request` is the life of one request and the file to open first.
//!
//! Modules are listed floor by floor, lowest first. A module imports only lower floors, siblings
//! never import each other, and `tests/architecture.rs` holds the house to it.

// Floor 0: ids, weights, faults.
pub mod base;

// Floor 1: arithmetic, inference protocols as data, names.
pub mod inference;
pub mod split;
pub mod stats;
pub mod telemetry;

// Floor 2: certificates, headers and bodies, how far answers are apart, what a rollout decides.
pub mod certs;
pub mod divergence;
pub mod rollout;
pub mod wire;

// Floor 3: sockets, models, what lasts and what is told.
pub mod net;
pub mod notify;
pub mod onnx;
pub mod store;
pub mod upstream;

// Floor 4: the live table.
pub mod routing;

// Floor 5: shadow, change, load tests.
pub mod control;
pub mod load;
pub mod mirror;

// Floor 6: the life of one request, what an operator wrote.
pub mod config;
pub mod proxy;

// Floor 7: the operator's side.
pub mod admin;

// Floor 8: wiring.
pub mod app;
pub mod cli;
