//! What the access log is told of a request: half when it begins, half when it is over.

use std::time::{Duration, SystemTime};

use http::request;

use crate::routing::local::{LocalModel, LocalVersion};
use crate::stats::Observation;
use crate::telemetry::access_log::{Clipped, Entry};
use crate::wire::forward::X_REQUEST_ID;

/// What is known when the version is drawn.
pub(super) fn begun(head: &request::Parts, model: &LocalModel, version: &LocalVersion) -> Box<Entry> {
    let id = head.headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    Box::new(Entry {
        time: SystemTime::now(),
        model: Some(model.model.spec.name.clone()),
        version: Some(version.version.spec.name.clone()),
        role: Some(version.version.spec.role),
        arm: Some(version.version.spec.name.clone()),
        method: Clipped::from(head.method.as_str()),
        path: Clipped::from(head.uri.path()),
        protocol: match head.version {
            http::Version::HTTP_2 => "HTTP/2",
            http::Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        status: 0,
        grpc_status: None,
        outcome: "",
        fault: None,
        duration: Duration::ZERO,
        request_bytes: 0,
        response_bytes: 0,
        request_id: id.map(Clipped::from),
        mirrored: false,
    })
}

/// The whole line, when the request is over.
pub(super) fn finished(mut entry: Entry, status: u16, seen: &Observation) -> Entry {
    entry.status = status;
    entry.grpc_status = seen.grpc;
    entry.outcome = seen.outcome.as_str();
    entry.fault = seen.fault;
    entry.duration = Duration::from_nanos(seen.latency_ns);
    entry.request_bytes = seen.request_bytes;
    entry.response_bytes = seen.response_bytes;
    entry
}
