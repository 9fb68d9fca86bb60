//! What may pass from one side to the other.
use crate::base::Fault;
use http::{HeaderMap, HeaderValue, Version};

/// What a client asked for by headers that are not passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// `Upgrade`, where the client may and does ask for it.
    pub upgrade: Option<HeaderValue>,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// A gRPC call.
    pub grpc: bool,
    /// `TE: trailers`.
    pub trailers: bool,
}

/// Checks and normalises a client's request.
///
/// # Errors
/// BadRequest, NotImplemented.
pub fn request(parts: &mut http::request::Parts) -> Result<Asked, Fault> {
    let _ = parts;
    Ok(Asked::default())
}

/// Normalises a version's answer.
///
/// # Errors
/// UpstreamProtocol.
pub fn response(parts: &mut http::response::Parts, downstream: Version) -> Result<(), Fault> {
    parts.version = downstream;
    Ok(())
}

/// Puts a client's upgrade back on the request to an HTTP/1.1 upstream.
pub fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    let _ = (headers, protocol);
}
