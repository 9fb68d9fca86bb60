//! Ending in order: one signal from the control thread, heard once per worker and listener, passed
//! on to every connection of it.
//!
//! The signal crosses threads through a tokio `watch`, which only the accept loop listens to. A
//! connection sees a plain `Cell` on its own thread, and its task is woken once, when the signal
//! fires: nothing of the drain is polled, locked or shared between threads while requests run.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Makes the two ends of one drain.
pub fn drain_pair() -> (DrainSignal, Drain) {
    let (sender, receiver) = watch::channel(None);
    (DrainSignal { sender }, Drain { receiver })
}

/// The control thread's end: starts the drain.
#[derive(Debug, Clone)]
pub struct DrainSignal {
    sender: watch::Sender<Option<Instant>>,
}

impl DrainSignal {
    /// Stops accepting now and aborts what is still open at `deadline`. A second call moves the
    /// deadline, so an impatient operator can shorten it.
    pub fn start(&self, deadline: Instant) {
        self.sender.send_replace(Some(deadline));
    }
}

/// A worker's end. Cheap to clone: one for each listener of each worker.
#[derive(Debug, Clone)]
pub struct Drain {
    receiver: watch::Receiver<Option<Instant>>,
}

impl Drain {
    /// The deadline, once draining has started.
    pub fn deadline(&self) -> Option<Instant> {
        *self.receiver.borrow()
    }

    /// Waits until draining starts and gives the deadline. When every [`DrainSignal`] was dropped
    /// without starting it never ends: losing the control thread is no reason to stop serving.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn started(&mut self) -> Instant {
        match self.receiver.wait_for(Option::is_some).await.map(|deadline| *deadline) {
            Ok(Some(deadline)) => deadline,
            Ok(None) | Err(_) => pending().await,
        }
    }

    /// Waits until the deadline is moved after [`started`](Self::started) and gives the new one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn moved(&mut self) -> Instant {
        loop {
            if self.receiver.changed().await.is_err() {
                return pending().await;
            }
            let deadline = *self.receiver.borrow_and_update();
            if let Some(deadline) = deadline {
                return deadline;
            }
        }
    }
}

/// The signal inside a worker: a flag that connections read, and the means to wake them once.
#[derive(Debug, Default)]
pub(super) struct Latch {
    fired: Cell<bool>,
    notify: Notify,
}

impl Latch {
    /// Whether draining has started.
    pub(super) fn fired(&self) -> bool {
        self.fired.get()
    }

    /// Raises the flag and wakes every task that subscribed.
    pub(super) fn fire(&self) {
        self.fired.set(true);
        self.notify.notify_waiters();
    }

    /// A place in the list of those to wake; [`subscribe`] takes it.
    pub(super) fn place(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

/// Leaves the current task's waker in `place`. It is polled this once: a task keeps its waker for
/// life, and afterwards reading [`Latch::fired`] on any wake is enough.
pub(super) async fn subscribe(mut place: Pin<&mut Notified<'_>>) {
    poll_fn(|cx| {
        let _ = place.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Counts open sockets of one worker and listener, tunnels after an upgrade included, which live on
/// outside the task that served the connection. Atomic because a tunnel's socket must be
/// `Send`; touched at the two ends of a connection's life only.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: AtomicUsize,
    freed: Notify,
}

impl Seats {
    /// A seat, unless `limit` are taken. Called by one task only, so check and take need no loop.
    pub(super) fn take(self: &Arc<Self>, limit: usize) -> Option<Seat> {
        if self.taken() >= limit {
            return None;
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat(Arc::clone(self)))
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Waits until none is taken.
    pub(super) async fn all_free(&self) {
        loop {
            let freed = self.freed.notified();
            if self.taken() == 0 {
                return;
            }
            freed.await;
        }
    }
}

/// One open socket; frees its place when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Seats>);

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.freed.notify_one();
        }
    }
}
