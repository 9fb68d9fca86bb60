//! Notifications against receivers that answer, refuse, hang and lie.

use std::time::Duration;

use serde_json::json;

use super::*;

pub(super) fn event(kind: EventKind) -> Event {
    Event {
        id: "01J8".to_owned(),
        kind,
        at_ms: 1_767_225_600_250,
        instance: "pod-1".to_owned(),
        model: Some("iris".to_owned()),
        rollout: Some("r-7".to_owned()),
        from: Some("v1".to_owned()),
        to: Some("v2".to_owned()),
        verdict: Some("rollBack".to_owned()),
        sentence: "v2 diverges in 31 % of answers, more than 5 % & <noise>".to_owned(),
        evidence: json!({ "pairs": 412, "eValue": 1_204.5 }),
        severity: Severity::Critical,
        link: Some("http://127.0.0.1:9901/rollouts/r-7".to_owned()),
    }
}

/// One receiver of each kind, all at `url`, all secrets "s3cret".
pub(super) fn every_receiver(url: &str) -> Vec<Receiver> {
    let secret = || Secret::new("s3cret");
    let hidden = || Secret::new(format!("{url}/hook/s3cret"));
    let url = url.to_owned();
    vec![
        Receiver::Webhook {
            url: hidden(),
            secret: Some(secret()),
            headers: vec![("X-Token".to_owned(), secret())],
        },
        Receiver::Slack { url: hidden() },
        Receiver::PagerDuty { url: url.clone(), routing_key: secret() },
        Receiver::Opsgenie { url: url.clone(), api_key: secret() },
        Receiver::Alertmanager {
            url: url.clone(),
            authorization: Some(Secret::new("Bearer s3cret")),
            lasts: Duration::from_secs(24 * 3_600),
        },
        Receiver::GitHub {
            url,
            repository: "acme/models".to_owned(),
            token: secret(),
            event_type: "switchback".to_owned(),
        },
    ]
}
