//! Opsgenie's alert API v2: an alert per model, created and closed by its alias.

use serde_json::{Map, Value, json};

use super::{Request, clip, encode, join, resolves};
use crate::notify::event::{Event, Severity};
use crate::notify::spec::Secret;

/// Opsgenie's limits, in characters.
const MESSAGE: usize = 130;
const DESCRIPTION: usize = 15_000;
const ALIAS: usize = 512;
const SOURCE: usize = 100;
/// All details together may have 8000.
const DETAIL: usize = 1_000;
const EVIDENCE: usize = 3_000;

pub(super) fn request(url: &str, api_key: &Secret, event: &Event) -> Request {
    let alias = clip(&event.key(), ALIAS);
    let source = clip(&event.instance, SOURCE);
    let request = if resolves(event) {
        let path = format!("/v2/alerts/{}/close?identifierType=alias", encode(&alias));
        let body = json!({ "source": source, "note": clip(&event.headline(), DESCRIPTION) });
        Request::json(join(url, &path), &body)
    } else {
        let body = json!({
            "message": clip(&event.headline(), MESSAGE),
            "alias": alias,
            "description": description(event),
            "source": source,
            "entity": clip(event.model.as_deref().unwrap_or(&event.instance), ALIAS),
            "tags": ["switchback", event.kind.topic().as_str(), event.kind.as_str()],
            "priority": match event.severity {
                Severity::Critical => "P1",
                Severity::Warning => "P3",
                Severity::Info => "P5",
            },
            "details": details(event),
        });
        Request::json(join(url, "/v2/alerts"), &body)
    };
    request.with("authorization", format!("GenieKey {}", api_key.expose()))
}

fn description(event: &Event) -> String {
    let mut text = event.sentence.clone();
    if let Some(link) = &event.link {
        text.push('\n');
        text.push_str(link);
    }
    clip(&text, DESCRIPTION)
}

/// Details are texts.
fn details(event: &Event) -> Value {
    let known =
        [("rollout", &event.rollout), ("from", &event.from), ("to", &event.to), ("verdict", &event.verdict)];
    let mut details: Map<String, Value> = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), clip(value.as_ref()?, DETAIL).into())))
        .collect();
    if !event.evidence.is_null() {
        details.insert("evidence".to_owned(), clip(&event.evidence.to_string(), EVIDENCE).into());
    }
    details.into()
}
