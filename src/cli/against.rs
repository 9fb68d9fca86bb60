//! What a running sidecar does otherwise than a configuration says.
//!
//! From its first rollout on, a model's weights and its stable version belong to the rollouts, and
//! no configuration undoes that silently: here it is said. Backends are not compared beyond their
//! place: another timeout shows in the hash.

use serde_json::Value;

use crate::base::Weight;
use crate::config::Config;
use crate::control::rollouts::ModelView;
use crate::routing::spec::{BackendSpec, ModelSpec, VersionSpec};
use crate::upstream::Address;

use super::exit::Failure;
use super::server::{CallError, Server, segment};

/// One line for each difference, in the order of the configuration.
pub(super) fn differences(config: &Config, server: &Server) -> Result<Vec<String>, Failure> {
    let status = server.get("/status")?;
    let mut lines = Vec::new();
    if let Some(live) = text(&status, &["config", "hash"])
        && live != config.hash
    {
        let path = text(&status, &["config", "path"]).unwrap_or("its file");
        lines.push(format!("config: the sidecar runs {live} ({path}), this is {}", config.hash));
    }
    if let Some(error) = text(&status, &["config", "lastError"]) {
        lines.push(format!("config: the sidecar refused its last reload: {}", one_line(error)));
    }
    let live = status.get("models").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for declared in &config.models {
        let name = declared.name.as_str();
        match live.iter().find(|model| text(model, &["name"]) == Some(name)) {
            Some(model) => compare(declared, model, &mut lines),
            None => lines.push(format!("{name}: the sidecar does not have this model")),
        }
        if let Some(view) = rollout(server, name)? {
            rollouts(config, declared, &view, &mut lines);
        }
    }
    for model in live.iter().filter_map(|model| text(model, &["name"])) {
        if config.models.iter().all(|declared| declared.name.as_str() != model) {
            lines.push(format!("{model}: the configuration does not have this model"));
        }
    }
    Ok(lines)
}

fn compare(declared: &ModelSpec, live: &Value, lines: &mut Vec<String>) {
    let name = &declared.name;
    let mut differs = |what: &str, live: &str, declared: &str| {
        if live != declared {
            lines.push(format!("{name}: {what} is {live}, the configuration says {declared}"));
        }
    };
    let stable = declared.versions.iter().find(|version| version.role == crate::base::Role::Stable);
    if let Some(stable) = stable {
        differs("stable", text(live, &["stable"]).unwrap_or_default(), stable.name.as_str());
    }
    let versions = live.get("versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let find = |name: &str| versions.iter().find(|version| text(version, &["name"]) == Some(name));
    for version in &declared.versions {
        let Some(live) = find(version.name.as_str()) else {
            differs(&format!("version {}", version.name), "not there", "it is");
            continue;
        };
        let weight = text(live, &["weight"]).unwrap_or_default();
        // `10%` and `10.00%` are the same.
        if weight.parse::<Weight>().ok() != Some(version.weight) {
            differs(&format!("weight of {}", version.name), weight, &version.weight.to_string());
        }
        differs(
            &format!("version {}", version.name),
            text(live, &["target"]).unwrap_or_default(),
            &target(version),
        );
    }
    for version in versions.iter().filter_map(|version| text(version, &["name"])) {
        if declared.versions.iter().all(|declared| declared.name.as_str() != version) {
            differs(&format!("version {version}"), "there", "nothing of it");
        }
    }
}

/// What rollouts have made of a model.
fn rollouts(config: &Config, declared: &ModelSpec, view: &ModelView, lines: &mut Vec<String>) {
    let name = &declared.name;
    let running = view.rollout.as_ref().filter(|rollout| !rollout.ended);
    if let Some(rollout) = running
        && rollout.config_hash != config.hash
    {
        lines.push(format!(
            "{name}: rollout {} runs by the policy of configuration {}, this is {}",
            rollout.id, rollout.config_hash, config.hash
        ));
    }
    let spec = config.rollouts.iter().find(|spec| spec.model == *name);
    let candidate = spec.and_then(|spec| spec.candidate.as_ref());
    for latch in view.latches.iter().filter(|latch| Some(&latch.version) == candidate) {
        lines.push(format!(
            "{name}: candidate {} was rolled back and gets no traffic until it is cleared ({})",
            latch.version, latch.reason
        ));
    }
    // What the sidecar itself sees of its own configuration, where nothing above says the same.
    for difference in &view.differences {
        let known = lines.iter().any(|line| line.starts_with(name.as_str()) && similar(line, difference));
        if !known {
            lines.push(format!("{name}: {difference}"));
        }
    }
}

/// Whether two lines are about the same version's weight, or about the stable version.
fn similar(line: &str, difference: &str) -> bool {
    let mut words = difference.split(' ');
    let (first, about) = (words.next().unwrap_or_default(), words.any(|word| word == "weight"));
    match first {
        "stable" => line.contains(": stable is "),
        version if about => line.contains(&format!(": weight of {version} is ")),
        version => line.contains(&format!(": version {version} is ")),
    }
}

/// What the sidecar's rollouts know of a model; nothing where there is no such model.
fn rollout(server: &Server, model: &str) -> Result<Option<ModelView>, Failure> {
    match server.get(&format!("/models/{}", segment(model))) {
        Ok(answer) => Ok(serde_json::from_value(answer).ok()),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a version is, as the status says it.
fn target(version: &VersionSpec) -> String {
    match &version.backend {
        BackendSpec::Onnx(spec) => spec.path().display().to_string(),
        BackendSpec::Upstream(spec) => {
            let place = |address: &Address, authority: &str| match address {
                Address::Unix(path) => format!("unix:{}", path.display()),
                Address::Tcp { .. } if spec.tls.is_some() => format!("https://{authority}"),
                Address::Tcp { .. } => format!("http://{authority}"),
            };
            let mut all = vec![place(&spec.address, &spec.authority)];
            all.extend(spec.others.iter().map(|other| place(&other.address, &other.authority)));
            all.join(", ")
        }
    }
}

fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_str)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::server::testing::{Fake, answer};
    use super::*;

    const CONFIG: &str = "\
listeners: [{name: main, address: '127.0.0.1:0'}]
models:
  - name: m
    versions:
      - {name: v1, weight: 90%, upstream: {url: 'http://127.0.0.1:1'}}
      - {name: v2, weight: 10%, upstream: {url: 'http://127.0.0.1:2'}}
      - {name: v3, upstream: {url: 'http://127.0.0.1:3'}}
    rollout: {candidate: v3, steps: [{setWeight: 20%}], analysis: {metrics: [{errorRate: {}}]}}
";

    fn config() -> Config {
        crate::config::parse(CONFIG, Path::new("")).unwrap()
    }

    fn status(hash: &str, stable: &str, weights: [&str; 2], third: &str) -> Value {
        let version = |name: &str, weight: &str, port: u8| json!({"name": name, "weight": weight, "target": format!("http://127.0.0.1:{port}")});
        json!({
            "config": {"hash": hash, "path": "/etc/sb.yaml", "lastError": null},
            "models": [{"name": "m", "stable": stable, "versions": [
                version("v1", weights[0], 1), version("v2", weights[1], 2), version(third, "0%", 3)]}],
        })
    }

    fn compared(status: &Value, rollout: String) -> Vec<String> {
        let fake = Fake::start(vec![answer(200, status), rollout]);
        differences(&config(), &fake.server()).unwrap()
    }

    #[test]
    fn a_sidecar_that_does_what_is_written_differs_in_nothing() {
        let none = answer(404, &json!({"error": "no rollout"}));
        assert_eq!(compared(&status(&config().hash, "v1", ["90%", "10%"], "v3"), none), [""; 0]);
    }

    #[test]
    fn every_difference_is_one_line() {
        let latch = json!({"digest": "d", "version": "v3", "rollout": "m-1", "since": 1, "reason": "errors"});
        let view = json!({
            "model": "m", "stable": "v2", "rollout": null, "latches": [latch],
            "differences": ["stable is v2; the configuration says v1", "v1 has weight 0%; the configuration says 90%"],
        });
        let lines = compared(&status("0123", "v2", ["0%", "100%"], "v4"), answer(200, &view));
        let expected = [
            format!("config: the sidecar runs 0123 (/etc/sb.yaml), this is {}", config().hash),
            "m: stable is v2, the configuration says v1".to_owned(),
            "m: weight of v1 is 0%, the configuration says 90%".to_owned(),
            "m: weight of v2 is 100%, the configuration says 10%".to_owned(),
            "m: version v3 is not there, the configuration says it is".to_owned(),
            "m: version v4 is there, the configuration says nothing of it".to_owned(),
            "m: candidate v3 was rolled back and gets no traffic until it is cleared (errors)".to_owned(),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn models_that_only_one_side_has_are_named() {
        let mut other = status(&config().hash, "v1", ["90%", "10%"], "v3");
        other["models"][0]["name"] = json!("n");
        let none = answer(404, &json!({"error": "no such model"}));
        assert_eq!(
            compared(&other, none),
            ["m: the sidecar does not have this model", "n: the configuration does not have this model"]
        );
    }
}
