//! What the decider is given when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::spec::RolloutSpec;
use crate::base::ModelName;
use crate::control::board::Switchboard;
use crate::notify::Receivers;
use crate::routing::spec::VersionSpec;
use crate::store::StoreError;

/// Between two looks at the counters of a rollout under way.
pub const TICK: Duration = Duration::from_millis(20);
/// Makes a version again of how it was written.
pub type Remake = dyn Fn(&ModelName, &serde_json::Value) -> Result<VersionSpec, String> + Send;

/// What the decider needs.
pub struct Setup {
    /// Where tables are put in place.
    pub board: Arc<Switchboard>,
    /// File that everything lasts in; without one it is kept in memory.
    pub store: Option<PathBuf>,
    /// What the configuration says of rollouts.
    pub specs: Vec<RolloutSpec>,
    /// Hash of the configuration.
    pub config_hash: String,
    /// Who is told what happens.
    pub receivers: Receivers,
    /// What this process is called in notifications.
    pub instance: String,
    /// Makes a version again of how it was written in the call that brought it.
    pub remake: Box<Remake>,
    /// Told of a model when another candidate of it begins: what was kept of pairs is of no use.
    pub forget_pairs: Box<dyn Fn(&str) + Send>,
    /// Between two looks at the counters.
    pub tick: Duration,
}

/// Why the decider can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no thread.
    #[error("no thread for rollouts: {0}")]
    Thread(#[from] std::io::Error),
    /// Not even a store in memory can be had.
    #[error("no store can be had: {0}")]
    Store(#[from] StoreError),
}
