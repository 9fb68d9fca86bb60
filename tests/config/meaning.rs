//! What accepted configurations mean.

use std::time::Duration;

use switchback::base::{BindAddress, Role, Weight};
use switchback::config;
use switchback::divergence::pairs::PairSpec;
use switchback::divergence::{
    Comparator, CompareSpec, JsonSpec, LabelRule, LabelSpec, OutputRule, PathTolerance, ShapeRule, TextSpec,
    Tolerance,
};
use switchback::routing::spec::{BackendSpec, Target};
use switchback::split::KeySource;
use switchback::upstream::{Address, Protocol};

use super::{MINIMAL, bp, folder, good, weights};

#[test]
fn anchors_and_merge_keys_work() {
    let config = good(
        "models:\n- name: m\n  versions:\n  - {name: a, upstream: &u {url: \"http://h:1\", maxIdle: 7}}\n  \
         - {name: b, upstream: {<<: *u, url: \"http://h:2\"}}\n  - {name: c, upstream: *u}\n",
    );
    let upstreams: Vec<_> = config.models[0]
        .versions
        .iter()
        .map(|v| match &v.backend {
            BackendSpec::Upstream(u) => (u.authority.as_str(), u.max_idle),
            BackendSpec::Onnx(_) => panic!(),
        })
        .collect();
    assert_eq!(upstreams, [("h:1", 7), ("h:2", 7), ("h:1", 7)]);
}

#[test]
fn byte_order_marks_and_line_ends_of_other_systems_make_no_difference() {
    let mut config = good(&format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n")));
    config.hash = good(MINIMAL).hash;
    assert_eq!(config, good(MINIMAL));
}

#[test]
fn ten_lines_are_a_whole_configuration() {
    let config = good(MINIMAL);
    assert_eq!(weights(&config), [9_000, 1_000, 0]);
    let model = &config.models[0];
    let roles: Vec<_> = model.versions.iter().map(|v| v.role).collect();
    assert_eq!(roles, [Role::Stable, Role::Canary, Role::Shadow]);
    assert_eq!(model.matches.len(), 1);
    assert_eq!(model.matches[0].target, Target::Any, "the only model gets everything");
    assert_eq!(model.mirrors[0].sample, Weight::FULL);
    assert_eq!(model.mirrors[0].max_bytes, 16 << 20);
    assert!(model.expose_version && !model.fallback && model.sticky.is_none());
    assert_eq!(config.admin.address, BindAddress::Tcp(([127, 0, 0, 1], 9901).into()));
    assert_eq!(config.drain.timeout, Duration::from_secs(30));
    assert_eq!(config.access_log, None);
    assert!((1..=1024).contains(&config.workers));
    assert_eq!(config.warnings, []);
    let BackendSpec::Upstream(upstream) = &model.versions[0].backend else { panic!() };
    assert_eq!(upstream.address, Address::Tcp { host: "127.0.0.1".to_owned(), port: 9001 });
}

#[test]
fn several_models_are_told_apart_by_their_names() {
    let version = "versions: [{name: a, upstream: {url: \"http://h:1\"}}]";
    let config = good(&format!("models:\n- {{name: k, {version}}}\n- {{name: l, {version}}}\n"));
    let targets: Vec<_> = config.models.iter().map(|m| m.matches[0].target.clone()).collect();
    assert_eq!(targets, [Target::Model("k".to_owned()), Target::Model("l".to_owned())]);
    assert_eq!(config.listeners[0].address, BindAddress::Tcp(([0, 0, 0, 0], 8080).into()));
    assert_eq!(config.listeners[0].name, "main");
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let folder = folder();
    let config = config::load(&folder.path().join("full.yaml")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.workers, 2);
    assert_eq!(config.listeners[1].address, BindAddress::Unix("/run/switchback.sock".into()));
    assert_eq!(config.access_log.as_ref().map(|a| a.sample), Some(bp(100)));
    let model = &config.models[0];
    assert_eq!(model.sticky.as_ref().map(|s| s.salt.as_str()), Some("fraud"));
    assert!(matches!(&model.sticky.as_ref().unwrap().source, KeySource::Header(h) if h == "x-user-id"));
    assert_eq!(model.matches[1].target, Target::PathPrefix("/score".to_owned()));
    assert_eq!(model.matches[2].host.as_deref(), Some("fraud.example"));
    assert!(model.fallback);
    let BackendSpec::Upstream(upstream) = &model.versions[0].backend else { panic!() };
    assert_eq!(upstream.protocol, Protocol::Auto);
    let BackendSpec::Onnx(engine) = &model.versions[1].backend else { panic!() };
    assert_eq!(engine.path(), folder.path().join("demo/models/cancer/2/model.onnx"));
    let rewrite = &model.versions[2].rewrite;
    assert_eq!(rewrite.model_version.as_deref(), Some("3"));
    assert_eq!(rewrite.path_prefix.as_ref().map(|p| p.to.as_str()), Some("/v3/score"));
    assert_eq!(rewrite.set_headers[0].0, "x-tenant");
    assert_eq!(rewrite.remove_headers, ["x-debug"]);
    assert_eq!(model.mirrors[0].drop_headers, ["authorization", "cookie"]);
    assert_eq!(config.store, Some(folder.path().join("switchback.db")));
    let names: Vec<_> = config.notifications.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["audit", "alerts"]);
    let candidates: Vec<_> =
        config.rollouts.iter().map(|r| r.candidate.as_ref().map(|c| c.as_str())).collect();
    assert_eq!(candidates, [Some("v4")]);
}

#[test]
fn a_mirror_compares_as_its_model_says_unless_it_is_told_not_to() {
    let version = |name: &str| format!("{{name: {name}, upstream: {{url: \"http://h:1\"}}}}");
    let versions = ["a", "b", "c", "d"].map(version).join(", ");
    let config = good(&format!(
        "models:\n- name: m\n  versions: [{versions}]\n  compare: {{default: exact}}\n  mirror: [{{to: b}}, \
         {{to: c, noiseControl: 25%, maxAnswerBytes: 2Ki}}, {{to: d, compare: false, noiseControl: 0%}}]\n"
    ));
    let model = &config.models[0];
    let of = |i: usize| {
        let mirror = &model.mirrors[i];
        (mirror.compare.as_deref(), mirror.noise_control, mirror.max_answer_bytes)
    };
    let exact = CompareSpec { default: Comparator::Exact, ..CompareSpec::default() };
    assert_eq!(*model.compare, exact);
    assert_eq!(of(0), (Some(&exact), bp(0), 1 << 20));
    assert_eq!(of(1), (Some(&exact), bp(2_500), 2 << 10));
    assert_eq!(of(2), (None, bp(0), 1 << 20));
}

#[test]
fn every_comparator_arrives_with_its_settings() {
    let rules = [
        ("auto", Comparator::Auto),
        ("exact", Comparator::Exact),
        ("status", Comparator::Status),
        ("json", Comparator::Json(JsonSpec::default())),
        ("label", Comparator::Label(LabelSpec::default())),
        ("numeric", Comparator::Numeric(Tolerance::default())),
        ("text", Comparator::Text(TextSpec::default())),
        ("{numeric: {absolute: 2}}", Comparator::Numeric(Tolerance { absolute: 2.0, relative: 1e-3 })),
        ("{numeric: {relative: 0}}", Comparator::Numeric(Tolerance { absolute: 1e-4, relative: 0.0 })),
        ("{text: {maxDistance: 1}}", Comparator::Text(TextSpec { max_distance: 1.0, min_overlap: 0.6 })),
        ("{text: {minOverlap: 0}}", Comparator::Text(TextSpec { max_distance: 0.3, min_overlap: 0.0 })),
        ("{label: {margin: 0.5}}", Comparator::Label(LabelSpec { by: LabelRule::Argmax, margin: 0.5 })),
        ("{label: {by: class}}", Comparator::Label(LabelSpec { by: LabelRule::Class, margin: 1e-4 })),
        (
            "{label: {by: {topK: 3}}}",
            Comparator::Label(LabelSpec { by: LabelRule::TopK { k: 3 }, margin: 1e-4 }),
        ),
        (
            "{label: {by: {threshold: -0.5}}}",
            Comparator::Label(LabelSpec { by: LabelRule::Threshold { at: -0.5 }, margin: 1e-4 }),
        ),
        (
            "{json: {ignore: [/t], tolerance: {absolute: 1}, tolerances: [{path: /a/*, tolerance: {relative: 0.5}}]}}",
            Comparator::Json(JsonSpec {
                ignore: vec!["/t".to_owned()],
                tolerance: Tolerance { absolute: 1.0, relative: 1e-6 },
                tolerances: vec![PathTolerance {
                    path: "/a/*".to_owned(),
                    tolerance: Tolerance { absolute: 0.0, relative: 0.5 },
                }],
            }),
        ),
    ];
    let written: Vec<_> =
        rules.iter().enumerate().map(|(i, (text, _))| format!("{{output: o{i}, compare: {text}}}")).collect();
    let config = good(&format!(
        "models:\n- name: m\n  versions: [{{name: a, upstream: {{url: \"http://h:1\"}}}}]\n  \
         compare: {{default: {{text: {{}}}}, ignore: [/id, x], allowDtypeChange: true, shape: squeeze, \
         outputs: [{}, {{output: s, compare: auto, shape: exact}}]}}\n  \
         pairs: {{enabled: false, keep: 7, maxBytes: 1Mi, maxBodyBytes: 3, redact: [/user/*]}}\n",
        written.join(", ")
    ));
    let outputs = rules
        .iter()
        .enumerate()
        .map(|(i, (_, compare))| OutputRule {
            output: format!("o{i}"),
            compare: compare.clone(),
            shape: None,
        })
        .chain([OutputRule {
            output: "s".to_owned(),
            compare: Comparator::Auto,
            shape: Some(ShapeRule::Exact),
        }])
        .collect();
    let expected = CompareSpec {
        default: Comparator::Text(TextSpec::default()),
        outputs,
        ignore: vec!["/id".to_owned(), "x".to_owned()],
        allow_dtype_change: true,
        shape: ShapeRule::Squeeze,
    };
    assert_eq!(*config.models[0].compare, expected);
    let kept = PairSpec {
        enabled: false,
        latest: 7,
        worst: 7,
        max_bytes: 1 << 20,
        max_body_bytes: 3,
        redact: vec!["/user/*".to_owned()],
    };
    assert_eq!(config.models[0].pairs, kept);
}

#[test]
fn stable_takes_the_rest_and_others_without_weight_take_none() {
    let yaml = |stable: &str, a: &str, b: &str| {
        let upstream = "upstream: {url: \"http://h:1\"}";
        good(&format!(
            "models: [{{name: m, {stable} versions: [{{name: a, {a} {upstream}}}, {{name: b, {b} {upstream}}}]}}]"
        ))
    };
    assert_eq!(weights(&yaml("", "", "")), [10_000, 0]);
    assert_eq!(weights(&yaml("", "", "weight: 25bp,")), [9_975, 25]);
    assert_eq!(weights(&yaml("stable: b,", "", "")), [0, 10_000]);
    assert_eq!(weights(&yaml("", "weight: 30%,", "role: stable,")), [3_000, 7_000]);
    assert_eq!(weights(&yaml("", "", "weight: 100%,")), [0, 10_000]);
    assert_eq!(yaml("stable: b,", "", "").models[0].versions[0].role, Role::Standby);
}

#[test]
fn what_works_but_may_not_be_meant_is_warned_about() {
    let yaml = "admin: {address: \"0.0.0.0:9901\"}\nonnxRuntime: {library: lib.so}\nmodels:\n- name: m\n  versions:\n  \
                - {name: a, onnx: {repository: models, version: 1}}\n  \
                - {name: b, role: shadow, upstream: {url: \"http://h:1\"}}\n";
    let lines: Vec<_> = good(yaml).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "config:1:18: warning: admin.address: only health and metrics will answer at 0.0.0.0:9901: others can \
             reach it and there is no token: write `admin.tokens`, or bind 127.0.0.1",
            "config:2:24: warning: onnxRuntime.library: /nowhere/lib.so does not exist, versions with `onnx` will \
             be UNAVAILABLE: check the path; relative ones start at /nowhere",
            "config:6:34: warning: models[0].versions[0].onnx.repository: /nowhere/models does not exist, the \
             version will be UNAVAILABLE: check the path; relative ones start at /nowhere",
            "config:7:21: warning: models[0].versions[1].role: no mirror sends this shadow anything: add it to \
             the model's `mirror`",
        ]
    );
}

#[test]
fn the_hash_is_that_of_the_text() {
    assert_eq!(good(MINIMAL).hash, good(MINIMAL).hash);
    assert_ne!(good(MINIMAL).hash, good(&format!("{MINIMAL}#")).hash);
    // Written once: `xxh128sum` of this text. Status and evidence name configurations by it.
    let text = "models: [{name: m, versions: [{name: a, upstream: {url: \"http://h:1\"}}]}]";
    assert_eq!(good(text).hash, HASH);
}
const HASH: &str = "3d537b11564fe3cfbaf0d27f42915b55";
