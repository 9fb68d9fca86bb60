//! What the dispatcher is told, by the notifier's handle and by the receivers' threads.

use std::time::Instant;

use super::event::Event;
use super::receivers::Receivers;
use super::sink::Outcome;
use super::spool::Delivery;

/// What the dispatcher is told.
pub(super) enum Message {
    /// Something has happened. The permit gives back the room in the queue.
    Event { event: Box<Event>, json: String, permit: Permit },
    /// Something may be due. One of these is under way at a time.
    Wake { permit: Permit },
    /// How an attempt went.
    Tried { slot: u64, delivery: Delivery, outcome: Outcome },
    /// Others are to be told.
    Replace(Receivers),
    /// Finish what is due, but not for longer than this.
    Stop { until: Instant },
}

/// Room in the queue; dropping it gives it back.
pub(super) struct Permit(pub Option<Box<dyn FnOnce() + Send>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}
