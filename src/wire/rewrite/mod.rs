//! Sending a version its request under other names, and putting the answer back.

mod spec;

pub use spec::{PathPrefix, RewriteSpec};
