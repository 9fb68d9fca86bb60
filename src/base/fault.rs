//! Faults: every way in which a request can fail inside Switchback, in one place.
//!
//! One kind maps to one HTTP status, one gRPC status, one reason in `x-switchback-error` and one
//! metric label. A fault is a value; it is logged and counted once, at the edge that answers it.

use std::borrow::Cow;
use std::fmt;

/// What went wrong. The names are the field's (Envoy's response flags, RFC 9110).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request breaks a protocol rule.
    BadRequest,
    /// No model matches the request.
    NoRoute,
    /// The pinned version does not exist.
    UnknownVersion,
    /// The request body is longer than the limit.
    PayloadTooLarge,
    /// Header section too large.
    HeadersTooLarge,
    /// The client did not send its request, or take its answer, in time.
    RequestTimeout,
    /// What is asked for cannot be done by this backend or protocol.
    NotImplemented,
    /// The upstream could not be connected to.
    ConnectFailed,
    /// The upstream did not accept a connection in time.
    ConnectTimeout,
    /// The upstream closed or reset before a whole answer.
    UpstreamReset,
    /// The upstream's answer breaks a protocol rule.
    UpstreamProtocol,
    /// The upstream's answer did not begin in time.
    ResponseTimeout,
    /// The body stood still for longer than allowed.
    IdleTimeout,
    /// The client's own deadline (`grpc-timeout`) is over.
    DeadlineExceeded,
    /// A limit on connections, requests or queued work is reached.
    Overloaded,
    /// The version is not loaded or cannot serve.
    Unavailable,
    /// This process has no descriptor, port or memory left for a connection.
    Exhausted,
    /// The client went away.
    Cancelled,
    /// A bug or an exhausted resource on our side.
    Internal,
}

impl FaultKind {
    /// Every kind, in the order of [`FaultKind::index`].
    pub const ALL: [Self; 19] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::UnknownVersion,
        Self::PayloadTooLarge,
        Self::HeadersTooLarge,
        Self::RequestTimeout,
        Self::NotImplemented,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::ResponseTimeout,
        Self::IdleTimeout,
        Self::DeadlineExceeded,
        Self::Overloaded,
        Self::Unavailable,
        Self::Exhausted,
        Self::Cancelled,
        Self::Internal,
    ];

    /// Position in [`FaultKind::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason as it stands in `x-switchback-error` and in metric labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoRoute => "no_route",
            Self::UnknownVersion => "unknown_version",
            Self::PayloadTooLarge => "payload_too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::NotImplemented => "not_implemented",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::ResponseTimeout => "response_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// HTTP status code of an answer for this fault (RFC 9110 section 15; 499 is nginx's for a
    /// client that left, and is only ever recorded).
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UnknownVersion => 400,
            Self::NoRoute => 404,
            Self::RequestTimeout => 408,
            Self::PayloadTooLarge => 413,
            Self::HeadersTooLarge => 431,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::ConnectFailed | Self::UpstreamReset | Self::UpstreamProtocol => 502,
            Self::Overloaded | Self::Unavailable | Self::Exhausted => 503,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::IdleTimeout | Self::DeadlineExceeded => 504,
        }
    }

    /// gRPC status code of an answer for this fault (the gRPC core specification's status codes).
    pub fn grpc_status(self) -> u8 {
        match self {
            Self::Cancelled => 1,
            Self::BadRequest | Self::UnknownVersion => 3,
            Self::DeadlineExceeded | Self::RequestTimeout | Self::ResponseTimeout | Self::IdleTimeout => 4,
            Self::NoRoute => 5,
            Self::PayloadTooLarge | Self::HeadersTooLarge | Self::Overloaded | Self::Exhausted => 8,
            Self::NotImplemented => 12,
            Self::Internal => 13,
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::UpstreamReset
            | Self::UpstreamProtocol
            | Self::Unavailable => 14,
        }
    }

    /// Whether the fault is the serving version's, so that it counts against it. Faults of the
    /// client (bad request, too large, gone away) and of the proxy itself do not.
    pub fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::UpstreamReset
                | Self::UpstreamProtocol
                | Self::ResponseTimeout
                | Self::IdleTimeout
                | Self::DeadlineExceeded
                | Self::Overloaded
                | Self::Unavailable
        )
    }
}

/// A fault with the detail a person needs. The detail is sent to the client, so it names no
/// secrets and no internals beyond addresses the operator configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// One line for people: what was found and what was expected.
    pub detail: Cow<'static, str>,
}

impl Fault {
    /// A fault of `kind` with a `detail` line.
    pub fn new(kind: FaultKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.reason(), self.detail)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_reason_and_its_index() {
        for (i, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), i);
            assert!((400..600).contains(&kind.http_status()));
            assert!((1..=16).contains(&kind.grpc_status()));
            assert_eq!(FaultKind::ALL.iter().filter(|k| k.reason() == kind.reason()).count(), 1);
        }
    }
}
