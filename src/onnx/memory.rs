//! How much memory is left, so that a second version is not loaded into a wall.
//!
//! The kernel ends a container that goes beyond its limit, and the version that serves goes with
//! it. So before a model is loaded its need is held against what is left: of the control group
//! (version 2 or 1, and every group above it) and of the machine. What can't be read sets no limit.
//! A model needs its weights once, and while it is loaded the file's contents beside them.

use std::path::{Path, PathBuf};

/// What loading takes for each byte of weights, at its peak.
const PEAK: u64 = 2;
/// What a session takes beside its weights.
const BASE: u64 = 16 * 1024 * 1024;

/// Bytes that loading `instances` sessions of a model of so many bytes takes.
pub(super) fn need(bytes: u64, instances: usize) -> u64 {
    let instances = u64::try_from(instances).unwrap_or(u64::MAX);
    // The peak is one session's: they are loaded one after the other.
    bytes.saturating_mul(instances.saturating_add(PEAK - 1)).saturating_add(BASE)
}

/// Refuses what does not fit into what is left.
///
/// # Errors
/// How much is needed and how much is there.
pub(super) fn check(bytes: u64, instances: usize) -> Result<(), String> {
    let (need, left) = (need(bytes, instances), left(Path::new("/")));
    match left {
        Some(left) if need > left => Err(format!(
            "loading it takes about {} MiB of memory, and {} MiB are left",
            need >> 20,
            left >> 20
        )),
        _ => Ok(()),
    }
}

/// Bytes that may still be taken, as the files below `root` say.
fn left(root: &Path) -> Option<u64> {
    let machine =
        number_after(&root.join("proc/meminfo"), "MemAvailable:").map(|kib| kib.saturating_mul(1024));
    machine.into_iter().chain(groups(root)).min()
}

/// What is left in each control group that this process is in.
fn groups(root: &Path) -> Vec<u64> {
    let Ok(text) = std::fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            let top = root.join("sys/fs/cgroup");
            found.extend(upwards(&top, path).filter_map(|group| {
                let limit = number(&group.join("memory.max"))?;
                let used = number(&group.join("memory.current"))?;
                Some(rest(limit, used, number_after(&group.join("memory.stat"), "inactive_file")))
            }));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let top = root.join("sys/fs/cgroup/memory");
            found.extend(upwards(&top, path).filter_map(|group| {
                let limit = number(&group.join("memory.limit_in_bytes"))?;
                let used = number(&group.join("memory.usage_in_bytes"))?;
                Some(rest(limit, used, number_after(&group.join("memory.stat"), "total_inactive_file")))
            }));
        }
    }
    found
}

/// Pages of files that nobody has used lately count as used, and are given up when memory is short.
fn rest(limit: u64, used: u64, reclaimable: Option<u64>) -> u64 {
    limit.saturating_sub(used.saturating_sub(reclaimable.unwrap_or(0)))
}

/// The group and all above it. In a container the path may be one that only its host has; then the
/// top is the container's own group.
fn upwards(top: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let (top, group) = (top.to_owned(), top.join(path));
    let mut next = Some(group);
    std::iter::from_fn(move || {
        let now = next.take()?;
        if now != top {
            next = now.parent().map(Path::to_owned);
        }
        Some(now)
    })
}

fn number(path: &Path) -> Option<u64> {
    // "max" is no number, and no limit.
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind the word `key`, on a line of its own.
fn number_after(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| (words.next() == Some(key)).then(|| words.next()?.parse().ok()).flatten())
}

/// Bytes of memory that this process has now.
pub(super) fn resident() -> Option<u64> {
    number_after(Path::new("/proc/self/status"), "VmRSS:").map(|kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_narrowest_of_machine_and_groups_counts() {
        let files = [
            ("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"),
            ("proc/self/cgroup", "0::/pod/box\n"),
            ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/box/memory.current", "100\n"),
            ("sys/fs/cgroup/pod/memory.max", "5000\n"),
            ("sys/fs/cgroup/pod/memory.current", "4000\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 500\n"),
        ];
        assert_eq!(left(machine(&files).path()), Some(1500));
        assert_eq!(left(machine(&files[..1]).path()), Some(8_192_000));
        assert_eq!(left(machine(&[]).path()), None);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_and_the_old_version_are_understood() {
        let files = [
            ("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 50\n"),
        ];
        assert_eq!(left(machine(&files).path()), Some(150));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let error = check(u64::MAX / 8, 1).unwrap_err();
        assert!(error.contains("MiB are left"), "{error}");
        check(1, 1).unwrap();
        assert!(resident().unwrap() > 1 << 20);
    }
}
