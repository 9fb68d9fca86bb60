//! Telling a model that is being loaded that nobody waits for it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Ends a load early: its time is over, or its engine was dropped.
#[derive(Default)]
pub(super) struct Abort {
    set: AtomicBool,
    hooks: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

impl Abort {
    /// Calls `hook` when the load is to end; at once when it is already.
    pub(super) fn when(&self, hook: impl Fn() + Send + 'static) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_set() {
            hook();
        } else {
            hooks.push(Box::new(hook));
        }
    }

    /// Whether the load is to end.
    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Ends the load.
    pub(super) fn set(&self) {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        self.set.store(true, Ordering::Release);
        hooks.iter().for_each(|hook| hook());
    }

    /// The load is over: the hooks are of no use any more.
    pub(super) fn forget(&self) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
