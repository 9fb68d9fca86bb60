//! Who is told: one kind of receiver each, its secrets resolved.

use std::path::Path;

use http::HeaderName;

use crate::notify::{GITHUB_URL, NotifySpec, OPSGENIE_URL, PAGERDUTY_URL, Receiver, Secret, Signal};

use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, List};
use super::super::text::{BaseUrlText, EnvironmentText, PathText, WebhookUrlText};
use super::super::url;
use super::secrets::Source;
use super::{Unique, files, headers, set_time};

/// All receivers.
pub(super) fn notifications(
    list: &List<raw::Notification, 0, 32>,
    base: &Path,
    report: &mut Report,
) -> Vec<NotifySpec> {
    let mut names = Unique::default();
    let mut specs = Vec::new();
    for item in &list.items {
        if let Some(name) = item.value.name.given() {
            names.add("notification", &name.value.0, &name.at, report);
        }
        specs.extend(notification(&item.value, base, report));
    }
    specs
}

fn notification(raw: &raw::Notification, base: &Path, report: &mut Report) -> Option<NotifySpec> {
    let written = [
        ("webhook", raw.webhook.is_missing()),
        ("slack", raw.slack.is_missing()),
        ("pagerDuty", raw.pager_duty.is_missing()),
        ("opsgenie", raw.opsgenie.is_missing()),
        ("alertmanager", raw.alertmanager.is_missing()),
        ("gitHub", raw.git_hub.is_missing()),
    ];
    let ca = files::existing(&raw.ca, base, report);
    super::exactly_one("kind of receiver", &written, &raw.at, report)?;
    let mut from = From { base, report };
    let receiver = None
        .or_else(|| raw.webhook.get().and_then(|raw| from.webhook(raw)))
        .or_else(|| raw.slack.get().and_then(|raw| from.slack(raw)))
        .or_else(|| raw.pager_duty.get().and_then(|raw| from.pager_duty(raw)))
        .or_else(|| raw.opsgenie.get().and_then(|raw| from.opsgenie(raw)))
        .or_else(|| raw.alertmanager.get().and_then(|raw| from.alertmanager(raw)))
        .or_else(|| raw.git_hub.get().and_then(|raw| from.git_hub(raw)));
    let alerts = !raw.pager_duty.is_missing() || !raw.opsgenie.is_missing() || !raw.alertmanager.is_missing();
    let events = raw.events.get().map(|list| list.items.as_slice()).unwrap_or_default();
    for item in events.iter().filter(|item| alerts && item.value.0.signal() == Signal::News) {
        let message = format!("{} neither opens nor closes an alert, and is not sent there", item.at.written);
        from.report.wrong(&item.at, message, "remove it");
    }
    let mut spec = NotifySpec::new(raw.name.get()?.0.clone(), receiver?);
    spec.events = raw.events.get().map(|list| list.items.iter().map(|item| item.value.0).collect());
    spec.min_severity = raw.min_severity.get().map_or(spec.min_severity, |severity| severity.0);
    set_time(&mut spec.timeout, &raw.timeout);
    spec.ca = ca;
    spec.environment_proxy = raw.environment_proxy.get().is_none_or(|flag| flag.0);
    Some(spec)
}

/// A URL that may be a secret.
struct Url<'r> {
    url: &'r Field<WebhookUrlText>,
    file: &'r Field<PathText>,
    env: &'r Field<EnvironmentText>,
}

struct From<'a> {
    base: &'a Path,
    report: &'a mut Report,
}

impl From<'_> {
    fn webhook(&mut self, raw: &raw::Webhook) -> Option<Receiver> {
        let url = self.url(&Url { url: &raw.url, file: &raw.url_file, env: &raw.url_env }, &raw.at);
        let secret = Source {
            file_key: "secretFile",
            file: &raw.secret_file,
            env_key: "secretEnv",
            env: &raw.secret_env,
        };
        let secret = secret.optional(self.base, self.report).map(|found| found.secret);
        let authorization = self.token(&raw.token_file, &raw.token_env);
        let mut fields = Vec::new();
        for (key, value) in raw.headers.get().map(|pairs| pairs.0.as_slice()).unwrap_or_default() {
            let Ok(name) = HeaderName::try_from(key.value.as_str()) else {
                let message = format!("{:?} is not the name of a header", key.at.written);
                self.report.wrong(&key.at, message, "use letters, digits and '-', such as \"x-team\"");
                continue;
            };
            if name == http::header::AUTHORIZATION {
                let fix = "write tokenFile or tokenEnv: secrets do not belong here";
                self.report.wrong(&key.at, "a token in the open", fix);
            } else if name == http::header::HOST {
                self.report.wrong(&key.at, "the header \"host\" is that of the URL", "remove it");
            } else if headers::may_change(&name, &key.at, self.report) {
                // A header's text is visible ASCII here, as `HeaderValue` reads it from text.
                let value = value.0.to_str().unwrap_or_default();
                fields.push((name.to_string(), Secret::new(value)));
            }
        }
        fields.extend(authorization.map(|value| ("authorization".to_owned(), value)));
        Some(Receiver::Webhook { url: url?, secret, headers: fields })
    }

    fn slack(&mut self, raw: &raw::Slack) -> Option<Receiver> {
        let url = self.url(&Url { url: &raw.url, file: &raw.url_file, env: &raw.url_env }, &raw.at);
        Some(Receiver::Slack { url: url? })
    }

    fn pager_duty(&mut self, raw: &raw::PagerDuty) -> Option<Receiver> {
        let routing_key = self.key(&raw.key_file, &raw.key_env, &raw.at)?;
        Some(Receiver::PagerDuty { url: base_url(&raw.url, PAGERDUTY_URL)?, routing_key })
    }

    fn opsgenie(&mut self, raw: &raw::Opsgenie) -> Option<Receiver> {
        let api_key = self.key(&raw.key_file, &raw.key_env, &raw.at)?;
        Some(Receiver::Opsgenie { url: base_url(&raw.url, OPSGENIE_URL)?, api_key })
    }

    fn alertmanager(&mut self, raw: &raw::Alertmanager) -> Option<Receiver> {
        let authorization = self.token(&raw.token_file, &raw.token_env);
        let mut lasts = std::time::Duration::from_secs(24 * 3_600);
        set_time(&mut lasts, &raw.lasts);
        Some(Receiver::Alertmanager { url: raw.url.get()?.0.clone(), authorization, lasts })
    }

    fn git_hub(&mut self, raw: &raw::GitHub) -> Option<Receiver> {
        let source =
            Source { file_key: "tokenFile", file: &raw.token_file, env_key: "tokenEnv", env: &raw.token_env };
        let token = source.required(&raw.at, self.base, self.report)?.secret;
        Some(Receiver::GitHub {
            url: base_url(&raw.url, GITHUB_URL)?,
            repository: raw.repository.get()?.0.clone(),
            token,
            event_type: raw.event_type.get().map_or_else(|| "switchback".to_owned(), |text| text.0.clone()),
        })
    }

    fn key(&mut self, file: &Field<PathText>, env: &Field<EnvironmentText>, at: &At) -> Option<Secret> {
        let source = Source { file_key: "keyFile", file, env_key: "keyEnv", env };
        Some(source.required(at, self.base, self.report)?.secret)
    }

    /// The value of `authorization` for a bearer token.
    fn token(&mut self, file: &Field<PathText>, env: &Field<EnvironmentText>) -> Option<Secret> {
        let source = Source { file_key: "tokenFile", file, env_key: "tokenEnv", env };
        let token = source.optional(self.base, self.report)?.secret;
        Some(Secret::new(format!("Bearer {}", token.expose())))
    }

    fn url(&mut self, from: &Url<'_>, at: &At) -> Option<Secret> {
        let source = Source { file_key: "urlFile", file: from.file, env_key: "urlEnv", env: from.env };
        let written = [
            ("url", from.url.is_missing()),
            ("urlFile", from.file.is_missing()),
            ("urlEnv", from.env.is_missing()),
        ];
        super::exactly_one("source of the URL", &written, at, self.report)?;
        if !source.is_written() {
            return from.url.get().map(|url| Secret::new(url.0.clone()));
        }
        let found = source.optional(self.base, self.report)?;
        match url::web(found.secret.expose(), true) {
            Ok(url) => Some(Secret::new(url)),
            Err((message, fix)) => {
                self.report.wrong(&found.at, message, fix);
                None
            }
        }
    }
}

/// The URL that is written, or where the service usually is.
fn base_url(field: &Field<BaseUrlText>, usual: &str) -> Option<String> {
    match field.is_missing() {
        true => Some(usual.to_owned()),
        false => field.get().map(|url| url.0.clone()),
    }
}
