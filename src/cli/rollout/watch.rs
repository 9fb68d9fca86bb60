//! `rollout watch`, and waiting in general: the evidence grows before one's eyes, and the exit code
//! says how it ended.

use std::time::Duration;

use clap::Args;

use super::super::exit::{Exit, Failure};
use super::super::format::Format;
use super::super::numbers::duration;
use super::super::server::Server;
use super::follow::{Patience, follow};
use super::outcome::Until;
use super::progress::Progress;
use super::result;

/// How long to wait, and for what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Waiting")]
pub(super) struct WaitArgs {
    /// For how long: exit code 7 after that. start --wait: 30m unless it is said; watch: for ever.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// For what. `promoted`: the candidate serves, and the bake goes on without anybody waiting.
    #[arg(long, value_name = "WHAT", default_value = "promoted")]
    until: Until,
    /// How long the sidecar may be away, as for a restart, before exit code 8.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    away: Duration,
}

impl WaitArgs {
    /// What is asked for, with a timeout for those who name none.
    pub(super) fn patience(&self, timeout: Option<Duration>) -> Patience {
        Patience { until: self.until, timeout: self.timeout.or(timeout), away: self.away }
    }
}

/// Watches rollout `id`, then shows how it stands.
pub(super) fn watch(server: &Server, id: &str, patience: &Patience, format: Format) -> Result<Exit, Failure> {
    let mut progress = Progress::new();
    let followed = follow(server, id, patience, &mut |view| progress.show(view))?;
    progress.clear();
    if let Some(note) = &followed.note {
        progress.note(note);
    }
    match followed.view {
        // Whoever waited in vain for an answer gets no more of them.
        Some(view) if followed.exit != Exit::Unreachable => result(server, &view, followed.exit, format),
        _ => Ok(followed.exit),
    }
}
