//! Connections at a time, and which of them goes when there is no place for another one.
//!
//! Health and metrics are everybody's, also where others can connect: whoever only asks for these, or
//! says nothing, must keep neither a probe nor an operator out. So the next connection takes the place
//! of the one that has been silent for the longest, of those that have shown no right to anything
//! else. Only behind callers that are known it waits, in the system's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    is_known: AtomicBool,
    /// When it was last heard of, as a turn: one that is less was earlier.
    heard: AtomicU64,
    turns: Arc<AtomicU64>,
}

impl Place {
    /// Its client has shown that it may ask for more than anybody may.
    pub(super) fn known(&self) {
        self.is_known.store(true, Relaxed);
    }

    /// A request has come, or was answered.
    pub(super) fn heard(&self) {
        self.heard.store(self.turns.fetch_add(1, Relaxed), Relaxed);
    }
}

/// All of them.
pub(super) struct Places {
    free: Arc<Semaphore>,
    turns: Arc<AtomicU64>,
    taken: Vec<(Arc<Place>, AbortHandle)>,
    displaced: Arc<AtomicU64>,
}

impl Places {
    /// All free. `displaced` counts the connections that had to make room.
    pub(super) fn new(displaced: Arc<AtomicU64>) -> Self {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        Self { free, turns: Arc::default(), taken: Vec::new(), displaced }
    }

    /// A place, and what is to be held as long as it is taken; `None` never happens.
    ///
    /// # Cancel safety
    /// Safe, but that somebody may have had to go in vain.
    pub(super) async fn take(&mut self) -> Option<(Arc<Place>, OwnedSemaphorePermit)> {
        self.taken.retain(|(_, task)| !task.is_finished());
        if self.free.available_permits() == 0 {
            self.displace();
        }
        // The semaphore is never closed.
        let held = self.free.clone().acquire_owned().await.ok()?;
        let place = Place { is_known: false.into(), heard: 0.into(), turns: self.turns.clone() };
        place.heard();
        Some((Arc::new(place), held))
    }

    /// The connection of `place` is served by `task`.
    pub(super) fn serving(&mut self, place: Arc<Place>, task: AbortHandle) {
        self.taken.push((place, task));
    }

    fn displace(&mut self) {
        let numbered = self.taken.iter().enumerate();
        let strangers = numbered.filter(|(_, (place, _))| !place.is_known.load(Relaxed));
        let longest = strangers.min_by_key(|(_, (place, _))| place.heard.load(Relaxed));
        if let Some((index, _)) = longest {
            let (_, task) = self.taken.swap_remove(index);
            task.abort();
            self.displaced.fetch_add(1, Relaxed);
        }
    }
}
