//! The right to one open connection.

use std::rc::Weak;

/// The right to one open connection. Held by whatever owns the socket, so that it is given back
/// when the socket is closed and not before.
pub(super) struct Slot(Option<Weak<dyn Slots>>);

/// A pool, seen from its slots.
pub(super) trait Slots {
    /// One connection less is open.
    fn slot_freed(&self);
    /// As [`Slots::slot_freed`], where nothing could be opened: the same again would fail again.
    fn slot_unused(&self);
}

impl Slot {
    pub(super) fn new(pool: Weak<dyn Slots>) -> Self {
        Self(Some(pool))
    }

    /// Gives it back, as nothing could be opened.
    pub(super) fn give_back_unused(mut self) {
        if let Some(pool) = self.0.take().and_then(|pool| pool.upgrade()) {
            pool.slot_unused();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take().and_then(|pool| pool.upgrade()) {
            pool.slot_freed();
        }
    }
}
