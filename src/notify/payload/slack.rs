//! Slack's incoming webhooks: a text for notifications and Block Kit for the channel.

use serde_json::json;

use super::{Request, clip, moment};
use crate::notify::event::{Event, Severity, Signal};
use crate::notify::spec::Secret;

/// A section's text may have 3000 characters.
const TEXT: usize = 3_000;
/// A link longer than this would leave too little of them to the text, and is left out.
const LINK: usize = 1_000;

pub(super) fn request(url: &Secret, event: &Event) -> Request {
    let mark = match (event.kind.signal(), event.severity) {
        (Signal::Resolved, _) => ":white_check_mark:",
        (_, Severity::Critical) => ":red_circle:",
        (_, Severity::Warning) => ":warning:",
        (_, Severity::Info) => ":information_source:",
    };
    let subject = event.model.as_deref().unwrap_or(&event.instance);
    let text = format!("{mark} *{}*: {}", escape(subject), escape(&event.sentence));
    let link = event.link.as_deref().map(|link| format!(" <{}|Details>", escape(link)));
    let link = link.filter(|link| link.chars().count() <= LINK).unwrap_or_default();
    // Cut before the link is added: half a link would be shown as text.
    let text = clip(&text, TEXT - link.chars().count()) + &link;
    let change = match (&event.from, &event.to) {
        (Some(from), Some(to)) => Some(format!("{from} → {to}")),
        _ => None,
    };
    let facts = [
        change,
        event.verdict.as_ref().map(|verdict| format!("verdict {verdict}")),
        event.rollout.as_ref().map(|rollout| format!("rollout {rollout}")),
        Some(event.instance.clone()),
        Some(moment(event.at_ms)),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let body = json!({
        "text": clip(&escape(&event.headline()), TEXT),
        "blocks": [
            { "type": "section", "text": { "type": "mrkdwn", "text": text } },
            { "type": "context", "elements": [
                { "type": "mrkdwn", "text": clip(&escape(&facts.join(" · ")), TEXT) },
            ] },
        ],
    });
    Request::json(url.expose().to_owned(), &body)
}

/// The three characters that Slack's markup takes for its own.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
