//! What an engine shares with the threads that load and run its model.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::abort::Abort;
use super::pace::Pace;
use super::queue::Queue;
use super::statistics::Recorder;

/// It lives until the last of those threads has ended.
pub(super) struct Works {
    pub(super) queue: Queue,
    pub(super) abort: Abort,
    pub(super) pace: Pace,
    pub(super) recorder: Recorder,
    /// The engine is gone: what is left ends.
    dropped: AtomicBool,
}

impl Works {
    /// For an engine that takes so many jobs and bytes of them.
    pub(super) fn new(max_jobs: usize, max_bytes: usize) -> Self {
        Self {
            queue: Queue::new(max_jobs, max_bytes),
            abort: Abort::default(),
            pace: Pace::default(),
            recorder: Recorder::default(),
            dropped: AtomicBool::new(false),
        }
    }

    /// Ends everything, because the engine is gone.
    pub(super) fn end(&self) {
        self.dropped.store(true, Relaxed);
        self.queue.close();
        self.abort.set();
    }

    /// Whether the engine is gone.
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Relaxed)
    }
}
