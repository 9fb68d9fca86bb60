//! What `net` tells about connections, so that its caller counts without `net` knowing how.

/// Told about every connection of one worker and listener. Calls come on the worker's thread, on
/// the path of a connection, never of a request; they must not block. `()` watches nothing.
pub trait ConnectionWatch: 'static {
    /// Whether a connection may be opened now; `false` closes it at once.
    fn may_open(&self) -> bool {
        true
    }
    /// A connection was accepted. Exactly one [`closed`](Self::closed) follows.
    fn opened(&self) {}
    /// A connection of [`opened`](Self::opened) is over, in whatever way. After an upgrade it comes
    /// when the connection stops being HTTP, not when the tunnel ends.
    fn closed(&self) {}
    /// A connection was not let in, or could not be accepted.
    fn refused(&self, why: Refusal) {
        let _ = why;
    }
    /// An open connection ended for a reason worth counting, and `closed` follows; or a stream of one by
    /// HTTP/2 did, and the connection goes on.
    fn failed(&self, why: ConnectionFault) {
        let _ = why;
    }
}

impl ConnectionWatch for () {}

// A row of counters has a place for each reason.
const _: () = assert!(ConnectionFault::ALL.len() == crate::stats::CONNECTION_FAULTS);

/// Why a connection never opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `downstream.maxConnections` are open already.
    TooManyConnections,
    /// The process or the machine has no descriptor or memory left for a socket.
    OutOfResources,
    /// The system would not accept for another reason.
    AcceptFailed,
    /// The process has used up the memory that it may have.
    OutOfMemory,
}

impl Refusal {
    /// Every reason, for counters made in advance.
    pub const ALL: [Self; 4] =
        [Self::TooManyConnections, Self::OutOfResources, Self::AcceptFailed, Self::OutOfMemory];

    /// The reason as a metric label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::OutOfResources => "out_of_resources",
            Self::AcceptFailed => "accept_failed",
            Self::OutOfMemory => "out_of_memory",
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
    /// `maxHandshakes` were under way already.
    TooManyHandshakes,
    /// The client took nothing of what it was sent for `sendTimeout`, or by HTTP/2 nothing of a stream.
    SendTimeout,
    /// More resets or control frames came than HTTP/2 needs (`h2.resets`, `h2.controlFrames`).
    Flood,
    /// An HTTP/2 connection had no stream for `h2.idleTimeout`.
    Idle,
    /// Its task panicked, or by HTTP/2 a stream, which is a bug.
    Panicked,
    /// An HTTP/2 stream was refused: `h2.maxStreams` were open.
    StreamRefused,
}

impl ConnectionFault {
    /// Every reason, for counters made in advance.
    pub const ALL: [Self; 14] = [
        Self::Handshake,
        Self::HandshakeTimeout,
        Self::FirstByteTimeout,
        Self::HeaderTimeout,
        Self::HeadersTooLarge,
        Self::Protocol,
        Self::ClientLeft,
        Self::AnswerFailed,
        Self::TooManyHandshakes,
        Self::SendTimeout,
        Self::Flood,
        Self::Idle,
        Self::Panicked,
        Self::StreamRefused,
    ];

    /// Position in [`ConnectionFault::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

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
            Self::TooManyHandshakes => "too_many_handshakes",
            Self::SendTimeout => "send_timeout",
            Self::Flood => "flood",
            Self::Idle => "idle",
            Self::Panicked => "panicked",
            Self::StreamRefused => "stream_refused",
        }
    }
}
