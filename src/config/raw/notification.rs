//! Who is told what happens.
//!
//! Secrets are never written here: they come from a file or from the environment.

use super::super::choice::Choice;
use super::super::read::{List, Pairs, section};
use super::super::scalar::{Flag, Time};
use super::super::text::{
    BaseUrlText, EnvironmentText, ForeignText, HeaderValueText, NameText, PathText, RepositoryText,
    WebhookUrlText,
};
use super::{DAY, HOUR, SECOND};
use crate::notify::{EventKind, Severity};

section! {
    /// One receiver of news: exactly one kind.
    #[schemars(extend("oneOf" = [
        { "required": ["webhook"] },
        { "required": ["slack"] },
        { "required": ["pagerDuty"] },
        { "required": ["opsgenie"] },
        { "required": ["alertmanager"] },
        { "required": ["gitHub"] },
    ]))]
    Notification {
        required {
            /// Name in logs and metrics.
            name: NameText,
        }
        optional {
            /// A generic webhook: the event as JSON.
            webhook: Webhook,
            /// A Slack incoming webhook, or what understands its format.
            slack: Slack,
            /// PagerDuty, Events API v2.
            pager_duty: PagerDuty,
            /// Opsgenie, alert API v2.
            opsgenie: Opsgenie,
            /// Alertmanager, API v2.
            alertmanager: Alertmanager,
            /// A GitHub repository whose workflows run on `repository_dispatch`.
            git_hub: GitHub,
            /// Which events it gets. Default: webhooks and Slack all, GitHub rollbacks and drift, the
            /// others what opens or closes an alert; more than that they never get.
            events: List<Choice<EventKind>, 1, 64>,
            /// Less severe events are not sent; what closes something is.
            #[schemars(extend("default" = "info"))]
            min_severity: Choice<Severity>,
            /// For one attempt: connection, request and answer together.
            #[schemars(extend("default" = "10s"))]
            timeout: Time<{ SECOND / 10 }, { HOUR / 12 }>,
            /// PEM file of the authorities to trust. Relative to the folder of this file. Default: the
            /// public web's.
            ca: PathText,
            /// Whether `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` of the environment count.
            #[schemars(extend("default" = true))]
            environment_proxy: Flag,
        }
    }
}

section! {
    /// A generic webhook. Exactly one of `url`, `urlFile` and `urlEnv`.
    #[schemars(extend("oneOf" = [
        { "required": ["url"] },
        { "required": ["urlFile"] },
        { "required": ["urlEnv"] },
    ]))]
    Webhook {
        required {}
        optional {
            /// Where it is.
            url: WebhookUrlText,
            /// File that holds the URL.
            url_file: PathText,
            /// Environment variable that holds the URL.
            url_env: EnvironmentText,
            /// File that holds the key which signs each request (HMAC-SHA256).
            secret_file: PathText,
            /// Environment variable that holds that key.
            secret_env: EnvironmentText,
            /// File that holds a bearer token.
            token_file: PathText,
            /// Environment variable that holds a bearer token.
            token_env: EnvironmentText,
            /// Further header fields, none of them secret.
            headers: Pairs<HeaderValueText>,
        }
    }
}

section! {
    /// Slack. Exactly one of `url`, `urlFile` and `urlEnv`; who knows the URL can post.
    #[schemars(extend("oneOf" = [
        { "required": ["url"] },
        { "required": ["urlFile"] },
        { "required": ["urlEnv"] },
    ]))]
    Slack {
        required {}
        optional {
            /// The webhook's URL.
            url: WebhookUrlText,
            /// File that holds it.
            url_file: PathText,
            /// Environment variable that holds it.
            url_env: EnvironmentText,
        }
    }
}

section! {
    /// PagerDuty. Exactly one of `keyFile` and `keyEnv`.
    #[schemars(extend("oneOf" = [{ "required": ["keyFile"] }, { "required": ["keyEnv"] }]))]
    PagerDuty {
        required {}
        optional {
            /// Where it takes events.
            #[schemars(extend("default" = "https://events.pagerduty.com"))]
            url: BaseUrlText,
            /// File that holds the integration key.
            key_file: PathText,
            /// Environment variable that holds it.
            key_env: EnvironmentText,
        }
    }
}

section! {
    /// Opsgenie. Exactly one of `keyFile` and `keyEnv`.
    #[schemars(extend("oneOf" = [{ "required": ["keyFile"] }, { "required": ["keyEnv"] }]))]
    Opsgenie {
        required {}
        optional {
            /// Where it takes alerts.
            #[schemars(extend("default" = "https://api.opsgenie.com"))]
            url: BaseUrlText,
            /// File that holds the integration's API key.
            key_file: PathText,
            /// Environment variable that holds it.
            key_env: EnvironmentText,
        }
    }
}

section! {
    /// Alertmanager.
    Alertmanager {
        required {
            /// Scheme, host and route prefix, without `/api/v2`.
            url: BaseUrlText,
        }
        optional {
            /// File that holds a bearer token.
            token_file: PathText,
            /// Environment variable that holds a bearer token.
            token_env: EnvironmentText,
            /// How long an alert lasts that nothing closes.
            #[schemars(extend("default" = "24h"))]
            lasts: Time<{ 60 * SECOND }, { 31 * DAY }>,
        }
    }
}

section! {
    /// GitHub. Exactly one of `tokenFile` and `tokenEnv`.
    #[schemars(extend("oneOf" = [{ "required": ["tokenFile"] }, { "required": ["tokenEnv"] }]))]
    GitHub {
        required {
            /// `OWNER/NAME`.
            repository: RepositoryText,
        }
        optional {
            /// Where it takes calls; for an Enterprise server with `/api/v3`.
            #[schemars(extend("default" = "https://api.github.com"))]
            url: BaseUrlText,
            /// File that holds a token which may write the repository's contents.
            token_file: PathText,
            /// Environment variable that holds it.
            token_env: EnvironmentText,
            /// What workflows listen for, `types:`.
            #[schemars(extend("default" = "switchback"))]
            event_type: ForeignText,
        }
    }
}
