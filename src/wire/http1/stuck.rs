//! How many messages of this thread stand still with a large block in hand.
//!
//! Long bodies are read in large blocks, and whoever is slow to take one keeps it. A few may. Once
//! many do, blocks are small until they have gone: thousands of clients that read nothing must not
//! hold half a mebibyte each.

use std::cell::Cell;

/// As many may hold a large block and stand still.
const MOST: usize = 64;

thread_local! {
    static STUCK: Cell<usize> = const { Cell::new(0) };
}

/// One message that stands still. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Stuck(());

impl Stuck {
    pub(super) fn begin() -> Self {
        STUCK.set(STUCK.get() + 1);
        Self(())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // A thread that ends may have let go of the count already.
        let _ = STUCK.try_with(|count| count.set(count.get().saturating_sub(1)));
    }
}

/// Whether as many stand still as may.
pub(super) fn are_many() -> bool {
    STUCK.get() >= MOST
}
