//! What requests carry: rows of files, recorded pairs, or values made up from a model's metadata.
//!
//! Everything is read and encoded before the first request is sent, within bounds: sending must
//! cost nothing that could be done before.

mod fit;
mod grpc_metadata;
mod metadata;
mod npy;
mod rows;
mod samples;

pub use grpc_metadata::{metadata_answer, metadata_request};
pub use metadata::{InputMeta, from_json};
pub use rows::{Row, Rows, pairs, read_file, trace};
pub use samples::{generated, samples};

/// Longest file that is read, in bytes.
pub const LONGEST_FILE: u64 = 256 << 20;
/// Most rows that are used of one file.
pub const MOST_ROWS: usize = 100_000;
/// Bytes that all bodies of one kind of request may take.
pub const MOST_BYTES: usize = 256 << 20;

/// What is wrong with an input: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct InputError {
    /// The file with its line, or what the input was made from.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl InputError {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}
