//! PagerDuty's Events API v2: an incident per model, opened and resolved by its key.

use serde_json::json;

use super::{Request, clip, join, moment, resolves};
use crate::notify::event::Event;
use crate::notify::spec::Secret;

/// A summary may have 1024 characters, a key 255.
const SUMMARY: usize = 1_024;
const KEY: usize = 255;

pub(super) fn request(url: &str, routing_key: &Secret, event: &Event) -> Request {
    let mut body = json!({
        "routing_key": routing_key.expose(),
        "event_action": if resolves(event) { "resolve" } else { "trigger" },
        "dedup_key": clip(&event.key(), KEY),
        "client": "Switchback",
        "payload": {
            "summary": clip(&event.headline(), SUMMARY),
            "source": event.instance,
            "severity": event.severity.as_str(),
            "timestamp": moment(event.at_ms),
            "component": event.model,
            "group": event.kind.topic().as_str(),
            "class": event.kind.as_str(),
            "custom_details": {
                "rollout": event.rollout,
                "from": event.from,
                "to": event.to,
                "verdict": event.verdict,
                "evidence": event.evidence,
            },
        },
    });
    if let (Some(link), Some(fields)) = (&event.link, body.as_object_mut()) {
        fields.insert("client_url".to_owned(), json!(link));
        fields.insert("links".to_owned(), json!([{ "href": link, "text": "Details" }]));
    }
    Request::json(join(url, "/v2/enqueue"), &body)
}
