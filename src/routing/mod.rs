//! The live table: models, their versions, roles and weights, and what serves each.
//!
//! [`table`] is what all workers share and replace at once; [`local`] is one worker's own view of
//! it, with its connection pools and statistics; [`call`] asks a version.

pub mod address;
pub mod body;
pub mod call;
pub mod in_process;
pub mod inputs;
pub mod limit;
pub mod local;
pub mod matcher;
pub mod origin;
pub mod overlay;
pub mod repository;
pub mod scores;
pub mod spec;
pub mod streamed;
pub mod table;
