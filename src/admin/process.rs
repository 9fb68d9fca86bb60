//! What the process takes, as Linux tells it in `/proc` (proc_pid_stat(5), proc_pid_status(5)).
//! Nothing where there is no `/proc`.

use std::fs;

/// User and system CPU time so far, in seconds.
pub(super) fn cpu_seconds() -> Option<f64> {
    cpu_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Open file descriptors.
pub(super) fn open_fds() -> Option<u64> {
    // One of them reads the folder itself.
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

fn cpu_of(stat: &str) -> Option<f64> {
    // The name of the command, in parentheses, may hold anything; fields 14 and 15 come after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // USER_HZ is 100 on every architecture that Rust builds for.
    Some((user + system) as f64 / 100.0)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_hostile_command_name() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 500 0 0 0 150 25 0 0 20 0 9 0";
        assert_eq!(cpu_of(stat), Some(1.75));
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 * 1024 * 1024));
        for bad in ["", "1 (x", "1 (x) S 1"] {
            assert_eq!(cpu_of(bad), None);
        }
        assert_eq!(resident_of("VmRSS: lots"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(open_fds().unwrap() >= 3);
        assert!(cpu_seconds().unwrap() >= 0.0);
    }
}
