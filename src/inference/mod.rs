//! Inference protocols as data: which model a request names and where, and what its body holds.
//! Pure: nothing here does I/O, and everything borrows or is bounded.
//!
//! - [`path`] tells the API and the model from a request's path.
//! - [`json_scan`] finds values of chosen keys while a JSON text streams by.
//! - [`protobuf`] finds and writes string fields of protobuf messages.
//! - [`mod@pointer`] reads one value at an RFC 6901 pointer.
//! - [`peek`] reads a request body ahead just as far as routing needs it.
//! - [`stream_watch`] tells tokens and the end of an answer while it streams by.
//! - [`tensor`] is what models take and give; [`v2_json`], [`v2_grpc`] and [`v1`] are its forms in the
//!   protocols, [`raw`] and [`json_data`] those of its values.
//! - [`grpc_services`] has the messages of the services about the server: health and reflection.

pub mod answer;
pub mod content;
pub mod grpc_services;
pub mod json_data;
pub mod json_scan;
pub mod path;
pub mod peek;
pub mod pointer;
pub mod protobuf;
mod protobuf_fields;
pub mod raw;
pub mod stream_watch;
pub mod tensor;
pub mod v1;
pub mod v2_grpc;
pub mod v2_json;
