//! The store kept, crashed and damaged.

mod crash;
mod damage;
mod keeping;
mod outbox;

use std::path::PathBuf;

use super::*;

/// A folder that is gone after the test, and the path of a store in it.
pub(super) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(super) fn open(&self) -> Store {
        Store::open(&self.path()).unwrap().0
    }

    pub(super) fn open_with(&self, limits: Limits) -> Store {
        Store::open_with(&self.path(), limits).unwrap().0
    }
}

/// The connection that writes.
pub(super) fn writing(store: &Store) -> &rusqlite::Connection {
    &store.writer.as_ref().unwrap().connection
}

pub(super) fn rollout(id: &str, model: &str, created_ms: u64, terminal: bool) -> Rollout {
    Rollout {
        id: id.to_owned(),
        model: model.to_owned(),
        phase: if terminal { "RolledBack" } else { "Progressing" }.to_owned(),
        terminal,
        created_ms,
        updated_ms: created_ms,
        state: format!(r#"{{"id":"{id}"}}"#),
    }
}

pub(super) fn decision(rollout: &str, seq: u64) -> Decision {
    Decision {
        rollout: rollout.to_owned(),
        seq,
        at_ms: 1_000 + seq,
        kind: "advance".to_owned(),
        record: format!(r#"{{"seq":{seq}}}"#),
    }
}

pub(super) fn latch(model: &str, digest: &str) -> Latch {
    Latch { model: model.to_owned(), digest: digest.to_owned(), since_ms: 7, reason: "slow".to_owned() }
}

pub(super) fn roles(model: &str, roles: &str) -> Roles {
    Roles { model: model.to_owned(), updated_ms: 8, roles: roles.to_owned() }
}

pub(super) fn candidate(model: &str, version: &str) -> Candidate {
    let spec = r#"{"url":"http://127.0.0.1:1"}"#.to_owned();
    Candidate { model: model.to_owned(), version: version.to_owned(), created_ms: 9, spec }
}

pub(super) fn notice(id: &str, sink: &str) -> Notice {
    Notice {
        id: id.to_owned(),
        sink: sink.to_owned(),
        created_ms: 10,
        attempts: 0,
        next_ms: 10,
        event: r#"{"kind":"rolledBack"}"#.to_owned(),
    }
}

pub(super) fn key(key: &str, at_ms: u64, request: &str) -> IdempotencyKey {
    let answer = format!(r#"{{"answer":"{request}"}}"#);
    IdempotencyKey { key: key.to_owned(), at_ms, request: request.to_owned(), answer }
}

pub(super) fn ids(rollouts: &[Rollout]) -> Vec<&str> {
    rollouts.iter().map(|row| row.id.as_str()).collect()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = Folder::new();
    let (mut store, recovered) = Store::open(&folder.path()).unwrap();
    assert!(recovered.created);
    assert!(store.is_durable());
    let writes = [
        Write::Rollout(rollout("r1", "iris", 1, false)),
        Write::Rollout(rollout("r0", "iris", 0, true)),
        Write::Decision(decision("r1", 0)),
        Write::Latch(latch("iris", "sha256:bad")),
        Write::Roles(roles("iris", r#"{"v1":"stable"}"#)),
        Write::Key(key("k", 1, "hash")),
        Write::Candidate(candidate("iris", "v2")),
        Write::Notice(notice("n", "ops")),
    ];
    assert_eq!(store.commit(&writes), Ok(Committed::default()));
    drop(store);

    let (store, recovered) = Store::open(&folder.path()).unwrap();
    assert_eq!(
        recovered,
        Recovered {
            created: false,
            migrated_from: None,
            live: vec![rollout("r1", "iris", 1, false)],
            latches: vec![latch("iris", "sha256:bad")],
            roles: vec![roles("iris", r#"{"v1":"stable"}"#)],
            candidates: vec![candidate("iris", "v2")],
            notices: 1,
        }
    );
    let read = store.read();
    assert_eq!(read.rollout("r0"), Ok(Some(rollout("r0", "iris", 0, true))));
    assert_eq!(read.live_of("iris").map(|found| found.map(|row| row.id)), Ok(Some("r1".to_owned())));
    assert_eq!(read.decisions("r1", None, 0), Ok(vec![decision("r1", 0)]));
    assert_eq!(read.key("k", 0), Ok(Some(key("k", 1, "hash"))));
    assert_eq!(store.outbox().unwrap().oldest("ops", &[]), Ok(Some(notice("n", "ops"))));
}

#[test]
fn a_commit_is_applied_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut store = folder.open();
    let writes = [
        Write::Rollout(rollout("r1", "iris", 1, false)),
        Write::Roles(roles("iris", "{}")),
        Write::Decision(decision("no such rollout", 0)),
    ];
    let error = store.commit(&writes).unwrap_err();
    assert_eq!(error.reason(), "conflict", "{error}");
    assert_eq!(store.read().rollout("r1"), Ok(None));
    assert_eq!(store.read().roles("iris"), Ok(None));
    let health = store.health();
    assert_eq!((health.failures, health.last_error), (1, Some(error)));

    store.commit(&writes[..2]).unwrap();
    assert!(store.read().rollout("r1").unwrap().is_some());
    assert_eq!(store.health().last_error, None, "a commit that succeeds ends the alarm");
}

#[test]
fn a_reader_on_another_thread_sees_every_commit_whole() {
    for mut store in [Folder::new().open(), Store::in_memory()] {
        if !store.is_durable() {
            // In memory a reader may see a commit that is under way; that it reads at all is what counts.
            store.commit(&[Write::Roles(roles("a", "1"))]).unwrap();
            let reader = store.reader().unwrap();
            let read = std::thread::spawn(move || reader.roles("a")).join().unwrap();
            assert_eq!(read, Ok(Some(roles("a", "1"))));
            continue;
        }
        let reader = store.reader().unwrap();
        let (started, start) = std::sync::mpsc::channel();
        let watcher = std::thread::spawn(move || {
            let mut last = 0;
            started.send(()).unwrap();
            while last < 100 {
                let seen = reader.all_roles().unwrap();
                let [a, b] = seen.as_slice() else { continue };
                assert_eq!(a.roles, b.roles, "half a commit");
                let now = a.roles.parse().unwrap();
                assert!(now >= last, "time went back");
                last = now;
            }
        });
        start.recv().unwrap();
        for number in 1..=100 {
            let text = number.to_string();
            store.commit(&[Write::Roles(roles("a", &text)), Write::Roles(roles("b", &text))]).unwrap();
        }
        watcher.join().unwrap();
    }
}

#[test]
fn a_reader_cannot_write() {
    let folder = Folder::new();
    let store = folder.open();
    let mut memory = Store::in_memory();
    memory.commit(&[]).unwrap();
    for reader in [store.reader().unwrap(), memory.reader().unwrap()] {
        let refused = reader.connection().unwrap().unwrap().execute("DELETE FROM latches", []).unwrap_err();
        assert_eq!(StoreError::from(refused).reason(), "io");
    }
}

#[test]
fn commits_wait_for_the_disk() {
    let folder = Folder::new();
    let store = folder.open();
    let pragma = |connection: &rusqlite::Connection, name: &str| -> String {
        connection
            .pragma_query_value(None, name, |row| {
                row.get::<_, i64>(0).map(|n| n.to_string()).or_else(|_| row.get(0))
            })
            .unwrap()
    };
    for connection in [writing(&store), store.outbox().unwrap().connection()] {
        assert_eq!(pragma(connection, "synchronous"), "2", "FULL");
        assert_eq!(pragma(connection, "journal_mode"), "wal");
        assert_eq!(pragma(connection, "foreign_keys"), "1");
    }
}

#[test]
fn a_store_in_memory_takes_the_same_calls_and_is_alone() {
    let mut store = Store::in_memory();
    let other = Store::in_memory();
    store.commit(&[Write::Latch(latch("iris", "d")), Write::Notice(notice("n", "ops"))]).unwrap();
    assert_eq!(store.read().latches(None).unwrap().len(), 1);
    assert_eq!(other.read().latches(None).unwrap().len(), 0);
    assert!(!store.is_durable());
    assert_eq!(store.outbox().unwrap_err(), StoreError::InMemory);
    assert_eq!(store.health().outbox.notices, 1);
}

#[test]
fn a_store_in_memory_costs_nothing_before_its_first_commit_and_its_readers_see_that_one() {
    let mut store = Store::in_memory();
    let reader = store.reader().unwrap();
    assert_eq!(reader.latches(None).unwrap(), []);
    assert_eq!(reader.rollout("r").unwrap(), None);
    assert_eq!(store.health().outbox, OutboxSize::default());
    assert!(store.writer.is_none(), "nothing was opened to be read");
    store.commit(&[Write::Latch(latch("iris", "d"))]).unwrap();
    // Even one that is first asked when the store is gone.
    let later = store.reader().unwrap();
    drop(store);
    assert_eq!(reader.latches(None).unwrap().len(), 1);
    assert_eq!(later.latches(None).unwrap().len(), 1);
}

#[test]
fn a_store_can_go_to_another_thread() {
    fn sent<T: Send>() {}
    sent::<Store>();
    sent::<Reader>();
    sent::<Outbox>();
}
