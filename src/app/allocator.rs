//! Memory of a model that was unloaded goes back to the system.
//!
//! glibc raises the size from which memory is the system's own, up to 32 MiB, each time such a piece
//! is freed. After the first swap of a model the weights of the next one lie in its heap, and stay
//! there: 180 MiB of a model of 90, in one of three swaps measured. A fixed size prevents that, and
//! can be set without unsafe code only in the environment, before a process starts. So a process
//! that serves models starts itself anew, in its own place, with that environment.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::config::Config;
use crate::routing::spec::BackendSpec;

/// From this size on, in bytes, memory is given back when it is freed.
const OWN: &str = "1048576";
/// mallopt(3), "Environment variables".
const SETTINGS: [&str; 2] = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// Starts this process anew with other settings of glibc, where models are served in it and the
/// operator has set none. Returns where that is not needed, or not possible.
pub(super) fn settle(config: &Config) {
    let models = config.models.iter().flat_map(|model| &model.versions);
    let serves = models.into_iter().any(|version| matches!(version.backend, BackendSpec::Onnx(_)));
    if !cfg!(target_env = "gnu") || !serves || is_set(std::env::vars_os().map(|(name, _)| name)) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    again.arg0(arguments.next().unwrap_or_default()).args(arguments);
    again.envs(SETTINGS.map(|name| (name, OWN)));
    let error = again.exec();
    tracing::debug!(%error, "memory of unloaded models may stay with the process");
}

/// Whether the environment says how glibc is to allocate.
fn is_set(mut names: impl Iterator<Item = impl AsRef<OsStr>>) -> bool {
    names.any(|name| {
        let name = name.as_ref().to_string_lossy();
        name == "GLIBC_TUNABLES" || (name.starts_with("MALLOC_") && name.ends_with('_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_has_set_stays() {
        for name in ["MALLOC_ARENA_MAX_", "GLIBC_TUNABLES", SETTINGS[0], SETTINGS[1]] {
            assert!(is_set(["PATH", name].iter()), "{name}");
        }
        assert!(!is_set(["PATH", "MALLOC_CONF", "HOME"].iter()));
    }
}
