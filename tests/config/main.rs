//! The configuration as its users meet it: what is refused and with which words, what the shipped
//! examples and the defaults mean, and that nothing anyone writes makes the reader panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod candidate;
mod hostile;
mod meaning;
mod receivers;
mod reference;
mod refused;
mod rollouts;

use std::path::Path;

use switchback::base::Weight;
use switchback::config::{self, Config};

const MINIMAL: &str = include_str!("../../config/minimal.yaml");
const FULL: &str = include_str!("../../config/full.yaml");

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

/// A folder with all shipped examples and every file that they name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let made = rcgen::generate_simple_self_signed(["models.internal".to_owned()]).unwrap();
    for path in ["ca.pem", "cert.pem", "certs/ca.pem", "certs/server.pem"] {
        place(path, &made.cert.pem());
    }
    for path in ["key.pem", "certs/server.key"] {
        place(path, &made.signing_key.serialize_pem());
    }
    for version in 1..=3 {
        place(&format!("demo/models/cancer/{version}/model.onnx"), "");
    }
    for path in ["libonnxruntime.so", "golden.jsonl"] {
        place(path, "");
    }
    for name in ["pipeline", "sign", "token", "pagerduty"] {
        place(&format!("secrets/{name}"), &format!("the-secret-of-{name}\n"));
    }
    place("secrets/slack", "https://hooks.slack.example/services/T0/B0/x\n");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            place(path.file_name().unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap());
        }
    }
    folder
}

/// The examples by name.
fn examples(folder: &Path) -> Vec<std::path::PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    paths.sort();
    paths
}
