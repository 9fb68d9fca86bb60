//! What the tests of this room share: the real library and the shipped models.

use std::path::{Path, PathBuf};

use super::{EngineSpec, RuntimeSource};

/// The library that `.ci/fetch-onnxruntime .cache/onnxruntime` installs, or `ORT_DYLIB_PATH`.
pub(crate) fn source() -> RuntimeSource {
    match std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        Some(path) => RuntimeSource { library: Some(path.into()) },
        None => source_beside_variable(),
    }
}

/// The fetched library, whatever `ORT_DYLIB_PATH` says.
pub(crate) fn source_beside_variable() -> RuntimeSource {
    let path = root().join(".cache/onnxruntime/libonnxruntime.so");
    assert!(path.exists(), "{} is missing: run .ci/fetch-onnxruntime .cache/onnxruntime", path.display());
    RuntimeSource { library: Some(path) }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Version `version` of `model` of the demonstration.
pub(crate) fn demo(model: &str, version: u64) -> EngineSpec {
    EngineSpec::new(root().join("config/demo/models"), model.to_owned(), version)
}

/// The rows of the demonstration: label and request body.
pub(crate) fn demo_rows() -> Vec<(i64, String)> {
    let text = std::fs::read_to_string(root().join("config/demo/rows.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            (row["label"].as_i64().unwrap(), row["request"].to_string())
        })
        .collect()
}

/// One of the small graphs of `tests/fixtures/make_models.py`.
pub(crate) fn fixture(model: &str) -> EngineSpec {
    EngineSpec::new(root().join("tests/fixtures/models"), model.to_owned(), 1)
}

/// A repository with `bytes` as version 1 of model `m`; it lives as long as the folder returned.
pub(crate) fn repository(bytes: &[u8]) -> (tempfile::TempDir, EngineSpec) {
    let folder = tempfile::tempdir().unwrap();
    let spec = EngineSpec::new(PathBuf::from(folder.path()), "m".to_owned(), 1);
    std::fs::create_dir_all(spec.path().parent().unwrap()).unwrap();
    std::fs::write(spec.path(), bytes).unwrap();
    (folder, spec)
}
