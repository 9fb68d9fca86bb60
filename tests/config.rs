//! The configuration as its users meet it: what is refused and with which words, what the shipped
//! examples and the defaults mean, and that nothing anyone writes makes the reader panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchback::base::{BindAddress, Role, Weight};
use switchback::config::{self, Config, Severity};
use switchback::routing::spec::{BackendSpec, Target};
use switchback::split::KeySource;
use switchback::upstream::{Address, Protocol};

const MINIMAL: &str = include_str!("../config/minimal.yaml");
const FULL: &str = include_str!("../config/full.yaml");

fn parse(text: &str) -> Result<Config, config::ConfigErrors> {
    config::parse(text, Path::new("/nowhere"))
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn bp(basis_points: u32) -> Weight {
    Weight::new(basis_points).unwrap()
}

fn weights(config: &Config) -> Vec<u16> {
    config.models[0].versions.iter().map(|v| v.weight.basis_points()).collect()
}

#[test]
fn every_wrong_configuration_is_refused_with_exactly_these_lines() {
    let mut count = 0;
    for case in REFUSED.split("=== ").skip(1) {
        let (name, case) = case.split_once('\n').unwrap();
        let (yaml, expected) = case.split_once(">>>\n").unwrap();
        let got = parse(yaml).map(|_| "accepted".to_owned()).unwrap_or_else(|e| e.to_string());
        assert_eq!(got.trim_end(), expected.trim_end(), "{name}");
        count += 1;
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn a_problem_says_where_it_is_in_its_parts_too() {
    let errors = parse("workers: 0\nmodels: [{name: m}]").unwrap_err();
    let problem = &errors.problems[0];
    assert_eq!((problem.path.as_str(), problem.line, problem.column), ("workers", 1, 10));
    assert_eq!((problem.value.as_str(), problem.severity), ("0", Severity::Error));
    assert!(!problem.message.is_empty() && !problem.fix.is_empty());
    assert_eq!(errors.problems[1].path, "models[0].versions");
}

#[test]
fn passwords_in_urls_do_not_reach_messages() {
    for url in ["http://u:secret@h:1", "ftp://u:secret@h", "grpc://u:secret@h", "u:secret@h"] {
        let yaml = format!("models: [{{name: m, versions: [{{name: a, upstream: {{url: \"{url}\"}}}}]}}]");
        let errors = parse(&yaml).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("secret"), "{errors}");
    }
}

#[test]
fn yaml_that_grows_without_end_is_refused() {
    let bomb = (0..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let aliases = vec![format!("*a{i}"); 10].join(", ");
        format!("{text}a{n}: &a{n} [{aliases}]\n", n = i + 1)
    });
    let deep_alias = (0..5).fold("a0: &a0 1\n".to_owned(), |text, i| {
        format!("{text}a{n}: &a{n} {}*a{i}{}\n", "[".repeat(30), "]".repeat(30), n = i + 1)
    });
    let many: String = (0..2_000).map(|i| format!("k{i}: 1\n")).collect();
    for (yaml, expected) in [
        (bomb, "aliases expand to too much"),
        (deep_alias, "more than 64 levels"),
        (format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)), "more than 64 levels"),
        ((0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "more than 64 levels"),
        (many, "more than 1024 keys"),
        ("#".repeat(1024 * 1024 + 1), "more than 1 MiB"),
    ] {
        let errors = parse(&yaml).unwrap_err();
        assert_eq!(errors.problems.len(), 1, "{errors}");
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

#[test]
fn mistakes_beyond_five_hundred_are_counted() {
    let item = "- {}\n".repeat(1_000);
    let errors = parse(&format!("models:\n{item}")).unwrap_err();
    assert_eq!((errors.problems.len(), errors.omitted), (500, 1_500));
    assert!(errors.to_string().ends_with("\nand 1500 more"));
}

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
    let config = good(FULL);
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
    assert_eq!(engine.path(), Path::new("/nowhere/demo/models/cancer/2/model.onnx"));
    let rewrite = &model.versions[2].rewrite;
    assert_eq!(rewrite.model_version.as_deref(), Some("3"));
    assert_eq!(rewrite.path_prefix.as_ref().map(|p| p.to.as_str()), Some("/v3/score"));
    assert_eq!(rewrite.set_headers[0].0, "x-tenant");
    assert_eq!(rewrite.remove_headers, ["x-debug"]);
    assert_eq!(model.mirrors[0].drop_headers, ["authorization", "cookie"]);
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
            "config:1:18: warning: admin.address: whoever reaches 0.0.0.0:9901 can change weights, there is no \
             password: bind 127.0.0.1, or see that the network lets nobody else in",
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
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let message = |path: PathBuf| {
        let text = config::load(&path).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "DIR")
    };
    assert_eq!(
        message(folder.path().join("none.yaml")),
        "DIR/none.yaml: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        message(write("latin.yaml", b"# a\n# \xc3\xa4 caf\xe9\n")),
        "DIR/latin.yaml:2:8: is not UTF-8 text: save the file as UTF-8"
    );
    assert_eq!(
        message(write("long.yaml", &vec![b'#'; 1024 * 1024 + 1])),
        "DIR/long.yaml: is larger than 1 MiB: split it over several sidecars"
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

#[test]
fn all_shipped_examples_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let made = rcgen::generate_simple_self_signed(["models.internal".to_owned()]).unwrap();
    place("certs/ca.pem", &made.cert.pem());
    place("certs/server.pem", &made.cert.pem());
    place("certs/server.key", &made.signing_key.serialize_pem());
    for version in 1..=3 {
        place(&format!("demo/models/cancer/{version}/model.onnx"), "");
    }
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            place(&name, &std::fs::read_to_string(&path).unwrap());
            names.insert(name);
        }
    }
    for name in &names {
        let config = config::load(&folder.path().join(name)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.warnings, [], "{name}");
    }
    assert!(names.len() >= 9, "{names:?}");
}

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

#[test]
fn what_the_schema_and_full_yaml_call_default_is_what_leaving_a_key_out_means() {
    let bare = json!({
        "listeners": [{"name": "main", "address": "127.0.0.1:8080"}],
        "downstream": {"h2": {}}, "admin": {}, "accessLog": {"path": "/dev/stdout"}, "drain": {},
        "models": [{
            "name": "m", "fallback": {"enabled": true}, "limits": {}, "timeouts": {},
            "versions": [
                {"name": "a", "upstream": {"url": "http://h:1"}},
                {"name": "b", "onnx": {"repository": "r", "version": 1}},
            ],
            "mirror": [{"to": "b"}],
        }],
    });
    let places = [
        ("Listener", "/listeners/0"),
        ("Downstream", "/downstream"),
        ("Http2", "/downstream/h2"),
        ("Admin", "/admin"),
        ("AccessLog", "/accessLog"),
        ("Drain", "/drain"),
        ("Model", "/models/0"),
        ("Fallback", "/models/0/fallback"),
        ("Limits", "/models/0/limits"),
        ("Timeouts", "/models/0/timeouts"),
        ("Upstream", "/models/0/versions/0/upstream"),
        ("Onnx", "/models/0/versions/1/onnx"),
        ("Mirror", "/models/0/mirror/0"),
    ];
    let mut written = bare.clone();
    for (name, section) in sections() {
        for (key, property) in section["properties"].as_object().unwrap() {
            let Some(default) = property.get("default").filter(|_| name != "Root") else { continue };
            let place = places.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}.{key}")).1;
            written.pointer_mut(place).unwrap()[key] = default.clone();
            let shown = default.as_str().map_or_else(|| default.to_string(), ToOwned::to_owned);
            let line = FULL.lines().map(str::trim_start).find(|line| {
                line.starts_with(&format!("{key}: {shown} ")) && line.contains(&format!("# default {shown}"))
            });
            assert!(line.is_some(), "full.yaml does not give {name}.{key} its default {shown}");
        }
    }
    assert_ne!(written, bare);
    let (mut bare, mut written) = (good(&bare.to_string()), good(&written.to_string()));
    for config in [&mut bare, &mut written] {
        config.hash.clear();
        config.warnings.clear();
    }
    assert_eq!(bare, written);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_of_yaml_signs_does_not_make_the_reader_panic(
        text in "([-:,?&*!|>{}\\[\\]#%@'\" \n\ta0<~]|models|- |: |<<: \\*a|&a ){0,80}",
    ) {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_configuration_gives_the_same_answer_every_time_and_places_every_mistake(
        from in 0usize..FULL.len(), length in 0usize..200, insert in "[-:a1%&*\\[{ \n]{0,4}",
    ) {
        let from = FULL.floor_char_boundary(from);
        let to = FULL.floor_char_boundary((from + length).min(FULL.len()));
        let text = format!("{}{insert}{}", &FULL[..from], &FULL[to..]);
        let result = parse(&text);
        prop_assert_eq!(&result, &parse(&text));
        if let Err(errors) = result {
            prop_assert!(!errors.problems.is_empty());
            let lines = text.lines().count() as u32 + 1;
            for problem in &errors.problems {
                prop_assert!((1..=lines).contains(&problem.line), "{}", problem);
                prop_assert!(problem.column >= 1 && !problem.message.is_empty());
                prop_assert!(!problem.to_string().contains('\n'), "{}", problem);
            }
        }
    }

    #[test]
    fn weights_of_an_accepted_configuration_always_sum_to_everything(
        given in prop::collection::vec(prop::option::of(0u32..=10_000), 1..5), stable in 0usize..5,
    ) {
        let stable = stable % given.len();
        let versions: Vec<_> = given.iter().enumerate().map(|(i, weight)| {
            let weight = weight.map(|w| format!("weight: {w}bp, ")).unwrap_or_default();
            format!("{{name: v{i}, {weight}upstream: {{url: \"http://h:1\"}}}}")
        }).collect();
        let text = format!("models: [{{name: m, stable: v{stable}, versions: [{}]}}]", versions.join(", "));
        let others: u32 = given.iter().enumerate().filter(|(i, _)| *i != stable).filter_map(|(_, w)| *w).sum();
        let fits = given[stable].map_or(others <= 10_000, |w| w + others == 10_000);
        match parse(&text) {
            Ok(config) => {
                prop_assert!(fits);
                prop_assert_eq!(weights(&config).into_iter().map(u32::from).sum::<u32>(), 10_000);
            }
            Err(errors) => {
                prop_assert!(!fits);
                prop_assert!(errors.to_string().contains("the weights sum to"), "{}", errors);
            }
        }
    }
}

/// `=== name`, the configuration, `>>>`, the lines.
const REFUSED: &str = r####"
=== a bare number is not a weight
models:
  - name: m
    versions:
      - {name: a, weight: 90%, upstream: {url: "http://h:1"}}
      - {name: b, weight: 10, upstream: {url: "http://h:2"}}
>>>
config:5:27: models[0].versions[1].weight: "10" is not a weight: write "10%" or "10bp"
=== a quoted number is not a weight either
models: [{name: m, versions: [{name: a, weight: "250", upstream: {url: "http://h:1"}}]}]
>>>
config:1:49: models[0].versions[0].weight: "250" is not a weight: write a percentage such as "5%" or "0.25%", or basis points such as "25bp"
=== a weight above everything
models: [{name: m, versions: [{name: a, weight: 100.5%, upstream: {url: "http://h:1"}}]}]
>>>
config:1:49: models[0].versions[0].weight: "100.5%" is more than everything: write at most "100%" or "10000bp"
=== a weight that is a list
models: [{name: m, versions: [{name: a, weight: [1], upstream: {url: "http://h:1"}}]}]
>>>
config:1:49: models[0].versions[0].weight: expected a share such as "5%", found a list
=== weights above the sum, shown one by one
models:
  - name: m
    versions:
      - {name: a, weight: 90%, upstream: {url: "http://h:1"}}
      - {name: b, weight: 20.25%, upstream: {url: "http://h:2"}}
>>>
config:4:7: models[0].versions: the weights sum to 110.25%, not to 100% (a 90%, b 20.25%): change them, or leave out that of "a": stable takes the rest
=== weights below the sum
models:
  - name: m
    versions:
      - {name: a, weight: 50%, upstream: {url: "http://h:1"}}
      - {name: b, weight: 40%, upstream: {url: "http://h:2"}}
>>>
config:4:7: models[0].versions: the weights sum to 90%, not to 100% (a 50%, b 40%): change them, or leave out that of "a": stable takes the rest
=== canaries that leave stable less than nothing
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: b, weight: 60%, upstream: {url: "http://h:2"}}
      - {name: c, weight: 60%, upstream: {url: "http://h:3"}}
>>>
config:4:7: models[0].versions: the weights sum to 120%, not to 100% (b 60%, c 60%): lower them
=== one version with less than everything
models: [{name: m, versions: [{name: a, weight: 90%, upstream: {url: "http://h:1"}}]}]
>>>
config:1:30: models[0].versions: the weights sum to 90%, not to 100% (a 90%): leave the weight out
=== the nearest key is proposed
models:
  - name: m
    versions:
      - {name: a, wieght: 100%, upstream: {url: "http://h:1"}}
>>>
config:4:19: models[0].versions[0].wieght: there is no key "wieght": did you mean "weight"? Known here: name, weight, role, upstream, onnx, rewrite
=== keys of other dialects are recognised
downstream: {max_connections: 5}
models: [{name: m, match: [{path: /x}], versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:14: downstream.max_connections: there is no key "max_connections": did you mean "maxConnections"? Known here: maxConnections, headerBytes, headerCount, firstByteTimeout, handshakeTimeout, headerTimeout, h2
config:2:29: models[0].match[0].path: there is no key "path": did you mean "pathPrefix"? Known here: host, header, pathPrefix, model
=== a key like no other
zebra: 1
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:1: zebra: there is no key "zebra": remove it; known here: models, listeners, downstream, workers, admin, accessLog, drain, onnxRuntime
=== a key twice
models:
  - name: m
    name: n
    versions: [{name: a, upstream: {url: "http://h:1"}}]
>>>
config:3:5: models[0].name: the key is written twice, first on line 2: remove one of them
=== everything missing
listeners: [{}]
models: [{}]
>>>
config:1:13: listeners[0].address: is missing: add the key "address" here
config:1:13: listeners[0].name: is missing: add the key "name" here
config:2:10: models[0].name: is missing: add the key "name" here
config:2:10: models[0].versions: is missing: add the key "versions" here
=== no models
listeners: [{name: main, address: 127.0.0.1:1}]
>>>
config:1:1: models: is missing: add the key "models" here
=== empty lists
listeners: []
models: []
>>>
config:1:12: listeners: the list is empty: write at least one item, or remove the key
config:2:9: models: the list is empty: write at least one item, or remove the key
=== empty list of versions
models: [{name: m, match: [], versions: []}]
>>>
config:1:27: models[0].match: the list is empty: write at least one item, or remove the key
config:1:41: models[0].versions: the list is empty: write at least one item, or remove the key
=== a mapping where a list belongs
models: {name: m}
>>>
config:1:9: models: expected a list, found a mapping: start each item on a line of its own with "- "
=== a list where a mapping belongs
admin: [127.0.0.1:1]
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:8: admin: expected a mapping, found a list: write keys such as "address:" below it
=== text where a mapping belongs
models: [{name: m, versions: [{name: a, upstream: "http://h:1"}]}]
>>>
config:1:51: models[0].versions[0].upstream: expected a mapping, found "http://h:1": write keys such as "url:" below it
=== a text instead of a configuration
hello
>>>
config:1:1: expected a mapping, found "hello": write keys such as "models:" below it
=== a list instead of a configuration
- models
>>>
config:1:1: expected a mapping, found a list: write keys such as "models:" below it
=== an empty file
>>>
config:1:1: the configuration is empty: start with `models:`
=== a file of comments
# nothing yet
>>>
config:1:1: the configuration is empty: start with `models:`
=== a key without a value
admin:
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:6: admin: has no value: write one, or remove the key
=== a number where a text belongs
models: [{name: 7, versions: [{name: 1.10, upstream: {url: "http://h:1"}, rewrite: {modelVersion: 2}}]}]
>>>
config:1:17: models[0].name: expected a name, found 7: put it in quotes: "7"
config:1:38: models[0].versions[0].name: expected a name, found 1.10: put it in quotes: "1.10"
config:1:99: models[0].versions[0].rewrite.modelVersion: expected text, found 2: put it in quotes: "2"
=== a boolean where a text belongs
models: [{name: true, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:17: models[0].name: expected a name, found true: put it in quotes: "true"
=== names with other characters
models: [{name: a b, versions: [{name: -x, upstream: {url: "http://h:1"}}, {name: "", upstream: {url: "http://h:1"}}]}]
>>>
config:1:17: models[0].name: "a b" is not a name: use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit
config:1:40: models[0].versions[0].name: "-x" is not a name: use 1 to 63 letters, digits, '.', '_' or '-', starting with a letter or digit
config:1:83: models[0].versions[1].name: is empty: write a name
=== two models of one name
models:
  - {name: m, match: [{pathPrefix: /a}], versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: m, match: [{pathPrefix: /b}], versions: [{name: a, upstream: {url: "http://h:1"}}]}
>>>
config:3:12: models[1].name: a second model is named "m", the first is on line 2: give each a name of its own
=== two versions of one name
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: a, upstream: {url: "http://h:2"}}
>>>
config:5:16: models[0].versions[1].name: a second version is named "a", the first is on line 4: give each a name of its own
=== two listeners of one name
listeners:
  - {name: main, address: 127.0.0.1:1}
  - {name: main, address: 127.0.0.1:2}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:3:12: listeners[1].name: a second listener is named "main", the first is on line 2: give each a name of its own
=== stable that is not there
models:
  - name: m
    stable: v9
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: b, upstream: {url: "http://h:1"}}
>>>
config:3:13: models[0].stable: there is no version "v9": write one of: a, b
=== two stable versions by role
models:
  - name: m
    versions:
      - {name: a, role: stable, upstream: {url: "http://h:1"}}
      - {name: b, role: stable, upstream: {url: "http://h:1"}}
>>>
config:5:25: models[0].versions[1].role: a second stable version: "a" is stable by its role on line 4: keep one
=== stable by name and another by role
models:
  - name: m
    stable: a
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: b, role: stable, upstream: {url: "http://h:1"}}
>>>
config:6:25: models[0].versions[1].role: a second stable version: "a" is stable by `stable` on line 3: keep one
=== the first version is stable and no shadow
models:
  - name: m
    versions:
      - {name: a, role: shadow, upstream: {url: "http://h:1"}}
      - {name: b, upstream: {url: "http://h:1"}}
>>>
config:4:25: models[0].versions[0].role: "a" is stable as the first one and cannot be shadow: remove the role, or name another version with `stable`
=== a shadow with weight
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: b, role: standby, weight: 5%, upstream: {url: "http://h:1"}}
>>>
config:5:25: models[0].versions[1].role: a standby version gets no live traffic, but this one has weight 5%: remove the role or the weight
=== a role that is none
models: [{name: m, versions: [{name: a, role: primary, upstream: {url: "http://h:1"}}]}]
>>>
config:1:47: models[0].versions[0].role: "primary" is not a role: write one of: stable, canary, shadow, standby, retired
=== a retired version that is mirrored to
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "http://h:1"}}
      - {name: b, role: retired, upstream: {url: "http://h:1"}}
    mirror: [{to: b}]
>>>
config:5:25: models[0].versions[1].role: a retired version is mirrored to: remove the role or the mirror
=== no backend
models: [{name: m, versions: [{name: a}]}]
>>>
config:1:31: models[0].versions[0]: the version has no backend: write exactly one of upstream and onnx
=== two backends
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}, onnx: {repository: r, version: 1}}]}]
>>>
config:1:31: models[0].versions[0]: the version has two backends: write exactly one of upstream and onnx
=== urls without what belongs in them
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "127.0.0.1:9001"}}
      - {name: b, upstream: {url: "grpc://h:1"}}
      - {name: c, upstream: {url: "ftp://h"}}
      - {name: d, upstream: {url: "http://h:1/v2/models?x#y"}}
      - {name: e, upstream: {url: "http://user:pw@h:1"}}
      - {name: f, upstream: {url: "http://:80"}}
      - {name: g, upstream: {url: "http://h:0"}}
      - {name: h, upstream: {url: "http://h:65536"}}
      - {name: i, upstream: {url: "http://h:"}}
      - {name: j, upstream: {url: "unix:run/m.sock"}}
      - {name: k, upstream: {url: "http://127.0.0.300:1"}}
      - {name: l, upstream: {url: "http://[::1:1"}}
      - {name: n, upstream: {url: "what is this"}}
      - {name: o, upstream: {url: "http://h:1/"}}
      - {name: p, upstream: {}}
>>>
config:4:35: models[0].versions[0].upstream.url: "127.0.0.1:9001" has no scheme: write "http://127.0.0.1:9001"
config:5:35: models[0].versions[1].upstream.url: "grpc://h:1" has a scheme that is not known: write "http://h:1" and "protocol: http2"
config:6:35: models[0].versions[2].upstream.url: "ftp://h" has a scheme that is not known: write "http://", "https://" or "unix:/path"
config:7:35: models[0].versions[3].upstream.url: "http://h:1/v2/models?x#y" has a path: write "http://h:1"; `rewrite.pathPrefix` changes paths
config:8:35: models[0].versions[4].upstream.url: "...@h:1" has a user in it: remove it and the `@`
config:9:35: models[0].versions[5].upstream.url: "http://:80" has no valid host: write "http://HOST:PORT"
config:10:35: models[0].versions[6].upstream.url: "http://h:0" has no valid port: write a port from 1 to 65535
config:11:35: models[0].versions[7].upstream.url: "http://h:65536" has no valid port: write a port from 1 to 65535
config:12:35: models[0].versions[8].upstream.url: "http://h:" has no valid port: write a port from 1 to 65535
config:13:35: models[0].versions[9].upstream.url: "unix:run/m.sock" is not an absolute path: write "unix:/path/to/socket"
config:14:35: models[0].versions[10].upstream.url: "http://127.0.0.300:1" has no valid host: write "http://HOST:PORT"
config:15:35: models[0].versions[11].upstream.url: "http://[::1:1" has no valid host: write "http://HOST:PORT"
config:16:35: models[0].versions[12].upstream.url: "what is this" has no scheme: write "http://HOST:PORT", "https://HOST:PORT" or "unix:/path"
config:17:35: models[0].versions[13].upstream.url: "http://h:1/" has a path: write "http://h:1"; `rewrite.pathPrefix` changes paths
config:18:29: models[0].versions[14].upstream.url: is missing: add the key "url" here
=== a socket path that no kernel takes
models: [{name: m, versions: [{name: a, upstream: {url: "unix:/ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"}}]}]
>>>
config:1:57: models[0].versions[0].upstream.url: "unix:/pppppppppppppppppppppppppppppppppppppppppppppppppppppp..." is too long: the path of a Unix socket has at most 107 bytes
=== tls without https
models:
  - name: m
    versions:
      - {name: a, upstream: {url: "http://h:1", tls: {serverName: x}}}
      - {name: b, upstream: {url: "unix:/s", tls: {}}}
>>>
config:4:54: models[0].versions[0].upstream.tls: tls without https: write "https://h:1" as url, or remove tls
config:5:51: models[0].versions[1].upstream.tls: tls without https: remove it: a Unix socket does not leave this machine
=== a server name that no certificate bears
models: [{name: m, versions: [{name: a, upstream: {url: "https://h:1", tls: {serverName: "a b"}}}]}]
>>>
config:1:90: models[0].versions[0].upstream.tls.serverName: "a b" is not a host name: write the DNS name or IP address in the server's certificate
=== files that are not there
listeners: [{name: main, address: 127.0.0.1:1, tls: {certificate: c.pem, key: /}}]
models: [{name: m, versions: [{name: a, upstream: {url: "https://h:1", tls: {ca: certs/ca.pem}}}]}]
>>>
config:1:67: listeners[0].tls.certificate: /nowhere/c.pem does not exist: check the path; relative ones start at /nowhere
config:1:79: listeners[0].tls.key: / is not a file: check the path; relative ones start at /nowhere
config:2:82: models[0].versions[0].upstream.tls.ca: /nowhere/certs/ca.pem does not exist: check the path; relative ones start at /nowhere
=== half of a certificate
listeners: [{name: main, address: 127.0.0.1:1, tls: {certificate: ""}}]
models: [{name: m, versions: [{name: a, upstream: {url: "https://h:1"}}]}]
>>>
config:1:53: listeners[0].tls.key: is missing: add the key "key" here
config:1:67: listeners[0].tls.certificate: is empty: write a path
=== an access log in no folder and of no request
accessLog: {path: logs/access.json, sample: 0%}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:19: accessLog.path: there is no folder /nowhere/logs: check the path; relative ones start at /nowhere
config:1:45: accessLog.sample: the share is zero: write more than "0%", or remove the section
=== an access log without a path
accessLog: {sample: 10}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:12: accessLog.path: is missing: add the key "path" here
config:1:21: accessLog.sample: "10" is not a share: write "10%" or "10bp"
=== a mirror to nobody
models:
  - name: m
    versions: [{name: a, upstream: {url: "http://h:1"}}, {name: b, upstream: {url: "http://h:1"}}]
    mirror: [{to: c}, {}]
>>>
config:4:19: models[0].mirror[0].to: there is no version "c": write one of: a, b
config:4:23: models[0].mirror[1].to: is missing: add the key "to" here
=== a mirror to a version that serves
models:
  - name: m
    versions: [{name: a, upstream: {url: "http://h:1"}}, {name: b, weight: 1%, upstream: {url: "http://h:1"}}]
    mirror: [{to: b}, {to: a}]
>>>
config:4:19: models[0].mirror[0].to: "b" has weight 1%: it would shadow itself: mirror to a version without weight
config:4:28: models[0].mirror[1].to: "a" has weight 99%: it would shadow itself: mirror to a version without weight
=== two mirrors to one shadow
models:
  - name: m
    versions: [{name: a, upstream: {url: "http://h:1"}}, {name: b, upstream: {url: "http://h:1"}}]
    mirror:
      - {to: b}
      - {to: b, sample: 50%}
>>>
config:6:14: models[0].mirror[1].to: a second mirror to "b", the first is on line 5: remove one of them
=== a mirror that copies nothing
models:
  - name: m
    versions: [{name: a, upstream: {url: "http://h:1"}}, {name: b, upstream: {url: "http://h:1"}}]
    mirror: [{to: b, sample: 0bp, deadline: 0s, maxInFlight: 0, maxBytes: 0, maxBodyBytes: 0, suspendAbove: 0}]
>>>
config:4:30: models[0].mirror[0].sample: the share is zero: write more than "0%", or remove the section
config:4:45: models[0].mirror[0].deadline: "0s" is out of range: write 1ms to 24h
config:4:62: models[0].mirror[0].maxInFlight: 0 is out of range: write a number from 1 to 1000000
config:4:75: models[0].mirror[0].maxBytes: 0 is out of range: write 1Ki to 64Gi
config:4:92: models[0].mirror[0].maxBodyBytes: 0 is out of range: write 1 to 64Gi
config:4:109: models[0].mirror[0].suspendAbove: 0 is out of range: write a number from 1 to 1000000
=== a body longer than the budget
models:
  - name: m
    versions: [{name: a, upstream: {url: "http://h:1"}}, {name: b, upstream: {url: "http://h:1"}}]
    mirror: [{to: b, maxBytes: 1Mi, maxBodyBytes: 2Mi, dropHeaders: [authorization, host, "a b"]}]
>>>
config:4:51: models[0].mirror[0].maxBodyBytes: one body may be longer than all of them (1Mi): write at most maxBytes
config:4:85: models[0].mirror[0].dropHeaders[1]: the header "host" is set by itself: write `rewrite.host`
config:4:91: models[0].mirror[0].dropHeaders[2]: "a b" is not the name of a header: use letters, digits and '-', such as "x-user-id"
=== sticky by nothing
models: [{name: m, sticky: {salt: x}, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:28: models[0].sticky: no source of the key: write exactly one of header, cookie, jsonPointer, clientAddress
=== sticky by two things
models: [{name: m, sticky: {header: a, cookie: b}, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:28: models[0].sticky: 2 sources of the key: header, cookie: write exactly one of header, cookie, jsonPointer, clientAddress
=== sticky sources that cannot be
models:
  - {name: k, sticky: {header: "x user"}, versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: l, sticky: {cookie: "u;id"}, versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: m, sticky: {jsonPointer: "$.user"}, versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: n, sticky: {jsonPointer: "/a~2"}, versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: o, sticky: {clientAddress: false}, versions: [{name: a, upstream: {url: "http://h:1"}}]}
>>>
config:2:32: models[0].sticky.header: "x user" is not the name of a header: use letters, digits and '-', such as "x-user-id"
config:3:32: models[1].sticky.cookie: "u;id" is not the name of a cookie: use letters, digits and -_.!#$%&'*+^`|~ only
config:4:37: models[2].sticky.jsonPointer: "$.user" is not a JSON pointer: start it with `/`: "/user"
config:5:37: models[3].sticky.jsonPointer: "/a~2" is not a JSON pointer: write "~0" for `~` and "~1" for `/` in a name
config:6:39: models[4].sticky.clientAddress: only true makes sense: write true, or remove `sticky`
=== a match without a condition
models: [{name: m, match: [{}], versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:28: models[0].match[0]: the item has no condition: write host, header, pathPrefix or model; {pathPrefix: /} matches every request
=== a match with too many
models: [{name: m, match: [{model: m, pathPrefix: /m}], versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:28: models[0].match[0]: pathPrefix and model do not go together: keep one, or write two items: any one of them is enough
=== matches that match nothing
models:
  - name: m
    match:
      - {host: "http://x"}
      - {host: "x:80"}
      - {host: "*"}
      - {pathPrefix: score}
      - {pathPrefix: "/a?b"}
      - {pathPrefix: /a/../b}
      - {header: {name: "x y", value: " z"}}
      - {header: x-model}
      - {model: ""}
    versions: [{name: a, upstream: {url: "http://h:1"}}]
>>>
config:4:16: models[0].match[0].host: "http://x" is not a host: write a name such as "fraud.example" or "*.example", without scheme and port
config:5:16: models[0].match[1].host: "x:80" is not a host: write a name such as "fraud.example" or "*.example", without scheme and port
config:6:16: models[0].match[2].host: "*" is not a host: write a name such as "fraud.example" or "*.example", without scheme and port
config:7:22: models[0].match[3].pathPrefix: "score" is not the start of a path: start it with `/`
config:8:22: models[0].match[4].pathPrefix: "/a?b" is not the start of a path: leave out query and fragment, and write other characters as %XX
config:9:22: models[0].match[5].pathPrefix: "/a/../b" is not the start of a path: write it without empty, `.` and `..` segments
config:10:25: models[0].match[6].header.name: "x y" is not the name of a header: use letters, digits and '-', such as "x-user-id"
config:10:39: models[0].match[6].header.value: " z" is not the value of a header: remove control characters and spaces at the ends
config:11:18: models[0].match[7].header: expected a mapping, found "x-model": write keys such as "name:" below it
config:12:17: models[0].match[8].model: is empty: write text
=== two models for the same requests
models:
  - {name: k, match: [{pathPrefix: /a/, host: X.example}], versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: l, match: [{host: x.example, pathPrefix: /a}], versions: [{name: a, upstream: {url: "http://h:1"}}]}
>>>
config:3:23: models[1].match[0]: the same requests are model "k"'s, by line 2: match something else, or remove one of the two
=== a match that takes another model's name
models:
  - {name: k, match: [{model: l}], versions: [{name: a, upstream: {url: "http://h:1"}}]}
  - {name: l, versions: [{name: a, upstream: {url: "http://h:1"}}]}
>>>
config:3:12: models[1].name: the same requests are model "k"'s, by line 2: match something else, or remove one of the two
=== one match twice
models:
  - name: m
    match:
      - {model: x}
      - {model: x}
    versions: [{name: a, upstream: {url: "http://h:1"}}]
>>>
config:5:9: models[0].match[1]: the same requests are matched on line 4 already: match something else, or remove one of the two
=== headers that are not the operator's
models:
  - name: m
    versions:
      - name: a
        upstream: {url: "http://h:1"}
        rewrite:
          headers:
            set: {host: x, content-length: "5", X-Switchback-Shadow: b, Connection: close, "a b": c, x-n: 5, x-a: 1b, X-A: c}
            remove: [transfer-encoding, te, x-a, 5]
>>>
config:8:19: models[0].versions[0].rewrite.headers.set.host: the header "host" is set by itself: write `rewrite.host`
config:8:28: models[0].versions[0].rewrite.headers.set.content-length: the header "content-length" is part of the message's framing: remove it
config:8:49: models[0].versions[0].rewrite.headers.set.X-Switchback-Shadow: the header "x-switchback-shadow" is Switchback's own: remove it
config:8:73: models[0].versions[0].rewrite.headers.set.Connection: the header "connection" belongs to one connection and is never passed on: remove it
config:8:92: models[0].versions[0].rewrite.headers.set["a b"]: "a b" is not the name of a header: use letters, digits and '-', such as "x-user-id"
config:8:107: models[0].versions[0].rewrite.headers.set.x-n: expected the value of a header, found 5: put it in quotes: "5"
config:8:119: models[0].versions[0].rewrite.headers.set.X-A: the header "x-a" is set twice: keep one: upper and lower case are the same
config:9:22: models[0].versions[0].rewrite.headers.remove[0]: the header "transfer-encoding" is part of the message's framing: remove it
config:9:41: models[0].versions[0].rewrite.headers.remove[1]: the header "te" belongs to one connection and is never passed on: remove it
config:9:45: models[0].versions[0].rewrite.headers.remove[2]: the header "x-a" is set and removed: keep one: setting replaces what the client sent
config:9:50: models[0].versions[0].rewrite.headers.remove[3]: expected the name of a header, found 5: put it in quotes: "5"
=== rewrites that cannot be
models:
  - name: m
    versions:
      - name: a
        upstream: {url: "http://h:1"}
        rewrite: {model: "", pathPrefix: {from: score}, host: "http://x"}
>>>
config:6:26: models[0].versions[0].rewrite.model: is empty: write text
config:6:42: models[0].versions[0].rewrite.pathPrefix.to: is missing: add the key "to" here
config:6:49: models[0].versions[0].rewrite.pathPrefix.from: "score" is not the start of a path: start it with `/`
config:6:63: models[0].versions[0].rewrite.host: "http://x" is not a host: write HOST or HOST:PORT, without scheme and path
=== durations and sizes in other words
downstream: {headerBytes: 64KB, firstByteTimeout: 60, headerTimeout: 1.5s, handshakeTimeout: 0s}
drain: {delay: 2h, timeout: -1s}
models: [{name: m, limits: {requestBytes: 0, peekBytes: [1]}, timeouts: {response: soon, idle: 400d}, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:27: downstream.headerBytes: "64KB" is not a size: write bytes such as 65536, or "64Ki", "16Mi", "4Gi"
config:1:51: downstream.firstByteTimeout: 60 is not a duration: write the unit, such as "60s" or "60ms"
config:1:70: downstream.headerTimeout: "1.5s" is not a duration: write one such as "250ms", "5s", "1m30s" or "1h"
config:1:94: downstream.handshakeTimeout: "0s" is out of range: write 1ms to 24h
config:2:16: drain.delay: "2h" is out of range: write 0s to 1h
config:2:29: drain.timeout: "-1s" is not a duration: write one such as "250ms", "5s", "1m30s" or "1h"
config:3:43: models[0].limits.requestBytes: 0 is out of range: write 1 to 1024Gi
config:3:57: models[0].limits.peekBytes: expected a size such as "64Ki", found a list
config:3:84: models[0].timeouts.response: "soon" is not a duration: write one such as "250ms", "5s", "1m30s" or "1h"
config:3:96: models[0].timeouts.idle: "400d" is not a duration: write one such as "250ms", "5s", "1m30s" or "1h"
=== numbers in other words
workers: 0
downstream: {maxConnections: "10", headerCount: ten, h2: {maxStreams: 1.5, streamWindow: 4Gi}}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1", maxConnections: 99999999999999999999, maxIdle: -1, h2StreamsPerConnection: 010}}]}]
>>>
config:1:10: workers: 0 is out of range: write a number from 1 to 1024
config:2:30: downstream.maxConnections: "10" is not a whole number: write a number from 1 to 1000000, without quotes
config:2:49: downstream.headerCount: "ten" is not a whole number: write a number from 10 to 10000, without quotes
config:2:71: downstream.h2.maxStreams: 1.5 is not a whole number: write a number from 1 to 65536, without quotes
config:2:90: downstream.h2.streamWindow: "4Gi" is out of range: write 16Ki to 2147483647
config:3:87: models[0].versions[0].upstream.maxConnections: 99999999999999999999 is out of range: write a number from 1 to 1000000
config:3:118: models[0].versions[0].upstream.maxIdle: -1 is not a whole number: write a number from 0 to 1000000, without quotes
config:3:146: models[0].versions[0].upstream.h2StreamsPerConnection: 010 is not a whole number: write a number from 1 to 65536, without quotes
=== switches in other words
models: [{name: m, exposeVersion: yes, fallback: {enabled: "true"}, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:35: models[0].exposeVersion: "yes" is neither true nor false: write true or false, without quotes
config:1:60: models[0].fallback.enabled: "true" is neither true nor false: write true or false, without quotes
=== a fallback that does not say whether
models: [{name: m, fallback: {maxBodyBytes: 1Mi}, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:30: models[0].fallback.enabled: is missing: add the key "enabled" here
=== a protocol that is none
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1", protocol: h2c}}]}]
>>>
config:1:81: models[0].versions[0].upstream.protocol: "h2c" is not a protocol: write one of: auto, http1, http2
=== addresses in other words
listeners:
  - {name: a, address: localhost:8080}
  - {name: b, address: ":8080"}
  - {name: c, address: 8080}
  - {name: d, address: "unix:sock"}
  - {name: admin, address: "127.0.0.1:1"}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:2:24: listeners[0].address: "localhost:8080" is not an address to listen on: write "127.0.0.1:8080"
config:3:24: listeners[1].address: ":8080" is not an address to listen on: write "0.0.0.0:8080"
config:4:24: listeners[2].address: "8080" is not an address to listen on: write "0.0.0.0:8080"
config:5:24: listeners[3].address: "unix:sock" is not an address to listen on: write IP:PORT such as "127.0.0.1:8080", or "unix:/path"
config:6:12: listeners[4].name: "admin" is the name of the admin address: write another name
=== one address twice
admin: {address: 127.0.0.1:3}
listeners:
  - {name: a, address: 127.0.0.1:1}
  - {name: b, address: 127.0.0.1:1}
  - {name: c, address: 0.0.0.0:1}
  - {name: d, address: 127.0.0.1:0}
  - {name: e, address: 127.0.0.1:0}
  - {name: f, address: 0.0.0.0:3}
  - {name: g, address: unix:/s}
  - {name: h, address: unix:/s}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:4:24: listeners[1].address: 127.0.0.1:1 is in use by the listener on line 3 (127.0.0.1:1): write another port
config:5:24: listeners[2].address: 0.0.0.0:1 is in use by the listener on line 3 (127.0.0.1:1): write another port
config:8:24: listeners[5].address: 0.0.0.0:3 is in use by the admin address (127.0.0.1:3): write another port here or as `admin.address`
config:10:24: listeners[7].address: unix:/s is in use by the listener on line 9 (unix:/s): write another port
=== the admin on the default listener
admin: {address: 127.0.0.1:8080}
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:18: admin.address: 127.0.0.1:8080 is the listeners' address: write another port, or `listeners`
=== onnx that cannot be
models:
  - name: m
    versions:
      - {name: a, onnx: {repository: r, model: ../x, version: latest, instances: 0, maxQueue: 0, loadTimeout: 5}}
      - {name: b, onnx: {version: 1}}
>>>
config:4:48: models[0].versions[0].onnx.model: "../x" is not the name of a folder: write one folder's name, without `/`
config:4:63: models[0].versions[0].onnx.version: "latest" is not a whole number: write a number from 1 to 9007199254740991, without quotes
config:4:82: models[0].versions[0].onnx.instances: 0 is out of range: write a number from 1 to 256
config:4:95: models[0].versions[0].onnx.maxQueue: 0 is out of range: write a number from 1 to 1000000
config:4:111: models[0].versions[0].onnx.loadTimeout: 5 is not a duration: write the unit, such as "5s" or "5ms"
config:5:25: models[0].versions[1].onnx.repository: is missing: add the key "repository" here
=== a bracket that is not closed
models: [{name: m
>>>
config:1:10: this is not YAML (unclosed bracket '{'): check the indentation and brackets here and above, and put quotes around values with `: `
=== wrong indentation
models:
  - name: m
   versions: []
>>>
config:3:4: this is not YAML (while parsing a block collection, did not find expected '-' indicator): check the indentation and brackets here and above, and put quotes around values with `: `
=== a tab
models:
	- name: m
>>>
config:2:2: this is not YAML (tabs disallowed within this context (block indentation)): indent with spaces
=== two colons
models: a: b
>>>
config:1:10: this is not YAML (mapping values are not allowed in this context): check the indentation and brackets here and above, and put quotes around values with `: `
=== an alias of nothing
models: *m
>>>
config:1:9: this is not YAML (while parsing node, found unknown anchor): define the anchor with `&` before it is used with `*`
=== a second document
models: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
---
models: []
>>>
config:2:1: a second document starts here: remove the `---`: a configuration is one document
=== a tag
models: !include models.yaml
>>>
config:1:18: the tag "!include" has no meaning here: remove it
config:1:18: models: expected a list, found "models.yaml": start each item on a line of its own with "- "
=== a list as a key
? [a, b]
: c
>>>
config:1:3: a key must be text: write one word before the `:`
=== many mistakes at once, in the order of the file
listeners:
  - {name: main, address: nowhere}
modles: []
models:
  - name: fraud
    sticky: {header: x, cookie: y}
    versions:
      - {name: v1, weight: 90, upstream: {url: "http://h:1", conectTimeout: 5s}}
      - {name: v2, weight: 10%}
    mirror:
      - {to: v2, sample: 2}
>>>
config:2:27: listeners[0].address: "nowhere" is not an address to listen on: write IP:PORT such as "127.0.0.1:8080", or "unix:/path"
config:3:1: modles: there is no key "modles": did you mean "models"? Known here: models, listeners, downstream, workers, admin, accessLog, drain, onnxRuntime
config:6:13: models[0].sticky: 2 sources of the key: header, cookie: write exactly one of header, cookie, jsonPointer, clientAddress
config:8:28: models[0].versions[0].weight: "90" is not a weight: write "90%" or "90bp"
config:8:62: models[0].versions[0].upstream.conectTimeout: there is no key "conectTimeout": did you mean "connectTimeout"? Known here: url, protocol, tls, connectTimeout, maxConnections, maxIdle, idleTimeout, h2StreamsPerConnection
config:9:9: models[0].versions[1]: the version has no backend: write exactly one of upstream and onnx
config:11:14: models[0].mirror[0].to: "v2" has weight 10%: it would shadow itself: mirror to a version without weight
config:11:26: models[0].mirror[0].sample: "2" is not a share: write "2%" or "2bp"
=== a misspelt key is one mistake, not two
listner: []
modls: [{name: m, versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:1: listner: there is no key "listner": did you mean "listeners"? Known here: models, listeners, downstream, workers, admin, accessLog, drain, onnxRuntime
config:2:1: modls: there is no key "modls": did you mean "models"? Known here: models, listeners, downstream, workers, admin, accessLog, drain, onnxRuntime
=== a merge of what is no mapping
models: [{name: m, <<: [1], versions: [{name: a, upstream: {url: "http://h:1"}}]}]
>>>
config:1:25: `<<` takes mappings only: write an alias of a mapping
=== an alias inside its own anchor
models: &m [*m]
>>>
config:1:13: an alias inside its own anchor: write the value out
"####;
