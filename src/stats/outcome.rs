//! How a request ended, and why a copy of one was not sent or not finished.

/// How a request ended, judged at the end of its body and trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The version answered, and not with an error.
    Success,
    /// The version, or the proxy for it, refused the request as the client's mistake (4xx, or a
    /// gRPC status that says so).
    ClientError,
    /// The version answered with an error of its own (5xx, or a gRPC status that says so).
    ServerError,
    /// No whole answer came: connect, timeout, reset, overload or a protocol error.
    Fault,
    /// The client went away first. Says nothing about the version.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order of [`Outcome::index`].
    pub const ALL: [Self; 5] =
        [Self::Success, Self::ClientError, Self::ServerError, Self::Fault, Self::Cancelled];

    /// Position in [`Outcome::ALL`], for arrays of counters.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The outcome of an answer that came whole: by its gRPC status where it is a gRPC answer,
    /// else by its HTTP status. gRPC's statuses are told apart as in the specification's guide:
    /// those that say that the request was at fault, and those that say that the server was.
    pub fn of(status: u16, grpc: Option<u8>) -> Self {
        match (grpc, status) {
            (Some(0), _) => Self::Success,
            (Some(1), _) => Self::Cancelled,
            (Some(3 | 5 | 6 | 7 | 9 | 11 | 16), _) => Self::ClientError,
            (Some(_), _) => Self::ServerError,
            (None, 0..400) => Self::Success,
            (None, 400..500) => Self::ClientError,
            (None, _) => Self::ServerError,
        }
    }

    /// The outcome as it stands in metric labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Fault => "fault",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a copy that was sampled has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Too many copies were under way.
    InFlight,
    /// The copies under way held too many bytes.
    Bytes,
    /// The body was longer than a copy may be.
    TooLarge,
    /// The mirror was suspended because the primary was saturated.
    Suspended,
    /// The client's request did not arrive whole.
    RequestIncomplete,
    /// The primary's exchange was cancelled.
    PrimaryCancelled,
    /// The shadow did not answer within the mirror's deadline.
    Deadline,
    /// The shadow could not be connected to.
    Connect,
    /// The shadow closed or reset before a whole answer.
    Reset,
    /// The shadow was not loaded or could not serve.
    Unavailable,
    /// Anything else.
    Other,
}

impl DropReason {
    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: [Self; 11] = [
        Self::InFlight,
        Self::Bytes,
        Self::TooLarge,
        Self::Suspended,
        Self::RequestIncomplete,
        Self::PrimaryCancelled,
        Self::Deadline,
        Self::Connect,
        Self::Reset,
        Self::Unavailable,
        Self::Other,
    ];

    /// Position in [`DropReason::ALL`], for arrays of counters.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason as it stands in metric labels and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Bytes => "bytes",
            Self::TooLarge => "too_large",
            Self::Suspended => "suspended",
            Self::RequestIncomplete => "request_incomplete",
            Self::PrimaryCancelled => "primary_cancelled",
            Self::Deadline => "deadline",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Unavailable => "unavailable",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_outcome_and_reason_has_its_own_name_and_its_index() {
        assert!(Outcome::ALL.into_iter().enumerate().all(|(i, o)| o.index() == i));
        assert!(DropReason::ALL.into_iter().enumerate().all(|(i, r)| r.index() == i));
        let outcomes: HashSet<_> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
        let reasons: HashSet<_> = DropReason::ALL.into_iter().map(DropReason::as_str).collect();
        assert_eq!((outcomes.len(), reasons.len()), (5, 11));
    }
}
