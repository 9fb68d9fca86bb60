//! What decisions are carried out with.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use super::ledger::Ledger;
use super::message::Message;
use super::pace::Pace;
use super::setup::Remake;
use super::tell::Teller;
use crate::control::board::Switchboard;
use crate::rollout::time::Timestamp;

/// What every model's decisions are carried out with.
pub(super) struct Tools {
    pub(super) board: Arc<Switchboard>,
    pub(super) ledger: Ledger,
    pub(super) teller: Teller,
    pub(super) remake: Box<Remake>,
    pub(super) forget_pairs: Box<dyn Fn(&str) + Send>,
    pub(super) pace: Arc<Pace>,
    pub(super) messages: Sender<Message>,
    /// Why the configured store is not used.
    pub(super) refused: Option<String>,
    /// Names this run of the process.
    pub(super) epoch: u64,
}

/// The time, as rollouts know it.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
