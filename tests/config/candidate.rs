//! A version that comes on its own, with the start of a rollout.

use std::path::Path;

use switchback::base::{ModelName, Role, Weight};
use switchback::config;
use switchback::routing::spec::{BackendSpec, VersionSpec};

use super::folder;

fn parse(text: &str, base: &Path) -> Result<VersionSpec, String> {
    let model = ModelName::new("cancer").unwrap();
    config::parse_version(text, &model, base).map_err(|errors| errors.to_string())
}

#[test]
fn a_version_on_its_own_is_what_it_would_be_in_a_configuration_and_stands_by() {
    let version = "{name: v2, upstream: {url: \"http://h:1\", maxIdle: 3}, rewrite: {model: x}}";
    let config = config::parse(
        &format!("models: [{{name: cancer, versions: [{{name: a, upstream: {{url: \"http://h:1\"}}}}, {version}]}}]"),
        Path::new("/nowhere"),
    )
    .unwrap();
    let found = parse(version, Path::new("/nowhere")).unwrap();
    assert_eq!(found, config.models[0].versions[1]);
    assert_eq!((found.weight, found.role), (Weight::ZERO, Role::Standby));
    let json =
        r#"{"name": "v2", "upstream": {"url": "http://h:1", "maxIdle": 3}, "rewrite": {"model": "x"}}"#;
    assert_eq!(parse(json, Path::new("/nowhere")), Ok(found));
}

#[test]
fn a_model_file_of_a_version_on_its_own_must_be_there() {
    let folder = folder();
    let text = |version: u32| format!("{{name: v, onnx: {{repository: demo/models, version: {version}}}}}");
    let found = parse(&text(2), folder.path()).unwrap();
    let BackendSpec::Onnx(engine) = &found.backend else { panic!() };
    assert_eq!(engine.path(), folder.path().join("demo/models/cancer/2/model.onnx"));
    let refused = parse(&text(9), folder.path()).unwrap_err();
    let refused = refused.replace(&folder.path().display().to_string(), "DIR");
    assert_eq!(
        refused,
        "version:1:52: onnx.version: DIR/demo/models/cancer/9/model.onnx does not exist, the version will be \
         UNAVAILABLE: check the path; relative ones start at DIR"
    );
}

#[test]
fn what_is_no_version_on_its_own_is_refused_line_by_line() {
    for (text, lines) in [
        (
            "{name: v2, weight: 10%, role: canary, upstream: {url: \"http://h:1\"}}",
            "version:1:20: weight: a version on its own has no weight: remove it: the rollout gives weights\n\
             version:1:31: role: a version on its own has no role: remove it: the rollout gives roles",
        ),
        (
            "{upstream: {url: \"h:1\"}, wieght: 5%}",
            "version:1:1: name: is missing: add the key \"name\" here\n\
             version:1:18: upstream.url: \"h:1\" has no scheme: write \"http://h:1\"\n\
             version:1:26: wieght: there is no key \"wieght\": did you mean \"weight\"? Known here: name, weight, \
             role, upstream, onnx, rewrite, concurrency",
        ),
        ("name: v2", "version:1:1: the version has no backend: write exactly one of upstream and onnx"),
        ("[]", "version:1:1: expected a mapping, found a list: write keys such as \"name:\" below it"),
    ] {
        assert_eq!(parse(text, Path::new("/nowhere")), Err(lines.to_owned()), "{text}");
    }
    assert!(parse("", Path::new("/nowhere")).is_err());
}
