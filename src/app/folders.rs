//! When model folders are looked at, and when clients' commands are carried out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::ModelControl;
use crate::control::repository::{Keeper, Looked};
use crate::onnx::repository::Command;

/// A model is written in several steps: it is taken once its files have been quiet for this long.
const QUIET: Duration = Duration::from_millis(300);

/// Keeps the table in step with the folders and with clients' commands, as `control` allows, as long
/// as it is polled.
pub(super) async fn keep(
    keeper: Arc<Keeper>,
    control: ModelControl,
    every: Duration,
    commands: Option<mpsc::Receiver<Command>>,
) {
    on_a_thread(&keeper, Keeper::settle).await;
    match (control, commands) {
        (ModelControl::Poll, _) => poll(keeper, every).await,
        (_, commands) => obey(keeper, every, commands).await,
    }
}

/// Carries out clients' commands, where they may give any. Previous versions go by the clock.
async fn obey(keeper: Arc<Keeper>, every: Duration, mut commands: Option<mpsc::Receiver<Command>>) {
    let mut clock = clock(every);
    loop {
        let command = async {
            match &mut commands {
                Some(commands) => commands.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = clock.tick() => {
                on_a_thread(&keeper, Keeper::expire).await;
            }
            command = command => match command {
                Some(command) => {
                    on_a_thread(&keeper, |keeper| keeper.carry_out(command)).await;
                }
                None => commands = None,
            },
        }
    }
}

fn clock(every: Duration) -> Interval {
    let mut clock = interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

async fn poll(keeper: Arc<Keeper>, every: Duration) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watch = Watch::new(changed);
    // Not every file system tells of changes, and a folder may come later: so there is a clock too.
    let mut clock = clock(every);
    loop {
        watch.follow(keeper.folders());
        tokio::select! {
            _ = clock.tick() => {}
            Some(()) = changes.recv() => {
                tokio::time::sleep(QUIET).await;
                let _ = changes.try_recv();
            }
        }
        if !keeper.has_repositories() {
            continue;
        }
        // A file that is written without an end is looked at again at the next tick, or change.
        for _ in 0..10 {
            if on_a_thread(&keeper, Keeper::look).await != Some(Looked::Unsettled) {
                break;
            }
            tokio::time::sleep(QUIET).await;
        }
    }
}

async fn on_a_thread<T: Send + 'static>(
    keeper: &Arc<Keeper>,
    work: impl FnOnce(&Keeper) -> T + Send + 'static,
) -> Option<T> {
    let keeper = keeper.clone();
    tokio::task::spawn_blocking(move || work(&keeper)).await.ok()
}

/// Tells of changes in folders, where the file system does.
struct Watch {
    watcher: Option<notify::RecommendedWatcher>,
    followed: Vec<PathBuf>,
}

impl Watch {
    fn new(changed: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel already says that there is something to look at.
                let _ = changed.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "model folders are looked at by the clock only"))
            .ok();
        Self { watcher, followed: Vec::new() }
    }

    /// Watches these folders and no others. One that is not there is tried again at the next call.
    fn follow(&mut self, folders: Vec<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        self.followed.retain(|old| {
            let stays = folders.contains(old) && old.is_dir();
            if !stays {
                let _ = watcher.unwatch(old);
            }
            stays
        });
        for folder in folders {
            if !self.followed.contains(&folder) && watcher.watch(&folder, RecursiveMode::Recursive).is_ok() {
                self.followed.push(folder);
            }
        }
    }
}
