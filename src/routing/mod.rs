//! The live table: models, their versions, roles and weights, and what serves each.

pub mod spec;
