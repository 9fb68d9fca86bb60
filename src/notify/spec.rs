//! Who is told, as plain data. Secrets are resolved by whoever reads the configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::event::{Event, EventKind, Severity, Signal};

/// Where PagerDuty takes events, outside the EU.
pub const PAGERDUTY_URL: &str = "https://events.pagerduty.com";
/// Where Opsgenie takes alerts, outside the EU.
pub const OPSGENIE_URL: &str = "https://api.opsgenie.com";
/// Where GitHub takes calls, other than an Enterprise server.
pub const GITHUB_URL: &str = "https://api.github.com";

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// One receiver of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySpec {
    /// Its name in logs, metrics and the spool; unique.
    pub name: String,
    /// What it is and how it is reached.
    pub receiver: Receiver,
    /// Which events it gets. `None`: those that suit it, as [`NotifySpec::wants`] says.
    pub events: Option<Vec<EventKind>>,
    /// Events below this severity are not sent. What resolves is sent whatever its severity.
    pub min_severity: Severity,
    /// For one attempt: name resolution, connection, TLS, request and answer together.
    pub timeout: Duration,
    /// PEM file of the authorities to trust; without it the public web's roots are.
    pub ca: Option<PathBuf>,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment count.
    pub environment_proxy: bool,
}

/// What a receiver is. URLs that let anybody in who knows them are secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// A generic webhook: the event as JSON.
    Webhook {
        /// Where it is.
        url: Secret,
        /// Signs each request, if given.
        secret: Option<Secret>,
        /// Further header fields, as for a token.
        headers: Vec<(String, Secret)>,
    },
    /// A Slack incoming webhook, or what understands its format (Mattermost, Rocket.Chat).
    Slack {
        /// The webhook's URL.
        url: Secret,
    },
    /// PagerDuty, Events API v2.
    PagerDuty {
        /// Scheme and authority: [`PAGERDUTY_URL`] or the EU's.
        url: String,
        /// The integration key.
        routing_key: Secret,
    },
    /// Opsgenie, alert API v2.
    Opsgenie {
        /// Scheme and authority: [`OPSGENIE_URL`] or the EU's.
        url: String,
        /// The integration's API key.
        api_key: Secret,
    },
    /// Alertmanager, API v2.
    Alertmanager {
        /// Scheme, authority and route prefix, without `/api/v2`.
        url: String,
        /// The whole value of `authorization`, if one is needed.
        authorization: Option<Secret>,
        /// How long an alert lasts that nothing resolves.
        lasts: Duration,
    },
    /// A GitHub repository whose workflows run on `repository_dispatch`.
    GitHub {
        /// Scheme, authority and path prefix: [`GITHUB_URL`] or an Enterprise server's `/api/v3`.
        url: String,
        /// `owner/name`.
        repository: String,
        /// A token that may write contents of that repository.
        token: Secret,
        /// What workflows listen for, `types:`.
        event_type: String,
    },
}

impl NotifySpec {
    /// A receiver with the ordinary settings.
    pub fn new(name: impl Into<String>, receiver: Receiver) -> Self {
        Self {
            name: name.into(),
            receiver,
            events: None,
            min_severity: Severity::Info,
            timeout: Duration::from_secs(10),
            ca: None,
            environment_proxy: true,
        }
    }

    /// Whether the event is to be sent to this receiver.
    ///
    /// Unless it is configured, webhooks and chats get everything, and a repository gets what asks
    /// for a better model: a rollback, and drift. Pagers and alert managers only know alerts, so
    /// that events that neither fire nor resolve are never sent to them.
    pub fn wants(&self, event: &Event) -> bool {
        let signal = event.kind.signal();
        let pages = matches!(
            self.receiver,
            Receiver::PagerDuty { .. } | Receiver::Opsgenie { .. } | Receiver::Alertmanager { .. }
        );
        if pages && signal == Signal::News {
            return false;
        }
        if signal != Signal::Resolved && event.severity < self.min_severity {
            return false;
        }
        match (&self.events, &self.receiver) {
            (Some(kinds), _) => kinds.contains(&event.kind),
            (None, Receiver::GitHub { .. }) => {
                matches!(event.kind, EventKind::RolledBack | EventKind::DriftDetected)
            }
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{event, every_receiver};
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        for receiver in every_receiver("http://127.0.0.1:1") {
            let shown = format!("{:?}", NotifySpec::new("ops", receiver));
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn pagers_get_only_what_opens_or_closes_something() {
        for receiver in every_receiver("http://127.0.0.1:1") {
            let spec = NotifySpec::new("ops", receiver);
            let got = |kind| spec.wants(&event(kind));
            assert!(got(EventKind::RolledBack), "{spec:?}");
            let (chat, repository) = match spec.receiver {
                Receiver::Webhook { .. } | Receiver::Slack { .. } => (true, false),
                Receiver::GitHub { .. } => (false, true),
                _ => (false, false),
            };
            assert_eq!(got(EventKind::StepEntered), chat, "{spec:?}");
            assert_eq!(got(EventKind::Succeeded), !repository, "{spec:?}");
        }
    }

    #[test]
    fn a_severity_keeps_out_what_fires_but_not_what_resolves() {
        let url = Secret::new("http://127.0.0.1:1");
        let mut spec = NotifySpec::new("ops", Receiver::Slack { url });
        spec.min_severity = Severity::Critical;
        let held = Event { severity: Severity::Warning, ..event(EventKind::Held) };
        let done = Event { severity: Severity::Info, ..event(EventKind::Succeeded) };
        assert!(!spec.wants(&held));
        assert!(spec.wants(&done));
        spec.events = Some(vec![EventKind::RolledBack]);
        assert!(!spec.wants(&done));
    }
}
