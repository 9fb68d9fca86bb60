//! What is refused, and with which words: each mistake gives one line with its place and its fix.

use std::collections::BTreeSet;
use std::path::PathBuf;

use switchback::config::{self, Severity};

use super::parse;

/// Cases by topic: `=== name`, the configuration, `>>>`, the lines.
const REFUSED: [(&str, &str); 11] = [
    ("admin", include_str!("refused/admin.txt")),
    ("analysis", include_str!("refused/analysis.txt")),
    ("compare", include_str!("refused/compare.txt")),
    ("endpoints", include_str!("refused/endpoints.txt")),
    ("notifications", include_str!("refused/notifications.txt")),
    ("process", include_str!("refused/process.txt")),
    ("requests", include_str!("refused/requests.txt")),
    ("rollout", include_str!("refused/rollout.txt")),
    ("structure", include_str!("refused/structure.txt")),
    ("thresholds", include_str!("refused/thresholds.txt")),
    ("versions", include_str!("refused/versions.txt")),
];

/// What stands above every configuration of a rollout that is refused.
const MODEL: &str = "models:\n- name: m\n  versions:\n  - {name: a, upstream: {url: \"http://h:1\"}}\n  \
                     - {name: b, upstream: {url: \"http://h:2\"}}\n";

#[test]
fn every_wrong_configuration_is_refused_with_exactly_these_lines() {
    let mut names = BTreeSet::new();
    for (topic, cases) in REFUSED {
        for case in cases.split("=== ").skip(1) {
            let (name, case) = case.split_once('\n').unwrap();
            let (yaml, expected) = case.split_once(">>>\n").unwrap();
            let yaml = yaml.replace("MODEL\n", MODEL);
            let got = parse(&yaml).map(|_| "accepted".to_owned()).unwrap_or_else(|e| e.to_string());
            assert_eq!(got.trim_end(), expected.trim_end(), "{topic}: {name}");
            assert!(names.insert(name), "{topic}: a second case is named {name:?}");
        }
    }
    assert!(names.len() >= 160, "{}", names.len());
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
