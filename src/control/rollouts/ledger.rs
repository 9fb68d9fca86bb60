//! Writing down what was decided, on a thread of its own.
//!
//! The decider never waits for a disk: a rollback is in place before anything is written. What is to
//! be announced (an answer to a caller, a notification) waits here for its commit instead. Where the
//! store cannot be written, deciding goes on in memory, the alarm is up and new rollouts do not
//! start; what should have been written waits and goes first as soon as the store can be written
//! again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::store::{Health, Store, StoreError, Write};

/// Writes that may wait for a store to recover. Beyond it the oldest are lost.
const WAITING: usize = 10_000;
/// Between two attempts of a store that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to happen once an entry is written, or cannot be.
pub(super) type Then = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Writes that belong together: all are made, or none.
struct Entry {
    writes: Vec<Write>,
    /// Whether they are still to be made after they could not be.
    keep: bool,
    then: Then,
}

/// The way to the ledger's thread.
pub(super) struct Ledger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// At most one of each model: a model waits for its last one.
    waiting: VecDeque<Entry>,
    health: Health,
    ended: bool,
    /// Writes that were given up.
    lost: u64,
}

impl Ledger {
    /// Starts the thread that writes to `store`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(store: Store) -> std::io::Result<Self> {
        let state = State { waiting: VecDeque::new(), health: store.health(), ended: false, lost: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let mine = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("ledger".to_owned()).spawn(move || run(store, &mine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has `writes` committed, all or none, and `then` called once they are durable, or cannot be
    /// made now. Those that are to be kept are made later then. Returns at once.
    pub(super) fn write(
        &self,
        writes: Vec<Write>,
        keep: bool,
        then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.shared.lock().waiting.push_back(Entry { writes, keep, then: Box::new(then) });
        self.shared.wake.notify_one();
    }

    /// Whether its thread has ended, which only a panic can bring about: nothing is written any more.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// How the store was when it was last written.
    pub(super) fn health(&self) -> Health {
        self.shared.lock().health.clone()
    }

    /// Whether what is written is durable now.
    pub(super) fn is_well(&self) -> bool {
        self.shared.lock().health.last_error.is_none()
    }

    /// Writes that were lost because the store could not be written for too long.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lock().lost
    }
}

impl Drop for Ledger {
    /// Writes what waits, once more, and ends.
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread is woken for.
enum Turn {
    Entry(Entry),
    /// To try again what could not be written, and to look again.
    Again,
    End,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock calls out, so it is never left half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what is to be done next; not for ever where there is something to do `again`.
    fn next(&self, again: bool) -> Turn {
        let until = Instant::now() + AGAIN;
        let mut state = self.lock();
        loop {
            if let Some(entry) = state.waiting.pop_front() {
                return Turn::Entry(entry);
            }
            if state.ended {
                return Turn::End;
            }
            if !again {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Turn::Again;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn run(mut store: Store, shared: &Shared) {
    // In the order of their making, before anything later.
    let mut backlog: Vec<Write> = Vec::new();
    loop {
        // Who delivers news takes it out of the store: how much waits is looked at until it is nothing.
        let waits = shared.lock().health.outbox.notices > 0;
        match shared.next(waits || !backlog.is_empty()) {
            Turn::Entry(entry) => {
                let Entry { writes, keep, then } = entry;
                let outcome = match catch_up(&mut store, shared, &mut backlog) {
                    Ok(()) => commit(&mut store, shared, &writes),
                    Err(error) => Err(error),
                };
                if keep && outcome.as_ref().is_err_and(may_recover) {
                    // News is told from memory now, and would be told twice.
                    backlog.extend(writes.into_iter().filter(|write| !matches!(write, Write::Notice(_))));
                    let beyond = backlog.len().saturating_sub(WAITING);
                    backlog.drain(..beyond);
                    shared.lock().lost += u64::try_from(beyond).unwrap_or(u64::MAX);
                }
                then(outcome);
            }
            Turn::Again if backlog.is_empty() => shared.lock().health = store.health(),
            Turn::Again => _ = catch_up(&mut store, shared, &mut backlog),
            Turn::End => {
                let _ = catch_up(&mut store, shared, &mut backlog);
                return;
            }
        }
    }
}

/// Makes the writes that could not be made before.
fn catch_up(store: &mut Store, shared: &Shared, backlog: &mut Vec<Write>) -> Result<(), StoreError> {
    if backlog.is_empty() {
        return Ok(());
    }
    let committed = commit(store, shared, backlog);
    match &committed {
        Ok(()) => tracing::info!(writes = backlog.len(), "the store is written again"),
        Err(error) if may_recover(error) => return committed,
        Err(_) => shared.lock().lost += u64::try_from(backlog.len()).unwrap_or(u64::MAX),
    }
    backlog.clear();
    Ok(())
}

fn commit(store: &mut Store, shared: &Shared, writes: &[Write]) -> Result<(), StoreError> {
    let committed = store.commit(writes).map(|_| ());
    shared.lock().health = store.health();
    if let Err(error) = &committed {
        tracing::error!(%error, "the store cannot be written: what is decided is kept in memory only");
    }
    committed
}

fn may_recover(error: &StoreError) -> bool {
    matches!(error, StoreError::Full(_) | StoreError::Busy(_) | StoreError::Io(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Rollout;
    use std::sync::mpsc::channel;

    fn rollout(id: &str, terminal: bool) -> Write {
        Write::Rollout(Rollout {
            id: id.to_owned(),
            model: "m".to_owned(),
            phase: "Running".to_owned(),
            terminal,
            created_ms: 1,
            updated_ms: 2,
            state: "{}".to_owned(),
        })
    }

    #[test]
    fn what_is_awaited_is_durable_when_its_caller_is_told() {
        let store = Store::in_memory();
        let reader = store.reader().unwrap();
        let ledger = Ledger::start(store).unwrap();
        let (say, told) = channel();
        ledger.write(vec![rollout("a", false)], true, |_| ());
        ledger.write(vec![rollout("b", false)], true, move |outcome| {
            say.send((outcome, reader.live().unwrap().len())).unwrap();
        });
        assert_eq!(told.recv().unwrap(), (Ok(()), 2));
        assert!(ledger.is_well());
        assert_eq!(ledger.lost(), 0);
    }

    #[test]
    fn what_the_store_refuses_for_good_is_told_and_the_rest_goes_on() {
        let store = Store::in_memory();
        let ledger = Ledger::start(store).unwrap();
        let (say, told) = channel();
        for terminal in [true, false, true] {
            let say = say.clone();
            // Once it has ended, it cannot be under way again.
            ledger
                .write(vec![rollout("a", terminal)], true, move |outcome| say.send(outcome.is_ok()).unwrap());
        }
        assert_eq!(told.iter().take(3).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn the_end_of_its_thread_is_noticed() {
        let ledger = Ledger::start(Store::in_memory()).unwrap();
        let (say, told) = channel();
        ledger.write(vec![rollout("a", false)], true, move |outcome| say.send(outcome.is_ok()).unwrap());
        assert!(told.recv().unwrap() && !ledger.has_ended());
        ledger.write(vec![rollout("b", false)], true, |_| panic!("told to panic"));
        let began = Instant::now();
        while !ledger.has_ended() {
            assert!(began.elapsed() < Duration::from_secs(20), "its end is not noticed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn dropping_the_ledger_writes_what_waits() {
        let store = Store::in_memory();
        let reader = store.reader().unwrap();
        let ledger = Ledger::start(store).unwrap();
        (0..500).for_each(|n| ledger.write(vec![rollout(&format!("r{n}"), false)], true, |_| ()));
        drop(ledger);
        assert_eq!(reader.live().unwrap().len(), 500);
    }
}
