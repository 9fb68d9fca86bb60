//! What the operator writes, read and checked before anything live is touched.
//!
//! YAML text → a tree that knows its lines (`tree`) → sections as written (`raw`) → the specs of
//! every room ([`Config`], by `build`). Each step goes on after a mistake, so one run of
//! `switchback check` shows all of them, each with its place and its fix.

mod build;
mod choice;
mod either;
mod load;
mod measure;
mod places;
mod problem;
mod raw;
mod read;
mod scalar;
mod schema;
mod spec;
mod text;
mod tree;
mod url;

pub use load::{load, load_scenario, parse, parse_policy, parse_scenario, parse_version};
pub use problem::{ConfigErrors, Problem, Severity};
pub use schema::{scenario_schema, schema};
pub use spec::{
    AccessLogSpec, AdminClient, AdminRole, AdminSpec, AdminToken, Config, DrainSpec, ModelControl,
};
