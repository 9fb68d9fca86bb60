//! What is sent to whom: one request per event and receiver, in the format that the receiver
//! documents. Pure: the time is an argument, and nothing is sent here.

mod alertmanager;
mod github;
mod opsgenie;
mod pagerduty;
mod slack;
mod webhook;

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::event::{Event, Signal};
use super::spec::{NotifySpec, Receiver};
use crate::telemetry::rfc3339;

/// A request to be sent by POST. It carries secrets, so that it is not shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub url: String,
    /// Header fields beside those of the connection, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, JSON.
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Request {
    fn json(url: String, body: &Value) -> Self {
        Self { url, headers: vec![header("content-type", "application/json")], body: body.to_string().into() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The request that tells the receiver of `spec` of `event`. `delivery` is the same on every
/// attempt, `now_ms` (since 1970) is the attempt's own.
pub fn payload(spec: &NotifySpec, event: &Event, delivery: &str, now_ms: u64) -> Request {
    match &spec.receiver {
        Receiver::Webhook { url, secret, headers } => {
            webhook::request(url, secret.as_ref(), headers, event, delivery, now_ms)
        }
        Receiver::Slack { url } => slack::request(url, event),
        Receiver::PagerDuty { url, routing_key } => pagerduty::request(url, routing_key, event),
        Receiver::Opsgenie { url, api_key } => opsgenie::request(url, api_key, event),
        Receiver::Alertmanager { url, authorization, lasts } => {
            alertmanager::request(url, authorization.as_ref(), *lasts, event)
        }
        Receiver::GitHub { url, repository, token, event_type } => {
            github::request(url, repository, token, event_type, event)
        }
    }
}

/// `base` without a slash at its end, and `path`.
fn join(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

/// The first `most` characters of `text`, the last of them an ellipsis if there are more.
fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A moment as RFC 3339 writes it.
fn moment(at_ms: u64) -> String {
    rfc3339(UNIX_EPOCH.checked_add(Duration::from_millis(at_ms)).unwrap_or(UNIX_EPOCH))
}

/// `text` in a path segment (RFC 3986): everything but unreserved characters is encoded.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn resolves(event: &Event) -> bool {
    event.kind.signal() == Signal::Resolved
}

#[cfg(test)]
mod tests;
