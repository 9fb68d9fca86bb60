//! What the documents say is true: every configuration in them is accepted, every file they link
//! to is there. The commands of README.md and docs/load.md are run by `.ci/run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = [
        "README.md",
        "ARCHITECTURE.md",
        "load-tests/README.md",
        "docs/conformance.md",
        "docs/load.md",
        "docs/onnx.md",
        "docs/overload.md",
        "docs/statistics.md",
        "docs/tls.md",
        "docs/upstreams.md",
    ]
    .map(|name| {
        let path = root.join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        (path, text)
    });
    found.into()
}

/// Fenced blocks of a language, by what stands behind the fence, with the line they begin on.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut found, mut inside) = (Vec::new(), None::<(usize, bool, String)>);
    for (number, line) in text.lines().enumerate() {
        match (&mut inside, line.strip_prefix("```")) {
            (None, Some(info)) => inside = Some((number + 2, info == language, String::new())),
            (Some(_), Some(_)) => {
                if let Some((at, true, block)) = inside.take() {
                    found.push((at, block));
                }
                inside = None;
            }
            (Some((_, _, block)), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn every_configuration_shown_is_accepted() {
    let mut seen = 0;
    // Certificates that are shown must be there to be accepted; what is in them is read later.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("certs")).unwrap();
    for name in ["ca.pem", "server.pem", "server.key", "other.pem", "other.key"] {
        fs::write(folder.path().join("certs").join(name), "").unwrap();
    }
    for (path, text) in documents() {
        for (line, block) in blocks(&text, "yaml") {
            let base = if block.contains("certs/") { folder.path() } else { path.parent().unwrap() };
            if let Err(errors) = switchback::config::parse(&block, base) {
                panic!("{}:{line}:\n{errors}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn every_scenario_shown_is_accepted() {
    let mut seen = 0;
    for (path, text) in documents() {
        for (line, block) in blocks(&text, "yaml scenario") {
            if let Err(errors) = switchback::config::parse_scenario(&block, "shown", path.parent().unwrap()) {
                panic!("{}:{line}:\n{errors}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn every_command_shown_is_one_that_is_run() {
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            let shell =
                line.starts_with("```sh") || line.starts_with("```bash") || line.starts_with("```console");
            assert!(!shell || line.starts_with("```sh test"), "{}:{}: not run", path.display(), number + 1);
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for (path, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") && !target.starts_with('#') {
                let file = path.parent().unwrap().join(target.split('#').next().unwrap());
                assert!(file.exists(), "{} links to {target}", path.display());
            }
        }
    }
}
