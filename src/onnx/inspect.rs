//! What a version's files are, looked at before and after they are loaded.
//!
//! Before: the model is whole, its external data lies in its own folder, and digests are what the
//! configuration and `metadata.json` say. After: nothing has changed meanwhile, or what was loaded
//! is not what was looked at. Everything here blocks.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::abort::Abort;
use super::files;
use super::graph_file;
use super::metadata::{self, Metadata};
use super::repository::scan::looks;
use super::spec::EngineSpec;

/// What is known of a version's files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// SHA-256 of the model file, lower case hexadecimal.
    pub sha256: String,
    /// Bytes of the model file and its external data.
    pub bytes: u64,
    /// What its makers say of it.
    pub metadata: Option<Metadata>,
    /// By how much the process grew while it was loaded, in bytes: roughly what it takes.
    pub resident: u64,
    /// How the files looked.
    pub(super) looks: BTreeMap<PathBuf, [u64; 4]>,
}

/// Looks at the files of `spec`.
///
/// # Errors
/// Why they are refused, in one line that names the file.
pub(super) fn look(spec: &EngineSpec, abort: &Abort) -> Result<Facts, String> {
    let (folder, path) = (spec.folder(), spec.path());
    let about = |path: &Path, reason: &dyn std::fmt::Display| {
        format!("{}: {}", path.display(), line(&reason.to_string()))
    };
    let mut facts = Facts::default();
    let stat = std::fs::metadata(&path).map_err(|error| about(&path, &error))?;
    if !stat.is_file() {
        return Err(about(&path, &"it is no file"));
    }
    facts.bytes = stat.len();
    facts.looks.insert(path.clone(), looks(&stat));
    let places = graph_file::places_of(&path).map_err(|error| about(&path, &error))?;
    for place in &places {
        let file = confined(&folder, place).map_err(|error| about(&path, &error))?;
        let stat = std::fs::metadata(&file).map_err(|error| about(&file, &error))?;
        if !stat.is_file() {
            return Err(about(&file, &"it is no file"));
        }
        facts.bytes += stat.len();
        facts.looks.insert(file, looks(&stat));
    }
    facts.metadata = metadata::read(&folder)?;
    let hash = |path: &Path| files::sha256(path, || abort.is_set()).map_err(|error| about(path, &error));
    facts.sha256 = hash(&path)?;
    let says = |path: &Path, who: &str, wanted: &str, found: &str| {
        let wanted = metadata::digest(wanted).map_err(|error| format!("{who}: {error}"))?;
        match wanted == found {
            true => Ok(()),
            false => Err(about(path, &format!("{who} says sha256 {wanted}, the file has {found}"))),
        }
    };
    if let Some(wanted) = &spec.sha256 {
        says(&path, "the configuration", wanted, &facts.sha256)?;
    }
    if let Some(metadata) = &facts.metadata {
        if let Some(wanted) = &metadata.sha256 {
            says(&path, metadata::FILE, wanted, &facts.sha256)?;
        }
        for (name, wanted) in &metadata.files {
            let file =
                confined(&folder, name).map_err(|error| about(&folder.join(metadata::FILE), &error))?;
            says(&file, metadata::FILE, wanted, &hash(&file)?)?;
        }
    }
    Ok(facts)
}

/// Whether the files still look as they did.
///
/// # Errors
/// Which one does not.
pub(super) fn unchanged(facts: &Facts) -> Result<(), String> {
    for (path, before) in &facts.looks {
        let now = std::fs::metadata(path).map(|stat| looks(&stat)).ok();
        if now != Some(*before) {
            return Err(format!("{}: the file changed while it was read", path.display()));
        }
    }
    Ok(())
}

/// The file at `place` in `folder`, when it really lies there.
fn confined(folder: &Path, place: &str) -> Result<PathBuf, String> {
    let outside = || format!("{place:?} lies outside of the version's folder");
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if place.is_empty() || !Path::new(place).components().all(plain) {
        return Err(outside());
    }
    // Links may lead on, but not out: Kubernetes mounts files as links within one folder.
    let real = |path: &Path| path.canonicalize().map_err(|error| format!("{place:?}: {error}"));
    let (root, file) = (real(folder)?, real(&folder.join(place))?);
    if file.starts_with(&root) { Ok(folder.join(place)) } else { Err(outside()) }
}

/// Messages as one line.
pub(super) fn line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing;

    fn copy_of_digits() -> (tempfile::TempDir, EngineSpec) {
        testing::repository(&std::fs::read(testing::demo("digits", 1).path()).unwrap())
    }

    fn look_at(spec: &EngineSpec) -> Result<Facts, String> {
        look(spec, &Abort::default())
    }

    #[test]
    fn digests_of_the_configuration_and_of_the_metadata_are_held_against_the_file() {
        let (_folder, spec) = copy_of_digits();
        let facts = look_at(&spec).unwrap();
        assert_eq!(facts.sha256.len(), 64);
        let right = EngineSpec { sha256: Some(facts.sha256.clone()), ..spec.clone() };
        assert_eq!(look_at(&right).unwrap().bytes, facts.bytes);
        let wrong = EngineSpec { sha256: Some("0".repeat(64)), ..spec.clone() };
        let error = look_at(&wrong).unwrap_err();
        assert!(error.contains("the configuration says sha256 0000"), "{error}");

        let metadata = spec.folder().join("metadata.json");
        std::fs::write(&metadata, format!(r#"{{"sha256": "{}", "codeVersion": "c1"}}"#, facts.sha256))
            .unwrap();
        let found = look_at(&spec).unwrap().metadata.unwrap();
        assert_eq!(found.code_version.as_deref(), Some("c1"));
        std::fs::write(&metadata, format!(r#"{{"files": {{"model.onnx": "{}"}}}}"#, "1".repeat(64))).unwrap();
        let error = look_at(&spec).unwrap_err();
        assert!(error.contains("metadata.json says sha256 1111"), "{error}");
        std::fs::write(&metadata, "{").unwrap();
        assert!(look_at(&spec).unwrap_err().contains("metadata.json: "));
    }

    #[test]
    fn files_outside_of_the_versions_folder_are_refused_however_they_are_named() {
        let (root, spec) = copy_of_digits();
        let folder = spec.folder();
        std::fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).unwrap();
        std::fs::create_dir(folder.join("w")).unwrap();
        std::fs::write(folder.join("w/a.bin"), "x").unwrap();
        assert_eq!(confined(&folder, "./w/a.bin").unwrap(), folder.join("./w/a.bin"));
        for place in ["../../secret", "/etc/passwd", "link", "w/../../../secret", ""] {
            let error = confined(&folder, place).unwrap_err();
            assert!(error.contains("outside"), "{place}: {error}");
        }
        assert!(confined(&folder, "absent.bin").unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_file_that_changed_since_it_was_looked_at_is_noticed() {
        let (_folder, spec) = copy_of_digits();
        let facts = look_at(&spec).unwrap();
        unchanged(&facts).unwrap();
        let mut bytes = std::fs::read(spec.path()).unwrap();
        bytes.push(0);
        std::fs::write(spec.path(), bytes).unwrap();
        assert!(unchanged(&facts).unwrap_err().contains("changed while it was read"));
    }
}
