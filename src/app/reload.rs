//! When the configuration is read again, and when the sidecar stops: SIGHUP, a change of the file,
//! the admin API; SIGTERM and SIGINT.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use notify::{RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::sidecar::Running;
use crate::admin::Sidecar as _;

/// A file is often written in several steps: a change is taken up once it has been quiet for this
/// long.
const QUIET: Duration = Duration::from_millis(200);
/// Between two looks at the file, for what its folder does not tell: a link may lead anywhere.
const LOOK: Duration = Duration::from_secs(3);

/// Reads the configuration again, on a thread of its own, so that a file that reads or a model
/// that loads slowly does not keep signals waiting. The outcome is logged, counted and shown in
/// the status.
fn reload(running: &Arc<Running>, why: &'static str, tasks: &mut JoinSet<()>) {
    let running = running.clone();
    tasks.spawn_blocking(move || {
        tracing::info!(why, "reading the configuration again");
        let _ = running.reload();
    });
}

/// The same, where the file has other bytes than when it was last read.
fn reload_if_changed(running: &Arc<Running>, tasks: &mut JoinSet<()>) {
    let running = running.clone();
    tasks.spawn_blocking(move || {
        if running.is_changed() {
            tracing::info!(why = "the file changed", "reading the configuration again");
            let _ = running.reload();
        }
    });
}

/// The same, unless the file is just being written.
fn look(path: &Path, running: &Arc<Running>, tasks: &mut JoinSet<()>) {
    let (path, running) = (path.to_owned(), running.clone());
    tasks.spawn_blocking(move || {
        // Follows links. A time that lies ahead is that of a clock that was put back.
        let written = std::fs::metadata(&path).and_then(|found| found.modified());
        let is_quiet = written.is_ok_and(|at| at.elapsed().map_or(true, |since| since >= QUIET));
        if is_quiet && running.is_changed() {
            tracing::info!(why = "the file is another one", "reading the configuration again");
            let _ = running.reload();
        }
    });
}

/// The signals that the sidecar listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses signal handlers.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("can't handle SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("can't handle SIGINT")?,
            hang_up: signal(SignalKind::hangup()).context("can't handle SIGHUP")?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Cancel safety
    /// Safe: no signal is lost.
    pub(super) async fn stopped(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves signals and file changes until the sidecar is told to stop.
pub(super) async fn until_stopped(path: &Path, running: &Arc<Running>, signals: &mut Signals) {
    let (changed, mut changes) = mpsc::channel(1);
    let watcher = watch(path, changed);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "the configuration file is not watched; SIGHUP still reloads it");
    }
    let mut reloads = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The file may have changed since it was read and before it was watched.
    reload_if_changed(running, &mut reloads);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => reload(running, "SIGHUP", &mut reloads),
            Some(_) = reloads.join_next() => {}
            // One that waits for a disk is not joined by others.
            _ = looks.tick(), if reloads.is_empty() => look(path, running, &mut reloads),
            Some(()) = changes.recv() => {
                while tokio::time::timeout(QUIET, changes.recv()).await.is_ok_and(|c| c.is_some()) {}
                reload_if_changed(running, &mut reloads);
            }
        }
    }
}

/// Watches the folder of the file, not the file: editors and Kubernetes replace it by renaming,
/// the latter a link two levels up. What happens where a link to another folder leads is not seen from
/// here, but looked for.
fn watch(path: &Path, changed: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| !e.kind.is_access()) {
            // A full channel already says that there is something to read.
            let _ = changed.try_send(());
        }
    })?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
