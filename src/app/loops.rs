//! The loops of the control thread that nobody waits for: each goes on should another fail.

use std::sync::Arc;

use super::sidecar::Running;
use crate::control::board::Switchboard;
use crate::control::certificates::Certificates;
use crate::control::health;
use crate::control::memory::Memory;
use crate::control::tasks::{Task, Tasks};
use crate::net::ServerTls;
use crate::stats::Registry;

/// What they need.
pub(super) struct Loops {
    pub(super) running: Arc<Running>,
    pub(super) board: Arc<Switchboard>,
    pub(super) certificates: Arc<Certificates>,
    /// Whose certificates are looked at.
    pub(super) tls: Vec<(String, Arc<ServerTls>)>,
    pub(super) memory: Arc<Memory>,
    pub(super) registry: Arc<Registry>,
}

impl Loops {
    /// Keeps them going, as long as it is polled.
    pub(super) async fn keep(self, tasks: Arc<Tasks>) {
        let checking = async || {
            if let Err(error) = health::start_when_wanted(&self.board, &tasks).await {
                tracing::error!(%error, "no health checks: the system gives no thread for them");
            }
        };
        let is_idle = || self.registry.merged().is_idle();
        tokio::join!(
            tasks.keep(Task::Reachability, || self.running.watch_upstreams()),
            tasks.keep(Task::Memory, || self.memory.watch(is_idle)),
            tasks.keep(Task::Certificates, || self.certificates.watch(self.tls.clone(), self.board.clone())),
            tasks.keep(Task::Health, checking),
        );
    }
}
