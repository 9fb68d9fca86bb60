//! Each receiver's documented format, as goldens.

use serde_json::{Value, json};

use super::*;
use crate::notify::event::{EventKind, Severity};
use crate::notify::spec::NotifySpec;
use crate::notify::tests::{event, every_receiver};

const NOW: u64 = 1_767_225_607_999;

fn sent(index: usize, event: &Event) -> (Request, Value) {
    let receiver = every_receiver("https://receiver.example/").swap_remove(index);
    let request = payload(&NotifySpec::new("ops", receiver), event, "01J8/ops", NOW);
    let body = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(field(&request, "content-type"), Some("application/json"));
    (request, body)
}

fn field<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_webhook_gets_the_event_signed_and_numbered() {
    let (request, body) = sent(0, &event(EventKind::RolledBack));
    assert_eq!(request.url, "https://receiver.example//hook/s3cret");
    assert_eq!(
        body,
        json!({
            "id": "01J8",
            "kind": "rolledBack",
            "at": "2026-01-01T00:00:00.250Z",
            "atMs": 1_767_225_600_250_u64,
            "instance": "pod-1",
            "model": "iris",
            "rollout": "r-7",
            "from": "v1",
            "to": "v2",
            "verdict": "rollBack",
            "sentence": "v2 diverges in 31 % of answers, more than 5 % & <noise>",
            "evidence": { "pairs": 412, "eValue": 1204.5 },
            "severity": "critical",
            "link": "http://127.0.0.1:9901/rollouts/r-7",
        })
    );
    assert_eq!(field(&request, "x-switchback-event"), Some("rolledBack"));
    assert_eq!(field(&request, "x-switchback-delivery"), Some("01J8/ops"));
    assert_eq!(field(&request, "x-switchback-timestamp"), Some("1767225607"));
    assert_eq!(field(&request, "x-token"), Some("s3cret"));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s3cret");
    let signed = [b"1767225607.", request.body.as_slice()].concat();
    let hex = field(&request, "x-switchback-signature").unwrap().strip_prefix("sha256=").unwrap();
    let tag: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    ring::hmac::verify(&key, &signed, &tag).unwrap();
}

#[test]
fn slack_gets_a_text_and_blocks_with_its_markup_escaped() {
    let (request, body) = sent(1, &event(EventKind::RolledBack));
    assert_eq!(request.headers.len(), 1);
    let sentence = "v2 diverges in 31 % of answers, more than 5 % &amp; &lt;noise&gt;";
    assert_eq!(
        body,
        json!({
            "text": format!("iris: {sentence}"),
            "blocks": [
                { "type": "section", "text": {
                    "type": "mrkdwn",
                    "text": format!(
                        ":red_circle: *iris*: {sentence} <http://127.0.0.1:9901/rollouts/r-7|Details>"
                    ),
                } },
                { "type": "context", "elements": [{
                    "type": "mrkdwn",
                    "text": "v1 → v2 · verdict rollBack · rollout r-7 · pod-1 · 2026-01-01T00:00:00.250Z",
                }] },
            ],
        })
    );
    let good = sent(1, &event(EventKind::Succeeded)).1;
    assert!(good["blocks"][0]["text"]["text"].as_str().unwrap().starts_with(":white_check_mark:"));
}

#[test]
fn slack_gets_a_long_link_whole_and_the_text_cut_to_make_room_for_it() {
    let text = |link: String| {
        let event = Event { sentence: "x".repeat(4_000), link: Some(link), ..event(EventKind::RolledBack) };
        sent(1, &event).1["blocks"][0]["text"]["text"].as_str().unwrap().to_owned()
    };
    let link = format!("https://rollouts.example/{}", "r".repeat(200));
    let shown = text(link.clone());
    assert!(shown.ends_with(&format!("… <{link}|Details>")), "{shown}");
    assert_eq!(shown.chars().count(), 3_000);
    assert!(text("&".repeat(300)).ends_with("xx…"), "longer than there is room for");
}

#[test]
fn pagerduty_gets_an_incident_and_its_resolution_under_one_key() {
    let (request, body) = sent(2, &event(EventKind::RolledBack));
    assert_eq!(request.url, "https://receiver.example/v2/enqueue");
    assert_eq!(
        body,
        json!({
            "routing_key": "s3cret",
            "event_action": "trigger",
            "dedup_key": "switchback/iris/rollout",
            "client": "Switchback",
            "client_url": "http://127.0.0.1:9901/rollouts/r-7",
            "links": [{ "href": "http://127.0.0.1:9901/rollouts/r-7", "text": "Details" }],
            "payload": {
                "summary": "iris: v2 diverges in 31 % of answers, more than 5 % & <noise>",
                "source": "pod-1",
                "severity": "critical",
                "timestamp": "2026-01-01T00:00:00.250Z",
                "component": "iris",
                "group": "rollout",
                "class": "rolledBack",
                "custom_details": {
                    "rollout": "r-7",
                    "from": "v1",
                    "to": "v2",
                    "verdict": "rollBack",
                    "evidence": { "pairs": 412, "eValue": 1204.5 },
                },
            },
        })
    );
    let resolved = sent(2, &event(EventKind::LatchCleared)).1;
    assert_eq!(resolved["event_action"], "resolve");
    assert_eq!(resolved["dedup_key"], body["dedup_key"]);
}

#[test]
fn opsgenie_gets_an_alert_and_its_end_under_one_alias() {
    let (request, body) = sent(3, &event(EventKind::RolledBack));
    assert_eq!(request.url, "https://receiver.example/v2/alerts");
    assert_eq!(field(&request, "authorization"), Some("GenieKey s3cret"));
    assert_eq!(
        body,
        json!({
            "message": "iris: v2 diverges in 31 % of answers, more than 5 % & <noise>",
            "alias": "switchback/iris/rollout",
            "description": "v2 diverges in 31 % of answers, more than 5 % & <noise>\n\
                http://127.0.0.1:9901/rollouts/r-7",
            "source": "pod-1",
            "entity": "iris",
            "tags": ["switchback", "rollout", "rolledBack"],
            "priority": "P1",
            "details": {
                "rollout": "r-7",
                "from": "v1",
                "to": "v2",
                "verdict": "rollBack",
                "evidence": json!({ "pairs": 412, "eValue": 1204.5 }).to_string(),
            },
        })
    );
    let (request, body) = sent(3, &event(EventKind::Resumed));
    assert_eq!(
        request.url,
        "https://receiver.example/v2/alerts/switchback%2Firis%2Frollout/close?identifierType=alias"
    );
    assert_eq!(
        body,
        json!({
            "source": "pod-1",
            "note": "iris: v2 diverges in 31 % of answers, more than 5 % & <noise>",
        })
    );
}

#[test]
fn alertmanager_gets_one_alert_firing_and_the_other_severity_over() {
    let (request, body) = sent(4, &event(EventKind::RolledBack));
    assert_eq!(request.url, "https://receiver.example/api/v2/alerts");
    assert_eq!(field(&request, "authorization"), Some("Bearer s3cret"));
    let alert = |severity: &str, end: &str| {
        json!({
            "labels": { "alertname": "SwitchbackRollout", "severity": severity, "model": "iris" },
            "annotations": {
                "summary": "iris: v2 diverges in 31 % of answers, more than 5 % & <noise>",
                "event": "rolledBack",
                "instance": "pod-1",
                "rollout": "r-7",
                "from": "v1",
                "to": "v2",
                "verdict": "rollBack",
                "evidence": json!({ "pairs": 412, "eValue": 1204.5 }).to_string(),
            },
            "startsAt": "2026-01-01T00:00:00.250Z",
            "endsAt": end,
            "generatorURL": "http://127.0.0.1:9901/rollouts/r-7",
        })
    };
    let now = "2026-01-01T00:00:00.250Z";
    assert_eq!(body, json!([alert("warning", now), alert("critical", "2026-01-02T00:00:00.250Z")]));

    let over = sent(4, &event(EventKind::Succeeded)).1;
    for (index, fired) in body.as_array().unwrap().iter().enumerate() {
        assert_eq!(over[index]["labels"], fired["labels"], "or Alertmanager takes it for another alert");
        assert_eq!(over[index]["endsAt"], now);
    }
    let store = sent(4, &Event { severity: Severity::Info, ..event(EventKind::StoreDegraded) }).1;
    assert_eq!(store[0]["labels"]["instance"], "pod-1");
    assert_eq!(store[0]["endsAt"], "2026-01-02T00:00:00.250Z", "what fires is at least a warning");
}

#[test]
fn what_ends_closes_what_it_began_at_every_receiver() {
    let pairs = [
        (EventKind::RolledBack, EventKind::LatchCleared),
        (EventKind::DriftDetected, EventKind::DriftEnded),
        (EventKind::StoreDegraded, EventKind::StoreRestored),
    ];
    for (began, ended) in pairs {
        let began = Event { severity: Severity::Warning, ..event(began) };
        let ended = Event { severity: Severity::Info, ..event(ended) };
        let told = |index| (sent(index, &began), sent(index, &ended));
        let (_, (request, body)) = told(0);
        assert_eq!(field(&request, "x-switchback-event"), Some(ended.kind.as_str()));
        assert_eq!(body["kind"], ended.kind.as_str());
        let (_, (_, slack)) = told(1);
        assert!(slack["blocks"][0]["text"]["text"].as_str().unwrap().starts_with(":white_check_mark:"));
        let ((_, trigger), (_, resolve)) = told(2);
        assert_eq!(
            (&trigger["event_action"], &resolve["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
        let ((_, create), (close, _)) = told(3);
        let alias = encode(create["alias"].as_str().unwrap());
        assert!(close.url.contains(&format!("/v2/alerts/{alias}/close")), "{}", close.url);
        let ((_, fires), (_, over)) = told(4);
        for (fired, over) in fires.as_array().unwrap().iter().zip(over.as_array().unwrap()) {
            assert_eq!((&fired["labels"], &over["startsAt"]), (&over["labels"], &over["endsAt"]));
        }
        assert_ne!(fires[0]["startsAt"], fires[0]["endsAt"], "the warning fires");
        let wants = |index, event: &Event| {
            NotifySpec::new("ops", every_receiver("http://x").swap_remove(index)).wants(event)
        };
        assert!((0..5).all(|index| wants(index, &began) && wants(index, &ended)), "{:?}", ended.kind);
    }
    let refused = Event { severity: Severity::Warning, ..event(EventKind::CandidateRefused) };
    let wants: Vec<bool> = every_receiver("http://x")
        .into_iter()
        .map(|receiver| NotifySpec::new("ops", receiver).wants(&refused))
        .collect();
    assert_eq!(wants, [true, true, false, false, false, false], "it is news, and nobody's alarm");
}

#[test]
fn github_gets_a_dispatch_of_ten_fields() {
    let (request, body) = sent(5, &event(EventKind::DriftDetected));
    assert_eq!(request.url, "https://receiver.example/repos/acme/models/dispatches");
    assert_eq!(field(&request, "authorization"), Some("Bearer s3cret"));
    assert_eq!(field(&request, "accept"), Some("application/vnd.github+json"));
    assert_eq!(field(&request, "x-github-api-version"), Some("2022-11-28"));
    assert_eq!(
        body,
        json!({
            "event_type": "switchback",
            "client_payload": {
                "kind": "driftDetected",
                "model": "iris",
                "rollout": "r-7",
                "from": "v1",
                "to": "v2",
                "verdict": "rollBack",
                "sentence": "v2 diverges in 31 % of answers, more than 5 % & <noise>",
                "evidence": { "pairs": 412, "eValue": 1204.5 },
                "link": "http://127.0.0.1:9901/rollouts/r-7",
                "event": {
                    "id": "01J8",
                    "at": "2026-01-01T00:00:00.250Z",
                    "severity": "critical",
                    "instance": "pod-1",
                },
            },
        })
    );
    assert_eq!(body["client_payload"].as_object().unwrap().len(), 10);
}

#[test]
fn the_longest_event_stays_within_every_receivers_limits() {
    let text = || "ä<".repeat(50_000);
    let longest = Event {
        instance: text(),
        model: Some(text()),
        rollout: Some(text()),
        from: Some(text()),
        to: Some(text()),
        verdict: Some(text()),
        sentence: text(),
        evidence: json!({ "x": "y".repeat(32_000) }),
        link: Some(text()),
        ..event(EventKind::RolledBack)
    }
    .bounded();
    let chars = |value: &Value| value.as_str().unwrap().chars().count();
    let slack = sent(1, &longest).1;
    assert!(chars(&slack["blocks"][0]["text"]["text"]) <= 3_000);
    assert!(chars(&slack["blocks"][1]["elements"][0]["text"]) <= 3_000);
    let pagerduty = sent(2, &longest).1;
    assert!(chars(&pagerduty["payload"]["summary"]) <= 1_024);
    assert!(chars(&pagerduty["dedup_key"]) <= 255);
    let opsgenie = sent(3, &longest).1;
    for (name, most) in [("message", 130), ("alias", 512), ("source", 100), ("entity", 512)] {
        assert!(chars(&opsgenie[name]) <= most, "{name}");
    }
    let details = opsgenie["details"].as_object().unwrap();
    assert!(details.iter().map(|(name, value)| name.len() + chars(value)).sum::<usize>() <= 8_000);
    let github = sent(5, &longest).0;
    assert!(github.body.len() < 64 * 1024 + 4 * 1024, "{}", github.body.len());
}

#[test]
fn an_event_of_the_whole_process_is_told_without_a_model() {
    let bare = Event {
        model: None,
        rollout: None,
        from: None,
        to: None,
        verdict: None,
        evidence: Value::Null,
        link: None,
        ..event(EventKind::StoreDegraded)
    };
    for index in 0..6 {
        let (request, body) = sent(index, &bare);
        assert!(!request.body.is_empty());
        assert!(!body.to_string().contains("evidence\":\"null"), "{body}");
    }
    assert_eq!(sent(2, &bare).1["payload"]["component"], Value::Null);
}

#[test]
fn a_request_is_not_shown_with_its_secrets() {
    for index in 0..6 {
        let shown = format!("{:?}", sent(index, &event(EventKind::RolledBack)).0);
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn texts_are_clipped_between_characters() {
    assert_eq!(clip("äöü", 3), "äöü");
    assert_eq!(clip("äöüß", 3), "äö…");
    assert_eq!(encode("a/ü ~"), "a%2F%C3%BC%20~");
}
