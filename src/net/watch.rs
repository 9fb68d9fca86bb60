//! What `net` tells about connections, so that its caller counts without `net` knowing how.

/// Told about every connection of one worker and listener. Calls come on the worker's thread, on
/// the path of a connection, never of a request; they must not block. `()` watches nothing.
pub trait ConnectionWatch: 'static {
    /// A connection was accepted. Exactly one [`closed`](Self::closed) follows.
    fn opened(&self) {}
    /// A connection of [`opened`](Self::opened) is over, in whatever way. After an upgrade it comes
    /// when the connection stops being HTTP, not when the tunnel ends.
    fn closed(&self) {}
    /// A connection was not let in, or could not be accepted.
    fn refused(&self, why: Refusal) {
        let _ = why;
    }
    /// An open connection ended for a reason worth counting; `closed` follows.
    fn failed(&self, why: ConnectionFault) {
        let _ = why;
    }
}

impl ConnectionWatch for () {}

/// Why a connection never opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `downstream.maxConnections` are open already.
    TooManyConnections,
    /// The process or the machine has no descriptor or memory left for a socket.
    OutOfResources,
    /// The system would not accept for another reason.
    AcceptFailed,
}

impl Refusal {
    /// Every reason, for counters made in advance.
    pub const ALL: [Self; 3] = [Self::TooManyConnections, Self::OutOfResources, Self::AcceptFailed];

    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::OutOfResources => "out_of_resources",
            Self::AcceptFailed => "accept_failed",
        }
    }
}

/// Why an open connection ended other than by agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionFault {
    /// The TLS handshake was refused or broken off.
    Handshake,
    /// The TLS handshake took longer than `handshakeTimeout`.
    HandshakeTimeout,
    /// Nothing came within `firstByteTimeout`.
    FirstByteTimeout,
    /// No whole request head came within `headerTimeout`: slow, or an idle connection retired.
    HeaderTimeout,
    /// The request head was larger than the limits (answered 431 or 414).
    HeadersTooLarge,
    /// What came breaks HTTP (answered 400, or GOAWAY).
    Protocol,
    /// The client left in the middle of a request or an answer.
    ClientLeft,
    /// An answer's body failed after its head was sent, so the connection had to be cut.
    AnswerFailed,
}

impl ConnectionFault {
    /// Every reason, for counters made in advance.
    pub const ALL: [Self; 8] = [
        Self::Handshake,
        Self::HandshakeTimeout,
        Self::FirstByteTimeout,
        Self::HeaderTimeout,
        Self::HeadersTooLarge,
        Self::Protocol,
        Self::ClientLeft,
        Self::AnswerFailed,
    ];

    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Protocol => "protocol",
            Self::ClientLeft => "client_left",
            Self::AnswerFailed => "answer_failed",
        }
    }
}
