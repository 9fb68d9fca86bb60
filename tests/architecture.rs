//! The house, enforced: every module stands on a floor, imports only lower floors, and keeps its
//! files short enough to read. ARCHITECTURE.md draws the same map.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/`, by top-level module.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("inference", 1),
    ("split", 1),
    ("stats", 1),
    ("telemetry", 1),
    ("certs", 2),
    ("divergence", 2),
    ("rollout", 2),
    ("wire", 2),
    ("net", 3),
    ("notify", 3),
    ("onnx", 3),
    ("store", 3),
    ("upstream", 3),
    ("routing", 4),
    ("control", 5),
    ("load", 5),
    ("mirror", 5),
    ("config", 6),
    ("proxy", 6),
    ("admin", 7),
    ("app", 8),
    ("cli", 9),
    ("main", 10),
    ("lib", 11),
];

/// Arithmetic and data, beside the floors below [`PURE_BELOW`]: no runtime, no sockets, no models.
const PURE: &[&str] = &["divergence", "rollout"];
const PURE_BELOW: u8 = 2;
const IMPURE: &[&str] = &["tokio", "hyper", "hyper_util", "ort", "socket2", "std::fs", "std::net::Tcp"];
/// `telemetry` writes logs, which is what it is for.
const WRITES: &[&str] = &["telemetry"];

/// Lines of code a file may have; comments, blank lines and its tests are not counted.
const LONGEST: usize = 400;

struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                found.push(Source { path: inside.to_owned(), module, code });
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Whether a line goes through `word::`, as a word of its own.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(&format!("{word}::"))
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn is_pure(module: &str) -> bool {
    floor(module) < PURE_BELOW || PURE.contains(&module)
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing.rs")))
}

fn floor(module: &str) -> u8 {
    let found = FLOORS.iter().find(|(name, _)| *name == module);
    found.unwrap_or_else(|| panic!("src/{module} stands on no floor: give it one")).1
}

/// Top-level modules that a source names after `crate::` (or `switchback::` in `main.rs`).
fn imports(source: &Source) -> Vec<String> {
    let code: String =
        source.code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let prefix = if source.module == "main" { "switchback::" } else { "crate::" };
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name.len());
            if end > 0 {
                found.push(name[..end].to_owned());
            }
        }
    }
    found
}

#[test]
fn modules_import_only_lower_floors() {
    let mut wrong = Vec::new();
    for source in sources() {
        if is_test(&source.path) {
            continue;
        }
        for import in imports(&source) {
            if import == source.module || FLOORS.iter().all(|(name, _)| *name != import) {
                continue;
            }
            if floor(&import) >= floor(&source.module) {
                wrong.push(format!(
                    "{} (floor {}) imports {import} (floor {})",
                    source.path.display(),
                    floor(&source.module),
                    floor(&import)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_floors_know_no_runtime() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| is_pure(&s.module)) {
        for word in IMPURE {
            let named = source.code.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && (names(line, word) || line.contains(&format!("use {word}")))
            });
            if named && !(WRITES.contains(&source.module.as_str()) && word.starts_with("std::")) {
                wrong.push(format!("{} names {word}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources() {
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        let lines = source.code.lines().filter(code).count();
        if lines > LONGEST && !is_test(&source.path) {
            wrong.push(format!("{}: {lines} lines", source.path.display()));
        }
        if !source.code.starts_with("//!") {
            wrong.push(format!("{} does not say what it is", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files of one module import each other without going round in circles.
#[test]
fn files_of_a_module_do_not_import_in_circles() {
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        let name = |p: &Path| p.with_extension("").to_string_lossy().replace('/', "::");
        let me = name(&source.path);
        if me.ends_with("mod") || me.ends_with("tests") {
            continue;
        }
        let parent = me.rsplit_once("::").map(|(p, _)| p.to_owned()).unwrap_or_default();
        for line in source.code.lines().filter(|l| l.trim_start().starts_with("use super::")) {
            let rest = line.trim_start().trim_start_matches("use super::");
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            edges.entry(me.clone()).or_default().push(format!("{parent}::{}", &rest[..end]));
        }
    }
    for start in edges.keys() {
        let (mut todo, mut seen) = (edges[start].clone(), Vec::new());
        while let Some(next) = todo.pop() {
            assert_ne!(&next, start, "{start} imports itself by way of {seen:?}");
            if !seen.contains(&next) {
                todo.extend(edges.get(&next).into_iter().flatten().cloned());
                seen.push(next);
            }
        }
    }
}
