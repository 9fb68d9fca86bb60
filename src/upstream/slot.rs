//! The right to one open connection.

use std::rc::Weak;

/// The right to one open connection. Held by whatever owns the socket, so that it is given back
/// when the socket is closed and not before.
pub(super) struct Slot(Weak<dyn Slots>);

/// A pool, seen from its slots.
pub(super) trait Slots {
    /// One connection less is open.
    fn slot_freed(&self);
}

impl Slot {
    pub(super) fn new(pool: Weak<dyn Slots>) -> Self {
        Self(pool)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.slot_freed();
        }
    }
}
