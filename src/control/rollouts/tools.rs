//! What decisions are carried out with.

use std::sync::Arc;
use std::sync::mpsc::Sender;

pub(super) use super::clock::now;
use super::ledger::Ledger;
use super::message::Message;
use super::pace::Pace;
use super::setup::Remake;
use super::tell::Teller;
use crate::control::board::Switchboard;

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
