//! What may come with the start of a rollout in place of what the configuration says: a candidate, a
//! policy.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde_json::Value;

use crate::base::ModelName;
use crate::config;
use crate::control::rollouts::CandidateCall;
use crate::control::rollouts::spec::RolloutSpec;
use crate::rollout::policy::{Policy, Rule};
use crate::routing::spec::BackendSpec;

/// Longest digest that a caller may give.
const LONGEST: usize = 256;

/// A candidate of `model`: the keys of a version in the configuration, and `digest`. Relative paths
/// start at `base`. Blocks: it looks at files.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn candidate(model: &ModelName, mut written: Value, base: &Path) -> Result<CandidateCall, String> {
    let digest = written.as_object_mut().and_then(|keys| keys.remove("digest"));
    let digest = match digest {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if fits(&text) => Some(text),
        Some(_) => return Err(format!("candidate: digest is not a text of 1 to {LONGEST} characters")),
    };
    let spec = config::parse_version(&written.to_string(), model, base).map_err(in_one_line)?;
    let digest = match (&spec.backend, digest) {
        // A model file can be looked at: it is known by what it is, not by what somebody says.
        (BackendSpec::Onnx(engine), Some(claimed)) => {
            let found = sha256(&engine.path()).map_err(|e| format!("{}: {e}", engine.path().display()))?;
            let bare = claimed.strip_prefix("sha256:").unwrap_or(&claimed);
            if !bare.eq_ignore_ascii_case(&found) {
                return Err(format!("candidate: the model file has digest sha256:{found}, not {claimed}"));
            }
            None
        }
        (_, digest) => digest,
    };
    Ok(CandidateCall::Given { spec: Box::new(spec), origin: written, digest })
}

fn fits(digest: &str) -> bool {
    (1..=LONGEST).contains(&digest.chars().count()) && !digest.chars().any(char::is_control)
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(bytes) => hash.update(bytes),
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A policy for `model`: what stands under `rollout` in a configuration, or a policy as it is kept.
///
/// What stands behind its names (who answers a gate, where a number is found) is `configured`: only
/// that outlives a restart. Blocks: it looks at files.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn policy(
    model: &ModelName,
    written: &Value,
    sticky: bool,
    configured: Option<&RolloutSpec>,
    base: &Path,
) -> Result<Policy, String> {
    let policy = match as_kept(written) {
        Some(policy) => {
            if let Some(error) = policy.validate().first() {
                return Err(format!("policy: {error}"));
            }
            policy
        }
        None => {
            let spec =
                config::parse_policy(&written.to_string(), model, sticky, base).map_err(in_one_line)?;
            if let Some(what) = otherwise(&spec, configured) {
                return Err(format!(
                    "policy: {what} is not as the configuration has it: declare it under the model's `rollout` there"
                ));
            }
            spec.policy
        }
    };
    match missing(&policy, configured) {
        None => Ok(policy),
        Some(what) => Err(format!(
            "policy: {what} is not in the configuration: declare it under the model's `rollout` there"
        )),
    }
}

/// A policy as it is kept, if every word of it is understood.
fn as_kept(written: &Value) -> Option<Policy> {
    let policy: Policy = serde_json::from_value(written.clone()).ok()?;
    (serde_json::to_value(&policy).ok()? == *written).then_some(policy)
}

/// The first thing behind a policy that the configuration has, but otherwise.
fn otherwise(spec: &RolloutSpec, configured: Option<&RolloutSpec>) -> Option<String> {
    let configured = configured?;
    let gate = spec.gates.iter().find(|gate| {
        configured.gates.iter().any(|known| known.name == gate.name && known.asked != gate.asked)
    });
    let score = spec
        .scores
        .iter()
        .find(|(name, score)| configured.scores.get(*name).is_some_and(|known| known != *score));
    let feature = spec
        .features
        .iter()
        .find(|(name, feature)| configured.features.get(*name).is_some_and(|known| known != *feature));
    let segments =
        spec.segment.is_some() && configured.segment.is_some() && spec.segment != configured.segment;
    gate.map(|gate| format!("gate {}", gate.name))
        .or(score.map(|(name, _)| format!("prediction {name}")))
        .or(feature.map(|(name, _)| format!("feature {name}")))
        .or(segments.then(|| "segments".to_owned()))
}

/// The first name in a policy that the configuration has nothing behind.
fn missing(policy: &Policy, configured: Option<&RolloutSpec>) -> Option<String> {
    let has_gate =
        |name: &str| configured.is_some_and(|spec| spec.gates.iter().any(|gate| gate.name == name));
    if let Some(gate) = policy.gates.iter().find(|gate| !has_gate(&gate.name)) {
        return Some(format!("gate {}", gate.name));
    }
    if policy.analysis.segments.is_some() && configured.is_none_or(|spec| spec.segment.is_none()) {
        return Some("segments".to_owned());
    }
    policy.analysis.checks.iter().find_map(|check| match &check.rule {
        Rule::Prediction(rule) => {
            let known = configured.is_some_and(|spec| spec.scores.contains_key(&rule.value));
            (!known).then(|| format!("prediction {}", rule.value))
        }
        Rule::Drift(rule) => {
            let known = |name: &str| configured.is_some_and(|spec| spec.features.contains_key(name));
            let unknown = rule.profiles.iter().find(|profile| !known(&profile.feature));
            unknown.map(|profile| format!("feature {}", profile.feature))
        }
        Rule::ErrorRate(_) | Rule::Latency(_) | Rule::Divergence(_) => None,
    })
}

/// Mistakes as one line.
fn in_one_line(errors: config::ConfigErrors) -> String {
    errors.to_string().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HERE: &str = "/nowhere";

    fn model() -> ModelName {
        ModelName::new("m").unwrap()
    }

    fn configured(rollout: &str) -> RolloutSpec {
        let text = format!(
            "models: [{{name: m, versions: [{{name: v1, upstream: {{url: 'http://h:1'}}}}], rollout: {rollout}}}]"
        );
        config::parse(&text, Path::new(HERE)).unwrap().rollouts.remove(0)
    }

    fn read(written: &Value, configured: Option<&RolloutSpec>) -> Result<Policy, String> {
        policy(&model(), written, false, configured, Path::new(HERE))
    }

    #[test]
    fn a_policy_comes_in_the_words_of_the_configuration_or_as_it_is_kept() {
        let written = json!({"steps": [{"setWeight": "10%"}, {"bake": "1h"}]});
        let found = read(&written, None).unwrap();
        assert_eq!(found, configured("{steps: [{setWeight: 10%}, {bake: 1h}]}").policy);
        assert_eq!(read(&serde_json::to_value(&found).unwrap(), None), Ok(found));
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_said_in_one_line_with_its_place() {
        for (written, says) in [
            (json!({}), "steps: is missing"),
            (json!([]), "expected a mapping"),
            (json!({"steps": [{"setWeight": "110%"}]}), "steps[0].setWeight"),
            (json!({"steps": [{"setWeight": "10%"}], "candidate": "v2"}), "no candidate"),
            (json!({"steps": [{"setWeight": {"weight": "10%", "maxDration": "1h"}}]}), "maxDration"),
            (json!({"steps": []}), "steps"),
        ] {
            let line = read(&written, None).unwrap_err();
            assert!(line.contains(says) && !line.contains('\n'), "{written}: {line}");
        }
        // One that is kept is no way around the rules either.
        let mut kept =
            serde_json::to_value(read(&json!({"steps": [{"setWeight": "10%"}]}), None).unwrap()).unwrap();
        kept["analysis"]["alpha"] = json!(2.0);
        let line = read(&kept, None).unwrap_err();
        assert!(line.contains("alpha"), "{line}");
    }

    #[test]
    fn what_stands_behind_names_is_the_configurations() {
        let gate = |url: &str| json!({"steps": [{"setWeight": "10%"}], "gates": [{"name": "ask", "kind": "confirm-promotion", "url": url}]});
        let known = configured(&gate("http://h:2/").to_string());
        assert!(read(&gate("http://h:2/"), Some(&known)).is_ok());
        for (url, configured) in [("http://h:2/", None), ("http://h:3/", Some(&known))] {
            let line = read(&gate(url), configured).unwrap_err();
            assert!(line.contains("gate ask") && !line.contains("h:3"), "{line}");
        }
        let segments = json!({"steps": [{"setWeight": "10%"}], "analysis": {"segments": {"by": {"header": "x-r"}, "max": 3}}});
        assert!(read(&segments, None).unwrap_err().contains("segments"));
        assert!(read(&segments, Some(&configured_with(&segments))).is_ok());
    }

    fn configured_with(rollout: &Value) -> RolloutSpec {
        configured(&rollout.to_string())
    }

    #[test]
    fn a_candidate_is_kept_as_it_was_written_and_known_by_what_the_caller_says() {
        let written = json!({"name": "v2", "upstream": {"url": "http://h:2"}, "digest": "build 9"});
        let CandidateCall::Given { spec, origin, digest } =
            candidate(&model(), written, Path::new(HERE)).unwrap()
        else {
            panic!()
        };
        assert_eq!((spec.name.as_str(), digest.as_deref()), ("v2", Some("build 9")));
        assert_eq!(origin, json!({"name": "v2", "upstream": {"url": "http://h:2"}}));
        for (written, says) in [
            (json!({"name": "v2", "upstream": {"url": "http://h:2"}, "digest": 9}), "digest"),
            (json!({"name": "v2", "upstream": {"url": "http://h:2"}, "digest": ""}), "digest"),
            (json!({"name": "v2"}), "no backend"),
            (json!({"name": "v2", "weight": "10%", "upstream": {"url": "http://h:2"}}), "weight"),
        ] {
            let line = candidate(&model(), written, Path::new(HERE)).unwrap_err();
            assert!(line.contains(says) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_model_file_is_compared_with_the_digest_that_it_should_have() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("r/m/1")).unwrap();
        std::fs::write(folder.path().join("r/m/1/model.onnx"), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let with = |digest: &str| {
            let written = json!({"name": "v2", "onnx": {"repository": "r", "version": 1}, "digest": digest});
            candidate(&model(), written, folder.path())
        };
        for digest in [abc.to_owned(), format!("sha256:{abc}")] {
            assert!(matches!(with(&digest), Ok(CandidateCall::Given { digest: None, .. })));
        }
        assert!(with("sha256:00").unwrap_err().contains(abc));
    }
}
