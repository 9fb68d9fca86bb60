//! Alertmanager's API v2: an alert per model and severity.
//!
//! Alertmanager knows an alert by its labels and expects it again and again while it fires. An
//! event comes once, so that the alert is given an end far ahead, and a resolution, or an alert of
//! the other severity, gives it one that is over.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Request, join, moment, resolves};
use crate::notify::event::{Event, Severity, Topic};
use crate::notify::spec::Secret;

/// The severities that alerts are sent with. What fires is at least a warning.
const SEVERITIES: [Severity; 2] = [Severity::Warning, Severity::Critical];

pub(super) fn request(url: &str, authorization: Option<&Secret>, lasts: Duration, event: &Event) -> Request {
    let severity = event.severity.max(Severity::Warning);
    let alerts: Vec<Value> = SEVERITIES
        .into_iter()
        .map(|each| {
            let fires = each == severity && !resolves(event);
            let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
            let end_ms = if fires { event.at_ms.saturating_add(lasts_ms) } else { event.at_ms };
            let mut alert = json!({
                "labels": labels(event, each),
                "annotations": annotations(event),
                "startsAt": moment(event.at_ms),
                "endsAt": moment(end_ms),
            });
            if let (Some(link), Some(fields)) = (&event.link, alert.as_object_mut()) {
                fields.insert("generatorURL".to_owned(), json!(link));
            }
            alert
        })
        .collect();
    let request = Request::json(join(url, "/api/v2/alerts"), &Value::Array(alerts));
    match authorization {
        Some(value) => request.with("authorization", value.expose()),
        None => request,
    }
}

/// Only what is the same in the alert and in its resolution: no version, no rollout, no kind.
fn labels(event: &Event, severity: Severity) -> Value {
    let topic = event.kind.topic();
    let name = match topic {
        Topic::Rollout => "SwitchbackRollout",
        Topic::Drift => "SwitchbackDrift",
        Topic::Store => "SwitchbackStore",
    };
    let mut labels = Map::new();
    labels.insert("alertname".to_owned(), name.into());
    labels.insert("severity".to_owned(), severity.as_str().into());
    match (topic, &event.model) {
        (Topic::Rollout | Topic::Drift, Some(model)) => labels.insert("model".to_owned(), json!(model)),
        _ => labels.insert("instance".to_owned(), json!(event.instance)),
    };
    labels.into()
}

/// Annotations are texts; one that is not known is left out.
fn annotations(event: &Event) -> Value {
    let kind = Some(event.kind.as_str().to_owned());
    let evidence = (!event.evidence.is_null()).then(|| event.evidence.to_string());
    let known = [
        ("summary", Some(event.headline())),
        ("event", kind),
        ("instance", Some(event.instance.clone())),
        ("rollout", event.rollout.clone()),
        ("from", event.from.clone()),
        ("to", event.to.clone()),
        ("verdict", event.verdict.clone()),
        ("evidence", evidence),
    ];
    let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    known.collect::<Map<String, Value>>().into()
}
