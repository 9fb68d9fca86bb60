//! GitHub's `repository_dispatch`: starts the workflows of a repository, as for retraining.

use serde_json::json;

use super::{Request, clip, join, moment};
use crate::notify::event::Event;
use crate::notify::spec::Secret;

/// The version of the REST API that this is written for.
const API_VERSION: &str = "2022-11-28";
/// An event type may have 100 characters.
const EVENT_TYPE: usize = 100;

pub(super) fn request(
    url: &str,
    repository: &str,
    token: &Secret,
    event_type: &str,
    event: &Event,
) -> Request {
    let body = json!({
        "event_type": clip(event_type, EVENT_TYPE),
        // GitHub takes ten fields at most here. These are ten.
        "client_payload": {
            "kind": event.kind,
            "model": event.model,
            "rollout": event.rollout,
            "from": event.from,
            "to": event.to,
            "verdict": event.verdict,
            "sentence": event.sentence,
            "evidence": event.evidence,
            "link": event.link,
            "event": {
                "id": event.id,
                "at": moment(event.at_ms),
                "severity": event.severity,
                "instance": event.instance,
            },
        },
    });
    Request::json(join(url, &format!("/repos/{repository}/dispatches")), &body)
        .with("accept", "application/vnd.github+json")
        .with("authorization", format!("Bearer {}", token.expose()))
        .with("x-github-api-version", API_VERSION)
}
