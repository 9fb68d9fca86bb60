//! Who is told and who may ask: receivers, tokens, and where their secrets come from.

use std::process::Command;
use std::time::Duration;

use switchback::config::{self, AdminRole, Config};
use switchback::notify::{EventKind, NotifySpec, Receiver, Secret, Severity};

use super::{folder, good};

const MODEL: &str = "models: [{name: m, versions: [{name: a, upstream: {url: \"http://h:1\"}}]}]\n";

/// Reads these sections, with files in `folder` named and filled as given.
fn read(sections: &str, files: &[(&str, &[u8])]) -> Result<Config, String> {
    let folder = folder();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    config::parse(&format!("{sections}\n{MODEL}"), folder.path()).map_err(|errors| {
        assert!(!format!("{errors} {errors:?}").contains("s3cret"), "{errors}");
        errors.to_string().replace(&folder.path().display().to_string(), "DIR")
    })
}

fn receiver(text: &str) -> Receiver {
    let read = read(&format!("notifications: [{{name: n, {text}}}]"), &[]);
    read.unwrap_or_else(|errors| panic!("{text}\n{errors}")).notifications[0].receiver.clone()
}

#[test]
fn every_kind_of_receiver_arrives_with_its_secrets() {
    let secret = |text: &str| Secret::new(text);
    let token = || secret("the-secret-of-token");
    for (text, expected) in [
        (
            "webhook: {url: \"https://h/a?b=c\"}",
            Receiver::Webhook { url: secret("https://h/a?b=c"), secret: None, headers: vec![] },
        ),
        (
            "webhook: {urlFile: secrets/slack, secretFile: secrets/sign, tokenFile: secrets/token, headers: {X-Team: r}}",
            Receiver::Webhook {
                url: secret("https://hooks.slack.example/services/T0/B0/x"),
                secret: Some(secret("the-secret-of-sign")),
                headers: vec![
                    ("x-team".to_owned(), secret("r")),
                    ("authorization".to_owned(), secret("Bearer the-secret-of-token")),
                ],
            },
        ),
        (
            "slack: {urlFile: secrets/slack}",
            Receiver::Slack { url: secret("https://hooks.slack.example/services/T0/B0/x") },
        ),
        (
            "pagerDuty: {keyFile: secrets/token}",
            Receiver::PagerDuty { url: "https://events.pagerduty.com".to_owned(), routing_key: token() },
        ),
        (
            "pagerDuty: {url: \"https://events.eu.pagerduty.com/\", keyFile: secrets/token}",
            Receiver::PagerDuty { url: "https://events.eu.pagerduty.com".to_owned(), routing_key: token() },
        ),
        (
            "opsgenie: {keyFile: secrets/token}",
            Receiver::Opsgenie { url: "https://api.opsgenie.com".to_owned(), api_key: token() },
        ),
        (
            "alertmanager: {url: \"http://h:9093/am/\", tokenFile: secrets/token, lasts: 2h}",
            Receiver::Alertmanager {
                url: "http://h:9093/am".to_owned(),
                authorization: Some(secret("Bearer the-secret-of-token")),
                lasts: Duration::from_secs(7_200),
            },
        ),
        (
            "gitHub: {url: \"https://git.example/api/v3\", repository: acme/fraud, tokenFile: secrets/token, eventType: retrain}",
            Receiver::GitHub {
                url: "https://git.example/api/v3".to_owned(),
                repository: "acme/fraud".to_owned(),
                token: token(),
                event_type: "retrain".to_owned(),
            },
        ),
    ] {
        assert_eq!(receiver(text), expected, "{text}");
    }
}

#[test]
fn what_all_receivers_have_arrives() {
    let config = read(
        "notifications: [{name: n, slack: {url: \"https://h/x\"}}, {name: o, slack: {url: \"https://h/x\"}, \
         events: [promoted, rolledBack], minSeverity: warning, timeout: 3s, ca: ca.pem, environmentProxy: false}]",
        &[],
    )
    .unwrap();
    let slack = || Receiver::Slack { url: Secret::new("https://h/x") };
    assert_eq!(config.notifications[0], NotifySpec::new("n", slack()));
    let found = &config.notifications[1];
    assert!(found.ca.as_ref().is_some_and(|ca| ca.ends_with("ca.pem")));
    let expected = NotifySpec {
        events: Some(vec![EventKind::Promoted, EventKind::RolledBack]),
        min_severity: Severity::Warning,
        timeout: Duration::from_secs(3),
        ca: found.ca.clone(),
        environment_proxy: false,
        ..NotifySpec::new("o", slack())
    };
    assert_eq!(*found, expected);
}

#[test]
fn tokens_open_what_they_are_for() {
    let config = read(
        "admin: {tokens: [{name: looker, role: read, file: a}, {name: doer, role: operate, file: b}]}",
        &[("a", b"0123456789abcdef\r\n"), ("b", b"fedcba9876543210=")],
    )
    .unwrap();
    let found: Vec<_> =
        config.admin.tokens.iter().map(|t| (t.name.as_str(), t.role, t.secret.expose())).collect();
    let expected =
        [("looker", AdminRole::Read, "0123456789abcdef"), ("doer", AdminRole::Operate, "fedcba9876543210=")];
    assert_eq!(found, expected);
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    assert!(good(MODEL).admin.tokens.is_empty());
}

#[test]
fn with_a_token_an_address_that_others_reach_is_no_reason_for_a_warning() {
    let tokens = "tokens: [{name: t, role: read, file: secrets/pipeline}]";
    let config = read(&format!("admin: {{address: \"0.0.0.0:9901\", {tokens}}}"), &[]).unwrap();
    assert_eq!(config.warnings, []);
}

#[test]
fn bad_tokens_are_refused_and_never_shown() {
    let long: &[u8] = &[b'x'; 5_000];
    for (text, expected) in [
        (&b"s3cret"[..], "the token has 6 bytes: it can be guessed: make one with `openssl rand -hex 32`"),
        (
            b"s3cret s3cret s3cret",
            "the token has characters that no bearer token has: make one with `openssl rand -hex 32`",
        ),
        (
            b"s3cret\ns3crets3crets3cret",
            "the secret has characters that cannot be sent: write one line of visible text",
        ),
        (b"\n", "the secret is empty: write one line of visible text"),
        (b"s3cret\xff\xfe", "the secret is not UTF-8 text: write one line of visible text"),
        (long, "the secret is longer than 4 KiB: write one line of visible text"),
    ] {
        let refused = read("admin: {tokens: [{name: t, role: read, file: t}]}", &[("t", text)]);
        assert_eq!(refused.unwrap_err(), format!("config:1:46: admin.tokens[0].file: {expected}"));
    }
    let twice = read(
        "admin:\n  tokens:\n  - {name: a, role: read, file: a}\n  - {name: b, role: operate, file: b}\n  \
         - {name: a, role: read, file: c}",
        &[("a", b"s3crets3crets3cret"), ("b", b"s3crets3crets3cret\n"), ("c", b"0123456789abcdef")],
    );
    assert_eq!(
        twice.unwrap_err(),
        "config:4:36: admin.tokens[1].file: the same token is on line 3: give each name a token of its own\n\
         config:5:12: admin.tokens[2].name: a second token is named \"a\", the first is on line 3: give each a \
         name of its own"
    );
}

#[test]
fn a_url_from_a_file_is_held_to_the_same_rules_and_never_shown() {
    for (text, expected) in [
        (
            &b"ftp://h/s3cret"[..],
            "the URL has a scheme that is not known: start it with \"https://\" or \"http://\"",
        ),
        (b"https://u:s3cret@h", "the URL has a user in it: remove it and the `@`"),
    ] {
        let refused = read("notifications: [{name: n, slack: {urlFile: u}}]", &[("u", text)]);
        assert_eq!(refused.unwrap_err(), format!("config:1:44: notifications[0].slack.urlFile: {expected}"));
    }
}

#[test]
fn secrets_may_come_from_the_environment() {
    let folder = folder();
    let path = folder.path().join("switchback.yaml");
    let sections = "admin: {tokens: [{name: t, role: read, env: A_TOKEN}]}\n\
                    notifications: [{name: n, webhook: {urlEnv: A_URL, tokenEnv: A_TOKEN, secretEnv: A_KEY}}]";
    std::fs::write(&path, format!("{sections}\n{MODEL}")).unwrap();
    let check = |url: &str, key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchback"));
        command.args(["check", "--config"]).arg(&path);
        command.env("A_TOKEN", "0123456789abcdef").env("A_URL", url).env("A_KEY", key);
        let output = command.output().unwrap();
        let lines = String::from_utf8(output.stderr).unwrap();
        lines.replace(&format!("{}:", path.display()), "")
    };
    assert_eq!(check("https://h/x", "k"), "");
    assert_eq!(
        check("h/s3cret", ""),
        "2:45: notifications[0].webhook.urlEnv: the URL has no scheme: start it with \"https://\" or \"http://\"\n\
         2:82: notifications[0].webhook.secretEnv: the secret is empty: write one line of visible text\n"
    );
}

#[test]
fn a_store_stands_where_the_configuration_does() {
    let folder = folder();
    let text = format!("store: {{path: state.db}}\n{MODEL}");
    let config = config::parse(&text, folder.path()).unwrap();
    assert_eq!(config.store, Some(folder.path().join("state.db")));
    assert_eq!(good(MODEL).store, None);
}
