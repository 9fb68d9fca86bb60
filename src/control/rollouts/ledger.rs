//! Writing down what was decided, on a thread of its own.
//!
//! The decider never waits for a disk: a rollback is in place before anything is written. What is to
//! be announced (an answer to a caller, a notification) waits here for its commit instead. Where the
//! store cannot be written, deciding goes on in memory, the alarm is up and new rollouts do not
//! start; what should have been written waits (`backlog`) and goes first as soon as the store can be
//! written again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::backlog::{Backlog, may_recover};
use crate::store::{Health, Store, StoreError, Write};

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

    /// Whether what is written outlives the process, as long as the store is well.
    pub(super) fn is_durable(&self) -> bool {
        self.shared.lock().health.path.is_some()
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
    // To be written before anything later.
    let mut backlog = Backlog::default();
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
                    shared.lock().lost += backlog.keep(writes);
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
fn catch_up(store: &mut Store, shared: &Shared, backlog: &mut Backlog) -> Result<(), StoreError> {
    if backlog.is_empty() {
        return Ok(());
    }
    let (writes, most, mut lost) = (backlog.len(), store.writes_per_commit(), 0);
    let outcome = backlog.flush(most, |writes| commit(store, shared, writes), &mut lost);
    shared.lock().lost += lost;
    if outcome.is_ok() {
        tracing::info!(writes, lost, "the store is written again");
    }
    outcome
}

fn commit(store: &mut Store, shared: &Shared, writes: &[Write]) -> Result<(), StoreError> {
    let committed = store.commit(writes).map(|_| ());
    shared.lock().health = store.health();
    if let Err(error) = &committed {
        tracing::error!(%error, "the store cannot be written: what is decided is kept in memory only");
    }
    committed
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
    fn how_it_ended_is_written_after_a_store_was_full_for_longer_than_one_commit_can_make_up_for() {
        use crate::store::{Decision, Latch, Limits, Roles};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollouts.db");
        let limits = Limits { file_bytes: 512 * 1024, ..Limits::default() };
        let (mut store, _) = Store::open_with(&path, limits).unwrap();
        let standing = |number: usize| {
            // More than what is left beside the first one.
            let roles = format!("{number} {}", " ".repeat(if number == 0 { 0 } else { 40_000 }));
            Write::Roles(Roles { model: "m".to_owned(), updated_ms: 0, roles })
        };
        store.commit(&[rollout("a", false), standing(0)]).unwrap();
        let mut number = 0;
        let filler = |number: usize| {
            let Write::Rollout(row) = rollout(&format!("filler-{number}"), true) else { panic!("a rollout") };
            Write::Rollout(Rollout { model: format!("filler-{number}"), state: "s".repeat(4_000), ..row })
        };
        while store.commit(&[filler(number)]).is_ok() {
            number += 1;
        }
        let reader = store.reader().unwrap();
        let ledger = Ledger::start(store).unwrap();
        let (say, told) = channel();
        let write = |writes: Vec<Write>| {
            let say = say.clone();
            ledger.write(writes, true, move |outcome| say.send(outcome.is_ok()).unwrap());
        };
        // As many as twenty minutes leave.
        (1..1_201).for_each(|number| write(vec![standing(number), rollout("a", false)]));
        let decision = Decision {
            rollout: "a".to_owned(),
            seq: 0,
            at_ms: 0,
            kind: "rollback".to_owned(),
            record: "{}".to_owned(),
        };
        let latch =
            Latch { model: "m".to_owned(), digest: "d".to_owned(), since_ms: 0, reason: String::new() };
        write(vec![standing(1_201), rollout("a", true), Write::Decision(decision), Write::Latch(latch)]);
        assert!(told.iter().take(1_201).all(|is_written| !is_written));
        assert!(!ledger.is_well());
        let operator = rusqlite::Connection::open(&path).unwrap();
        operator.execute("DELETE FROM rollouts WHERE id LIKE 'filler%'", []).unwrap();
        let began = Instant::now();
        while !ledger.is_well() {
            assert!(began.elapsed() < Duration::from_secs(30), "the store is never written again");
            std::thread::yield_now();
        }
        assert_eq!(ledger.lost(), 0);
        drop(ledger);
        assert!(reader.rollout("a").unwrap().unwrap().terminal);
        assert_eq!(reader.latches(None).unwrap().len(), 1);
        assert!(reader.all_roles().unwrap()[0].roles.starts_with("1201 "));
        assert_eq!(reader.decisions("a", None, 10).unwrap().len(), 1);
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
