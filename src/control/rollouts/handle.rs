//! The handle of the operator's side: it asks the decider, and reads what that has left for it.

use std::sync::mpsc::{Sender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::call::{Call, CallError, CandidateCall, Done};
use super::candidate::Digests;
use super::message::Message;
use super::pace::Pace;
use super::spec::RolloutSpec;
use super::view::Views;
use crate::base::Role;
use crate::control::board::Switchboard;
use crate::notify::{NotifyStats, Receivers};
use crate::store::{Health, Page, Reader, StoreError};

/// Asks the decider, and reads what it has left to be read. Shared by whoever serves operators.
pub struct Rollouts {
    pub(super) messages: Sender<Message>,
    pub(super) views: Arc<ArcSwap<Views>>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) reader: Mutex<Reader>,
    pub(super) health: Arc<ArcSwap<StoreState>>,
    pub(super) pace: Arc<Pace>,
    pub(super) told: Arc<NotifyStats>,
    pub(super) board: Arc<Switchboard>,
}

/// How the store of rollouts is doing.
#[derive(Debug, Clone)]
pub struct StoreState {
    /// The store itself.
    pub health: Health,
    /// Entries that were lost because it could not be written for too long.
    pub lost: u64,
    /// Why the configured file is not used, if it is not: what is decided is then in memory only.
    pub refused: Option<String>,
}

impl Rollouts {
    /// Asks, and waits until what was done is durable. Takes as long as the disk does: for a thread
    /// that may wait.
    ///
    /// # Errors
    /// [`CallError`]; nothing was changed then.
    pub fn ask(&self, call: Call) -> Result<Done, CallError> {
        let (reply, answer) = sync_channel(1);
        let digests = self.digests(&call);
        self.messages.send(Message::Call(call, digests, reply)).map_err(|_| CallError::Ending)?;
        answer.recv().map_err(|_| CallError::Ending)?
    }

    /// What the decider would have to read files for.
    fn digests(&self, call: &Call) -> Digests {
        let Call::Start(start) = call else { return Digests::default() };
        let model = self.board.declared(&start.model);
        let declared = model.as_ref().map(|model| model.versions.clone()).unwrap_or_default();
        // The stable version is read before the first rollout only.
        let is_first = !self.views().contains_key(&start.model);
        let mut versions: Vec<_> =
            declared.iter().filter(|version| is_first && version.role == Role::Stable).cloned().collect();
        versions.extend(match &start.candidate {
            CandidateCall::Declared(name) => model.and_then(|model| model.find(name)),
            CandidateCall::Given { spec, digest, .. } => digest.is_none().then(|| (**spec).clone()),
        });
        Digests::of(versions)
    }

    /// Says what the configuration now is, and who is told from now on where that may have changed.
    /// What runs goes on as it began; a new candidate starts a rollout where its policy says so, and
    /// that is told to these receivers already.
    pub fn declare(&self, specs: Vec<RolloutSpec>, config_hash: &str, receivers: Option<Receivers>) {
        let _ = self.messages.send(Message::Declared(specs, config_hash.to_owned(), receivers));
    }

    /// How all models stand.
    pub fn views(&self) -> Arc<Views> {
        self.views.load_full()
    }

    /// Fires whenever a view is new: at every event, and four times a second while a rollout runs.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Rollouts in the store, latest first, as JSON texts of [`RolloutView`](super::RolloutView).
    ///
    /// # Errors
    /// What the store says.
    pub fn history(&self, page: &Page<'_>) -> Result<Vec<String>, StoreError> {
        let rollouts = self.reader().rollouts(page)?;
        Ok(rollouts.into_iter().map(|rollout| rollout.state).collect())
    }

    /// The rollout of this id, as the JSON text of a [`RolloutView`](super::RolloutView).
    ///
    /// # Errors
    /// What the store says.
    pub fn rollout(&self, id: &str) -> Result<Option<String>, StoreError> {
        Ok(self.reader().rollout(id)?.map(|rollout| rollout.state))
    }

    /// Decisions of a rollout in order, from number `after` on, as JSON texts of
    /// [`crate::rollout::record::DecisionRecord`].
    ///
    /// # Errors
    /// What the store says.
    pub fn decisions(&self, id: &str, after: Option<u64>, limit: u32) -> Result<Vec<String>, StoreError> {
        let decisions = self.reader().decisions(id, after, limit)?;
        Ok(decisions.into_iter().map(|decision| decision.record).collect())
    }

    /// How fast decisions are carried out.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// What was sent to those who are told.
    pub fn told(&self) -> &NotifyStats {
        &self.told
    }

    /// How the store is doing.
    pub fn store(&self) -> Arc<StoreState> {
        self.health.load_full()
    }

    fn reader(&self) -> std::sync::MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
