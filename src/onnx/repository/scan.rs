//! What lies in a model's folder: `<root>/<model>/<integer>/model.onnx`.
//!
//! A scan reads names, sizes and times, never contents. A folder whose name is no positive integer,
//! or that has no `model.onnx` yet, is no version, as for Triton and TensorFlow Serving: copying a
//! new version in and renaming its folder last makes it appear at once.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

/// Versions that are looked at, the highest first; older ones beyond that are not seen.
pub const MAX_VERSIONS: usize = 1_000;
/// Files of one version that go into its stamp.
const MAX_FILES: usize = 10_000;
/// Folders inside a version's folder are looked into this deep.
const MAX_DEPTH: usize = 4;

/// What a version's files looked like: a changed file changes it.
pub type Stamp = u64;

/// The versions in the folder of a model, with their stamps.
///
/// # Errors
/// Why the folder can't be read.
pub fn versions(root: &Path, model: &str) -> std::io::Result<BTreeMap<u64, Stamp>> {
    let folder = root.join(model);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(number));
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.truncate(MAX_VERSIONS);
    let mut found = BTreeMap::new();
    for version in numbers {
        let folder = folder.join(version.to_string());
        if folder.join("model.onnx").is_file() {
            found.insert(version, stamp(&folder));
        }
    }
    Ok(found)
}

/// A version's number, without leading zeros: `01` and `1` would be one version with two folders.
fn number(name: &str) -> Option<u64> {
    let plain = name.bytes().all(|b| b.is_ascii_digit()) && !name.starts_with('0');
    if plain { name.parse().ok() } else { None }
}

/// The stamp of everything in `folder`. What can't be read counts as not there.
pub fn stamp(folder: &Path) -> Stamp {
    let mut files = Vec::new();
    collect(folder, MAX_DEPTH, &mut files);
    files.sort_unstable();
    let mut hash = Xxh3::new();
    for (path, looks) in &files {
        hash.update(path.as_bytes());
        for number in looks {
            hash.update(&number.to_le_bytes());
        }
    }
    hash.digest()
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<(String, [u64; 4])>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let path = entry.path();
        // Links are followed: Kubernetes mounts files as links that it exchanges.
        match fs::metadata(&path) {
            Ok(looks) if looks.is_dir() && depth > 0 => collect(&path, depth - 1, files),
            Ok(looks) if looks.is_file() => {
                files.push((path.to_string_lossy().into_owned(), self::looks(&looks)));
            }
            _ => {}
        }
    }
}

/// What tells one content of a file from another without reading it: length, time, place.
pub(in super::super) fn looks(file: &Metadata) -> [u64; 4] {
    let unsigned = |number: i64| u64::from_ne_bytes(number.to_ne_bytes());
    [file.len(), unsigned(file.mtime()), unsigned(file.mtime_nsec()), file.ino()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_whole_numbers_with_a_model_file() {
        let root = tempfile::tempdir().unwrap();
        for version in ["1", "2", "10", "01", "0", "v3", "4"] {
            fs::create_dir_all(root.path().join("m").join(version)).unwrap();
        }
        for version in ["1", "2", "10", "01", "0", "v3"] {
            fs::write(root.path().join("m").join(version).join("model.onnx"), "x").unwrap();
        }
        fs::write(root.path().join("m").join("7"), "a file").unwrap();
        let found = versions(root.path(), "m").unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2, 10]);
        assert!(versions(root.path(), "absent").is_err());
    }

    #[test]
    fn a_stamp_changes_with_any_file_of_the_version() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m/1");
        fs::create_dir_all(folder.join("weights")).unwrap();
        fs::write(folder.join("model.onnx"), "x").unwrap();
        fs::write(folder.join("weights/a.bin"), "1").unwrap();
        let before = stamp(&folder);
        assert_eq!(stamp(&folder), before);
        fs::write(folder.join("weights/a.bin"), "12").unwrap();
        let grown = stamp(&folder);
        assert_ne!(grown, before);
        // Replaced by a file of the same length: another inode.
        fs::write(folder.join("other"), "34").unwrap();
        fs::rename(folder.join("other"), folder.join("weights/a.bin")).unwrap();
        assert_ne!(stamp(&folder), grown);
    }
}
