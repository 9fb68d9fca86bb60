//! What the errors of hyper and h2 mean: the one place where they become faults.

use std::error::Error;
use std::io;

use super::Target;
use crate::base::{Fault, FaultKind};

/// The fault of a request that got no answer because of `error`.
pub(super) fn before_answer(target: &Target, error: &hyper::Error) -> Fault {
    if let Some(fault) = of_request_body(error) {
        return fault;
    }
    let (kind, what) = classify(error);
    match kind {
        FaultKind::UpstreamProtocol if error.is_parse_too_large() => {
            let limit = target.spec().max_header_bytes;
            Fault::new(kind, format!("the head of the answer of {target} is larger than {limit} bytes"))
        }
        FaultKind::UpstreamProtocol => {
            Fault::new(kind, format!("the answer of {target} breaks its protocol: {what}"))
        }
        _ => Fault::new(kind, format!("{target} closed before an answer: {what}")),
    }
}

/// The fault of an answer whose body ended early because of `error`.
pub(super) fn in_answer(error: &hyper::Error) -> Fault {
    if let Some(fault) = of_request_body(error) {
        return fault;
    }
    in_body(classify(error))
}

fn in_body((kind, what): (FaultKind, String)) -> Fault {
    match kind {
        FaultKind::UpstreamProtocol => {
            Fault::new(kind, format!("the body of the answer breaks its protocol: {what}"))
        }
        _ => Fault::new(kind, format!("the upstream closed before the end of its answer: {what}")),
    }
}

/// The fault that the request's own body raised, where that is what failed.
fn of_request_body(error: &hyper::Error) -> Option<Fault> {
    find::<Fault>(error).cloned()
}

/// The fault of a request by HTTP/2 that got no answer because of `error`, or because the peer is
/// `silent`.
#[cold]
pub(super) fn before_answer_http2(target: &Target, error: &h2::Error, silent: bool) -> Fault {
    let (kind, what) = classify_http2(error, silent);
    match kind {
        FaultKind::UpstreamProtocol => {
            Fault::new(kind, format!("the answer of {target} breaks its protocol: {what}"))
        }
        _ => Fault::new(kind, format!("{target} closed before an answer: {what}")),
    }
}

/// The fault of an answer by HTTP/2 whose body ended early because of `error`, or because the peer
/// is `silent`.
#[cold]
pub(super) fn in_answer_http2(error: &h2::Error, silent: bool) -> Fault {
    in_body(classify_http2(error, silent))
}

/// Whether the upstream says that it has not looked at the request (RFC 9113 section 8.7): it
/// refused the stream, or said goodbye (sections 6.8 and 8.7) before it. `h2` gives the goodbye's
/// error to the streams that it does not cover, and only to them where it says NO_ERROR.
pub(super) fn is_refused(error: &h2::Error) -> bool {
    let reason = if error.is_go_away() { h2::Reason::NO_ERROR } else { h2::Reason::REFUSED_STREAM };
    error.is_remote() && error.reason() == Some(reason)
}

/// Whether what the peer sent first was no HTTP/2: the `HTT` of a status line is the length of a frame
/// that nobody allows.
pub(super) fn is_other_protocol(error: &h2::Error) -> bool {
    !error.is_remote() && error.reason() == Some(h2::Reason::FRAME_SIZE_ERROR)
}

fn classify_http2(error: &h2::Error, silent: bool) -> (FaultKind, String) {
    if silent {
        return (FaultKind::UpstreamReset, "it does not answer pings".to_owned());
    }
    let broken = error.is_library() && !error.is_io();
    let kind = if broken { FaultKind::UpstreamProtocol } else { FaultKind::UpstreamReset };
    (kind, error.to_string())
}

fn classify(error: &hyper::Error) -> (FaultKind, String) {
    if error.is_parse() {
        return (FaultKind::UpstreamProtocol, error.to_string());
    }
    if let Some(error) = find::<io::Error>(error) {
        let kind = match error.kind() {
            // hyper's chunk decoder speaks so.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => FaultKind::UpstreamProtocol,
            _ => FaultKind::UpstreamReset,
        };
        return (kind, error.to_string());
    }
    if error.is_user() {
        return (FaultKind::Internal, error.to_string());
    }
    // What is left: an incomplete message, a closed or cancelled connection.
    (FaultKind::UpstreamReset, error.to_string())
}

/// The first error of type `T` in the chain of causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
