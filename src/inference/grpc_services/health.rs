//! `grpc.health.v1`: whether a server, or one service of it, takes calls.

use prost::Message;

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthRequest {
    /// The service asked about; empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HealthAnswer {
    /// How it is.
    #[prost(enumeration = "Serving", tag = "1")]
    pub status: i32,
}

/// `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Serving {
    /// Nobody knows.
    Unknown = 0,
    /// It takes calls.
    Yes = 1,
    /// It does not.
    No = 2,
    /// There is no such service. Only watchers are told so; a check fails with NOT_FOUND.
    NoSuchService = 3,
}
