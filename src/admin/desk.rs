//! What all answers share: the sidecar, who may ask, and how much may be asked at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Access;
use super::keys::Keys;
use super::sidecar::{AdminError, Sidecar};

/// Changes at a time. Each holds a thread until what it did is durable.
const CHANGES: usize = 4;

/// How long a change waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// Streams of events at a time: a quarter of all connections, so that there are always some left
/// for whoever wants to roll back.
const WATCHERS: usize = 16;

/// What all answers share.
pub(super) struct Desk {
    /// The rest of the house.
    pub(super) sidecar: Arc<dyn Sidecar>,
    /// Who may ask.
    pub(super) access: Access,
    /// Requests that were carried out under a key.
    pub(super) keys: Keys,
    changes: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
}

impl Desk {
    /// For this sidecar and those who may ask.
    pub(super) fn new(sidecar: Arc<dyn Sidecar>, access: Access) -> Arc<Self> {
        Arc::new(Self {
            sidecar,
            access,
            keys: Keys::default(),
            changes: Arc::new(Semaphore::new(CHANGES)),
            watchers: Arc::new(Semaphore::new(WATCHERS)),
        })
    }

    /// Runs a change on a thread where it may block. It is finished even if the client leaves.
    ///
    /// # Errors
    /// The change's own, and [`AdminError::Unavailable`] where too many are under way.
    pub(super) async fn change<T, F>(self: &Arc<Self>, change: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, AdminError> + Send + 'static,
    {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.changes).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else {
            return Err(AdminError::Unavailable("too many changes are under way: try again".to_owned()));
        };
        self.look(move |desk| {
            let _turn = turn;
            change(desk)
        })
        .await
    }

    /// Looks something up on a thread where it may block, as for a disk.
    ///
    /// # Errors
    /// Its own.
    pub(super) async fn look<T, F>(self: &Arc<Self>, look: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, AdminError> + Send + 'static,
    {
        let desk = Arc::clone(self);
        let failed = |_| AdminError::Internal("this failed; the log has more".to_owned());
        tokio::task::spawn_blocking(move || look(&desk)).await.map_err(failed)?
    }

    /// The right to a stream of events, while it is held.
    ///
    /// # Errors
    /// [`AdminError::Unavailable`] where there are too many.
    pub(super) fn watcher(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        Arc::clone(&self.watchers).try_acquire_owned().map_err(|_| {
            AdminError::Unavailable(format!("{WATCHERS} watch already: ask for the rollout now and then"))
        })
    }
}
