//! Memory: what the process uses, measured again and again, and how short of it that makes it.
//!
//! What counts is resident memory, the figure that the kernel kills by. Everything else bounds what
//! one client or one copy may hold; this bounds all of it together, whatever clients do.
//!
//! Not all of it can be given up: models stay, and so does what the allocator keeps for the next
//! burst. Whatever is used while no request is under way is such a floor, and what counts as short is
//! measured above it; else one burst could have everything refused for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::{Level, Pressure};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// What cgroup v1 says where there is no limit is a number of pages near `i64::MAX`.
const NO_LIMIT: u64 = 1 << 62;

/// What is known of the process' memory.
#[derive(Debug)]
pub struct Memory {
    ceiling: Option<u64>,
    used: AtomicU64,
    pressure: Arc<Pressure>,
}

impl Memory {
    /// Memory with this ceiling in bytes; without one the cgroup's limit is it, if there is one.
    pub fn new(ceiling: Option<u64>) -> Arc<Self> {
        let ceiling = ceiling.or_else(cgroup_limit);
        Arc::new(Self { ceiling, used: AtomicU64::new(0), pressure: Arc::default() })
    }

    /// What must be spared, for those who spare it.
    pub fn pressure(&self) -> Arc<Pressure> {
        self.pressure.clone()
    }

    /// What may be used, in bytes.
    pub fn ceiling(&self) -> Option<u64> {
        self.ceiling
    }

    /// The share of what may be used that is used.
    pub fn share(&self) -> Option<f64> {
        self.ceiling.map(|ceiling| self.used.load(Relaxed) as f64 / ceiling.max(1) as f64)
    }

    /// Measures again and again, as long as it is polled. `is_idle` says whether no request is under
    /// way; it is asked only where memory may be short.
    ///
    /// # Cancel safety
    /// Safe: the latest level stays.
    pub async fn watch(&self, is_idle: impl Fn() -> bool) {
        let Some(ceiling) = self.ceiling else { return std::future::pending().await };
        let mut looks = tokio::time::interval(EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut floor = 0.0_f64;
        loop {
            looks.tick().await;
            let Some(used) = resident() else { continue };
            self.used.store(used, Relaxed);
            let share = used as f64 / ceiling.max(1) as f64;
            floor = floor_after(floor, share, &is_idle);
            let level = Level::at(share, floor);
            if self.pressure.set(level) {
                match level {
                    Level::Calm => tracing::info!(used, ceiling, "memory is no longer short"),
                    _ => tracing::warn!(
                        used,
                        ceiling,
                        ?level,
                        "memory is short: the least important goes first"
                    ),
                }
            }
        }
    }
}

/// What cannot be given up, as far as is known when `share` is used.
fn floor_after(floor: f64, share: f64, is_idle: impl Fn() -> bool) -> f64 {
    match Level::at(share, 0.0) {
        Level::Calm => 0.0,
        _ if is_idle() => share,
        _ => floor.min(share),
    }
}

/// Resident memory of this process in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    // Every platform that has this file and that Rust's tier 1 has uses pages of 4 KiB, but for some
    // ARM kernels, where it is a lower bound and the limit holds later.
    pages.checked_mul(4096)
}

/// The memory limit of this process' cgroup, version 2 or 1.
fn cgroup_limit() -> Option<u64> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut limits = Vec::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container's own namespace the path is the host's: then the root is the container's.
        for place in [format!("{root}{path}/{file}"), format!("{root}/{file}")] {
            limits.extend(std::fs::read_to_string(place).ok().and_then(|text| limit(&text)));
        }
    }
    limits.into_iter().min()
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| (1..NO_LIMIT).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_some_memory_and_limits_are_read_as_the_kernel_writes_them() {
        assert!(resident().unwrap() > 1 << 20);
        assert_eq!(limit("536870912\n"), Some(512 << 20));
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
    }

    #[test]
    fn what_an_idle_process_uses_is_what_it_cannot_give_up() {
        let (idle, busy) = (|| true, || false);
        assert!((floor_after(0.0, 0.97, busy) - 0.0).abs() < 1e-9);
        assert!((floor_after(0.0, 0.97, idle) - 0.97).abs() < 1e-9);
        assert!((floor_after(0.97, 0.99, busy) - 0.97).abs() < 1e-9);
        assert!((floor_after(0.97, 0.93, busy) - 0.93).abs() < 1e-9);
        assert!((floor_after(0.93, 0.5, busy) - 0.0).abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_ceiling_that_is_passed_spares_everything() {
        let memory = Memory::new(Some(1 << 20));
        let pressure = memory.pressure();
        assert_eq!(pressure.level(), Level::Calm);
        tokio::select! {
            () = memory.watch(|| true) => {}
            () = async { while pressure.level() != Level::All { tokio::task::yield_now().await } } => {}
        }
        assert!(memory.share().unwrap() > 1.0);
    }
}
