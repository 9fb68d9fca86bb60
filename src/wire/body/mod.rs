//! Bodies: where they come from and the wrappers that watch, limit, copy and time them.
//!
//! Every type here is an [`http_body::Body`] of [`Bytes`] whose error is [`Fault`]. The house rule
//! for a wrapper, held by the conformance test in `tests.rs`:
//!
//! - frames pass unchanged and in order, trailers included;
//! - `size_hint` and `is_end_stream` are the inner body's own, because a codec chooses the framing
//!   of a message by them (RFC 9112 section 6);
//! - the inner body is never polled again after its end, its trailers or a fault.
//!
//! A codec does not poll a body to its end: it stops at the last byte of a known length, and never
//! polls one that is empty. Whatever must happen at the end of a body goes through [`Observe`],
//! the one place that knows every way in which a body ends.

mod budget;
mod capture;
mod haste;
mod idle;
mod inbound;
mod late_fault;
mod limit;
mod observe;
mod source;
mod tee;

pub use budget::{Budget, Hold};
pub use capture::{Capture, CaptureState, Captured, Overflow, Tap};
pub use haste::Haste;
pub use idle::{IdleTimeout, PATIENCE, too_slow};
pub use inbound::{Feed, Inbound, fault_in};
pub use late_fault::LateFault;
pub use limit::{Limit, Meter};
pub use observe::{Observe, Watch};
pub use source::Source;
pub use tee::{Sink, Tee};

use bytes::Bytes;

use crate::base::Fault;

/// A body of our own kind: bytes in, faults out, and movable, so that wrappers need no pinning.
pub trait ByteBody: http_body::Body<Data = Bytes, Error = Fault> + Unpin {}

impl<B: http_body::Body<Data = Bytes, Error = Fault> + Unpin> ByteBody for B {}

/// Whose body it is: it decides whom a failure is blamed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A client's request.
    Request,
    /// A version's answer.
    Response,
}

#[cfg(test)]
mod tests;
