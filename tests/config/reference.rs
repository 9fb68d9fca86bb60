//! The reference: schema, `full.yaml` and the other examples say what the reader does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchback::config;

use super::{FULL, examples, folder};

/// Every section of the schema by name, the root as "Root".
fn sections() -> BTreeMap<String, Value> {
    let schema = config::schema();
    let mut sections: BTreeMap<String, Value> =
        schema["$defs"].as_object().unwrap().clone().into_iter().collect();
    sections.insert("Root".to_owned(), schema);
    sections
}

#[test]
fn the_schema_refuses_unknown_keys_and_describes_every_known_one() {
    assert_eq!(config::schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (name, section) in sections() {
        assert_eq!(section["additionalProperties"], json!(false), "{name}");
        for (key, property) in section["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name}.{key}");
            assert!(FULL.contains(&format!("{key}:")), "full.yaml lacks {name}.{key}");
        }
    }
    assert_eq!(config::schema()["required"], json!(["models"]));
    assert_eq!(sections()["Sticky"]["oneOf"].as_array().unwrap().len(), 4);
    assert_eq!(sections()["Version"]["oneOf"].as_array().unwrap().len(), 2);
}

/// A configuration in which every section stands and every key that has a default does not.
fn bare(folder: &std::path::Path) -> Value {
    let secret = folder.join("secrets/token");
    let version = |name: &str| json!({"name": name, "upstream": {"url": "http://h:1"}});
    json!({
        "listeners": [{
            "name": "main", "address": "127.0.0.1:8080",
            "tls": {
                "certificate": folder.join("cert.pem"), "key": folder.join("key.pem"),
                "clientCa": folder.join("ca.pem"),
            },
        }],
        "downstream": {"h2": {}},
        "admin": {"tls": {"certificate": folder.join("cert.pem"), "key": folder.join("key.pem")}}, "accessLog": {"path": "/dev/stdout"}, "drain": {},
        "onnxRuntime": {},
        "notifications": [
            {"name": "a", "pagerDuty": {"keyFile": secret}},
            {"name": "b", "opsgenie": {"keyFile": secret}},
            {"name": "c", "alertmanager": {"url": "http://h"}},
            {"name": "d", "gitHub": {"repository": "a/b", "tokenFile": secret}},
        ],
        "models": [{
            "name": "m", "fallback": {"enabled": true}, "limits": {}, "timeouts": {}, "retry": {},
            "concurrency": {"adaptive": {}},
            "versions": [
                {"name": "a", "upstream": {
                    "url": "https://h:1", "tls": {}, "healthCheck": {"oip": {}}, "outlier": {},
                }},
                {"name": "b", "onnx": {"repository": "r", "version": 1}}, version("c"),
            ],
            "mirror": [{"to": "b"}],
            "compare": {"outputs": [
                {"output": "json", "compare": {"json": {"tolerance": {}}}},
                {"output": "label", "compare": {"label": {}}},
                {"output": "numeric", "compare": {"numeric": {}}},
                {"output": "text", "compare": {"text": {}}},
            ]},
            "pairs": {},
            "rollout": bare_rollout(),
        }, {"name": "f", "repository": {"path": "r"}}],
    })
}

fn bare_rollout() -> Value {
    json!({
        "candidate": "c",
        "steps": [{"shadow": {"harm": {}}}, {"setWeight": {"weight": "5%"}}, {"bake": {}}],
        "gates": [{"name": "g", "kind": "event", "url": "http://h"}],
        "analysis": {
            "warmup": {},
            "metrics": [
                {"errorRate": {"relative": {}}},
                {"latency": {}},
                {"divergence": {"relative": {}}},
                {"prediction": {"output": "p"}},
                {"drift": {"profiles": [
                    {"feature": "f", "input": "x", "edges": [1], "shares": [0.5, 0.5]},
                ]}},
            ],
            "segments": {"by": {"header": "x-region"}},
            "circuitBreaker": {},
            "thresholds": [{"metric": "p99", "max": "1s"}],
        },
    })
}

/// Where each section with a default stands in it.
const PLACES: [(&str, &str); 52] = [
    ("Listener", "/listeners/0"),
    ("ListenerTls", "/listeners/0/tls"),
    ("Retry", "/models/0/retry"),
    ("Adaptive", "/models/0/concurrency/adaptive"),
    ("HealthCheck", "/models/0/versions/0/upstream/healthCheck"),
    ("Outlier", "/models/0/versions/0/upstream/outlier"),
    ("UpstreamTls", "/models/0/versions/0/upstream/tls"),
    ("Downstream", "/downstream"),
    ("Http2", "/downstream/h2"),
    ("Admin", "/admin"),
    ("AccessLog", "/accessLog"),
    ("Drain", "/drain"),
    ("OnnxRuntime", "/onnxRuntime"),
    ("Repository", "/models/1/repository"),
    ("Notification", "/notifications/0"),
    ("PagerDuty", "/notifications/0/pagerDuty"),
    ("Opsgenie", "/notifications/1/opsgenie"),
    ("Alertmanager", "/notifications/2/alertmanager"),
    ("GitHub", "/notifications/3/gitHub"),
    ("Model", "/models/0"),
    ("Fallback", "/models/0/fallback"),
    ("Limits", "/models/0/limits"),
    ("Timeouts", "/models/0/timeouts"),
    ("Upstream", "/models/0/versions/0/upstream"),
    ("Onnx", "/models/0/versions/1/onnx"),
    ("AdminTls", "/admin/tls"),
    ("Mirror", "/models/0/mirror/0"),
    ("Compare", "/models/0/compare"),
    ("JsonTolerance", "/models/0/compare/outputs/0/compare/json/tolerance"),
    ("LabelCompare", "/models/0/compare/outputs/1/compare/label"),
    ("Tolerance", "/models/0/compare/outputs/2/compare/numeric"),
    ("TextCompare", "/models/0/compare/outputs/3/compare/text"),
    ("Pairs", "/models/0/pairs"),
    ("Rollout", "/models/0/rollout"),
    ("Shadow", "/models/0/rollout/steps/0/shadow"),
    ("Harm", "/models/0/rollout/steps/0/shadow/harm"),
    ("SetWeight", "/models/0/rollout/steps/1/setWeight"),
    ("Bake", "/models/0/rollout/steps/2/bake"),
    ("Gate", "/models/0/rollout/gates/0"),
    ("Analysis", "/models/0/rollout/analysis"),
    ("Warmup", "/models/0/rollout/analysis/warmup"),
    ("Check", "/models/0/rollout/analysis/metrics/0"),
    ("RelativeErrors", "/models/0/rollout/analysis/metrics/0/errorRate/relative"),
    ("Latency", "/models/0/rollout/analysis/metrics/1/latency"),
    ("Divergence", "/models/0/rollout/analysis/metrics/2/divergence"),
    ("RelativeDivergence", "/models/0/rollout/analysis/metrics/2/divergence/relative"),
    ("Prediction", "/models/0/rollout/analysis/metrics/3/prediction"),
    ("Drift", "/models/0/rollout/analysis/metrics/4/drift"),
    ("Profile", "/models/0/rollout/analysis/metrics/4/drift/profiles/0"),
    ("Segments", "/models/0/rollout/analysis/segments"),
    ("CircuitBreaker", "/models/0/rollout/analysis/circuitBreaker"),
    ("Threshold", "/models/0/rollout/analysis/thresholds/0"),
];

#[test]
fn what_the_schema_and_full_yaml_call_default_is_what_leaving_a_key_out_means() {
    let folder = folder();
    let bare = bare(folder.path());
    let mut written = bare.clone();
    for (name, section) in sections() {
        for (key, property) in section["properties"].as_object().unwrap() {
            let Some(default) = property.get("default").filter(|_| name != "Root") else { continue };
            let place = PLACES.iter().find(|(n, _)| *n == name);
            let place = place.unwrap_or_else(|| panic!("{name}.{key}")).1;
            written.pointer_mut(place).unwrap()[key] = default.clone();
            let shown = default.as_str().map_or_else(|| default.to_string(), ToOwned::to_owned);
            let said = FULL.lines().map(|line| line.trim_start_matches([' ', '#', '-'])).any(|line| {
                line.starts_with(&format!("{key}: {shown} ")) && line.contains(&format!("# default {shown}"))
            });
            assert!(said, "full.yaml does not give {name}.{key} its default {shown}");
        }
    }
    assert_ne!(written, bare);
    let parse =
        |json: &Value| config::parse(&json.to_string(), folder.path()).unwrap_or_else(|e| panic!("{e}"));
    let (mut bare, mut written) = (parse(&bare), parse(&written));
    for config in [&mut bare, &mut written] {
        config.hash.clear();
        config.warnings.clear();
    }
    assert_eq!(bare, written);
}

#[test]
fn all_shipped_examples_are_good() {
    let folder = folder();
    let examples = examples(folder.path());
    for path in &examples {
        let config = config::load(path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [], "{}", path.display());
    }
    assert!(examples.len() >= 10, "{examples:?}");
}

/// Keys in comments of `full.yaml` begin small, sentences do not.
fn uncommented(line: &str) -> String {
    let (indent, comment) = line.split_at(line.len() - line.trim_start().len());
    let Some(text) = comment.strip_prefix("# ") else { return line.to_owned() };
    let item = text.trim_start().trim_start_matches("- ").trim_start_matches('{');
    let key = item.split(':').next().unwrap_or_default();
    let is_key = item.len() > key.len()
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    if is_key { format!("{indent}{text}") } else { line.to_owned() }
}

#[test]
fn what_full_yaml_shows_in_comments_is_good_too() {
    let folder = folder();
    let text: Vec<String> = FULL.lines().map(uncommented).collect();
    assert!(text.iter().zip(FULL.lines()).filter(|(a, b)| a != b).count() > 25);
    let path = folder.path().join("uncommented.yaml");
    std::fs::write(&path, text.join("\n")).unwrap();
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_switchback"))
        .args(["check", "--config"])
        .arg(&path)
        .env("DASHBOARD_TOKEN", "0123456789abcdef")
        .envs(["AUDIT_TOKEN", "OPSGENIE_KEY", "GITHUB_TOKEN"].map(|name| (name, "secret")))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stderr), "");
    assert!(check.status.success());
}
