//! Who of a connection's futures can go on.
//!
//! Each has a bit, which its waker sets; the task is woken by the first of them only, and not at
//! all while it is at work, for it looks at the bits again before it rests. So a turn in which
//! everything wakes everything else costs one wake-up. Wakers may be called by any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// What the wakers of a connection share.
#[derive(Debug, Default)]
pub(super) struct Turn {
    task: AtomicWaker,
    /// The task is at work and will look again.
    at_work: AtomicBool,
    /// The connection itself can go on.
    connection: AtomicBool,
}

/// The bits of up to [`Word::BITS`] futures.
#[derive(Debug)]
pub(super) struct Word {
    bits: AtomicU64,
    turn: Arc<Turn>,
}

struct Bit {
    word: Arc<Word>,
    mask: u64,
}

impl Turn {
    /// Begins a turn of the task with this waker.
    pub(super) fn begin(&self, task: &Waker) {
        self.at_work.store(true, SeqCst);
        self.task.register(task);
    }

    /// Ends a turn. Whoever was woken after the task last looked is to be looked for after this:
    /// from here on wakers wake the task.
    pub(super) fn end(&self) {
        self.at_work.store(false, SeqCst);
    }

    /// The connection's own waker.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Arc::clone(self).into()
    }

    /// Lets the connection go on in this turn.
    pub(super) fn set_connection(&self) {
        self.connection.store(true, SeqCst);
    }

    /// Whether the connection can go on; forgotten once told.
    pub(super) fn take_connection(&self) -> bool {
        self.connection.load(SeqCst) && self.connection.swap(false, SeqCst)
    }

    /// Whether the connection can go on.
    pub(super) fn has_connection(&self) -> bool {
        self.connection.load(SeqCst)
    }

    fn wake_task(&self) {
        if !self.at_work.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.connection.swap(true, SeqCst) {
            self.wake_task();
        }
    }
}

impl Word {
    /// Futures per word.
    pub(super) const BITS: usize = 64;

    /// The bits of as many futures of the connection of `turn`.
    pub(super) fn new(turn: &Arc<Turn>) -> Arc<Self> {
        Arc::new(Self { bits: AtomicU64::new(0), turn: Arc::clone(turn) })
    }

    /// The waker of one future.
    pub(super) fn waker(self: &Arc<Self>, bit: usize) -> Waker {
        Arc::new(Bit { word: Arc::clone(self), mask: mask(bit) }).into()
    }

    /// Lets one future go on in this turn.
    pub(super) fn set(&self, bit: usize) {
        self.bits.fetch_or(mask(bit), SeqCst);
    }

    /// Those that can go on; forgotten once told.
    pub(super) fn take(&self) -> u64 {
        if self.is_empty() { 0 } else { self.bits.swap(0, SeqCst) }
    }

    /// Whether none can go on.
    pub(super) fn is_empty(&self) -> bool {
        self.bits.load(SeqCst) == 0
    }
}

fn mask(bit: usize) -> u64 {
    1 << (bit % Word::BITS)
}

impl Wake for Bit {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.word.bits.fetch_or(self.mask, SeqCst) & self.mask == 0 {
            self.word.turn.wake_task();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn the_first_waker_alone_wakes_the_task_and_none_while_it_is_at_work() {
        let (turn, task) = (Arc::<Turn>::default(), Arc::<Count>::default());
        let word = Word::new(&turn);
        let (third, last) = (word.waker(3), word.waker(63));
        turn.begin(&Waker::from(task.clone()));
        third.wake_by_ref();
        turn.waker().wake();
        assert_eq!((word.take(), turn.take_connection()), (1 << 3, true));
        assert_eq!((word.take(), turn.take_connection()), (0, false));
        turn.end();
        assert_eq!(task.0.load(SeqCst), 0);
        third.wake_by_ref();
        third.wake_by_ref();
        last.wake_by_ref();
        turn.waker().wake();
        assert_eq!(task.0.load(SeqCst), 1);
        assert_eq!((word.take(), turn.has_connection()), (1 << 3 | 1 << 63, true));
    }

    #[test]
    fn a_waker_outlives_its_connection() {
        let turn = Arc::<Turn>::default();
        let waker = Word::new(&turn).waker(0);
        drop(turn);
        waker.wake();
    }
}
