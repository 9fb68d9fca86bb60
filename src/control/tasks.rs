//! Loops that the process cannot do without: one that panics is started again, counted and written
//! down, and the others notice nothing.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Before a loop is started again: one that panics at once shall not spin.
const PAUSE: Duration = Duration::from_secs(1);
/// A loop that panics more often than this within [`STORM`] is given up, as a data worker is: something
/// is wrong that another start does not mend.
const MOST_RESTARTS: usize = 5;
const STORM: Duration = Duration::from_secs(60);

/// What a loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Asks upstreams whether they are there, for readiness.
    Reachability,
    /// Measures memory.
    Memory,
    /// Looks at certificates and keys on disk.
    Certificates,
    /// Asks endpoints for their health, and looks names up.
    Health,
}

impl Task {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Reachability, Self::Memory, Self::Certificates, Self::Health];

    /// Its name as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reachability => "reachability",
            Self::Memory => "memory",
            Self::Certificates => "certificates",
            Self::Health => "health",
        }
    }
}

/// Keeps loops going.
#[derive(Debug)]
pub struct Tasks {
    restarts: [AtomicU64; Task::ALL.len()],
    given_up: watch::Sender<Option<Task>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { restarts: Default::default(), given_up: watch::Sender::new(None) }
    }
}

impl Tasks {
    /// How often each was started again.
    pub fn restarts(&self) -> Vec<(&'static str, u64)> {
        let counted = Task::ALL.iter().zip(&self.restarts);
        counted.map(|(task, restarts)| (task.as_str(), restarts.load(Relaxed))).collect()
    }

    /// Runs what `start` makes, again and again should it panic, until it ends by itself or is given
    /// up.
    ///
    /// # Cancel safety
    /// As safe as the loop is.
    pub async fn keep<F: Future<Output = ()>>(&self, task: Task, mut start: impl FnMut() -> F) {
        let mut failures: Vec<Instant> = Vec::new();
        loop {
            let running = async { start().await };
            // Whatever it left half done is its own; the next one begins anew.
            if AssertUnwindSafe(running).catch_unwind().await.is_ok() {
                return;
            }
            let now = Instant::now();
            failures.retain(|failure| now.duration_since(*failure) < STORM);
            failures.push(now);
            if failures.len() > MOST_RESTARTS {
                tracing::error!(task = task.as_str(), "a loop panicked again and again: it is given up");
                self.given_up.send_replace(Some(task));
                return;
            }
            // The hook has written where.
            tracing::error!(task = task.as_str(), "a loop panicked and is started again; this is a bug");
            if let Some(restarts) = self.restarts.get(task as usize) {
                restarts.fetch_add(1, Relaxed);
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until one is given up: which.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn given_up(&self) -> Task {
        let mut given_up = self.given_up.subscribe();
        loop {
            if let Some(task) = *given_up.borrow_and_update() {
                return task;
            }
            // The sender is `self`'s own.
            if given_up.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    fn restarts(tasks: &Tasks) -> Vec<u64> {
        tasks.restarts().into_iter().map(|(_, restarts)| restarts).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_is_counted_and_started_again_and_the_others_go_on() {
        let (tasks, starts, turns) = (Tasks::default(), Cell::new(0), Cell::new(0));
        let failing = tasks.keep(Task::Memory, || {
            starts.set(starts.get() + 1);
            assert!(starts.get() != 1, "told to panic before it is a future");
            async {
                tokio::task::yield_now().await;
                assert!(starts.get() > 3, "told to panic");
                pending().await
            }
        });
        let others = tasks.keep(Task::Certificates, || async {
            while starts.get() < 4 {
                turns.set(turns.get() + 1);
                sleep(PAUSE / 10).await;
            }
        });
        tokio::select! {
            ((), ()) = async { tokio::join!(failing, others) } => panic!("it goes on"),
            task = tasks.given_up() => panic!("{task:?} is given up"),
            () = sleep(STORM * 2) => {}
        }
        assert_eq!((starts.get(), restarts(&tasks)), (4, vec![0, 3, 0, 0]));
        assert!(turns.get() >= 20, "it had its turns while the other was down: {}", turns.get());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_again_and_again_is_given_up_and_one_that_does_now_and_then_is_not() {
        let (tasks, starts) = (Tasks::default(), Cell::new(0));
        let now_and_then = tasks.keep(Task::Health, || async {
            starts.set(starts.get() + 1);
            if starts.get() <= 20 {
                sleep(STORM / 5).await;
                panic!("told to panic");
            }
        });
        now_and_then.await;
        assert_eq!(restarts(&tasks), [0, 0, 0, 20]);
        assert!(tasks.given_up().now_or_never().is_none());

        tasks.keep(Task::Memory, || async { panic!("told to panic") }).await;
        assert_eq!(restarts(&tasks), [0, 5, 0, 20]);
        assert_eq!(tasks.given_up().await, Task::Memory);
    }
}
