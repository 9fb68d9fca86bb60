//! Decisions and calls while the store is slow, or cannot be written.

use std::sync::mpsc::{Receiver, sync_channel};

use super::*;

/// As long as this lives nothing is written to the store.
fn locked(store: &Path) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(store).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// Asks, and does not wait for the answer.
fn ask(rollouts: &Rollouts, call: Call) -> Receiver<Result<Done, CallError>> {
    let (reply, answer) = sync_channel(1);
    let digests = candidate::Digests::default();
    rollouts.messages.send(message::Message::Call(call, digests, reply)).unwrap();
    answer
}

fn told(answer: &Receiver<Result<Done, CallError>>) -> Result<Done, CallError> {
    answer.recv_timeout(LIMIT).unwrap()
}

#[test]
fn a_configuration_that_comes_while_the_first_start_is_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = folder.path().join("rollouts.db");
    let setup = setup(folder.path(), &server, Some(&store));
    let (specs, hash) = (setup.specs.clone(), setup.config_hash.clone());
    let (rollouts, _deciding) = start(setup).unwrap();
    let slow = locked(&store);
    let started = ask(&rollouts, start_of("m"));
    rollouts.declare(specs, &hash, None);
    // Both are known to the decider once it has answered this.
    assert!(rollouts.ask(command("nobody", What::Abort)).is_err());
    drop(slow);
    assert_eq!(told(&started).unwrap().rollout.unwrap().phase, "Pending");
    until("the step", || rollouts.views()["m"].rollout.as_ref().unwrap().phase == "Running");
}

#[test]
fn a_start_takes_nothing_with_it_that_was_decided_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = folder.path().join("rollouts.db");
    let (rollouts, _deciding) = start(setup(folder.path(), &server, Some(&store))).unwrap();
    let id = rollouts.ask(start_of("m")).unwrap().rollout.unwrap().id;
    until("the step", || rollouts.views()["m"].rollout.as_ref().unwrap().phase == "Running");
    let away = locked(&store);
    let paused = ask(&rollouts, command("m", What::Pause));
    let aborted = ask(&rollouts, command("m", What::Abort));
    let started = ask(&rollouts, start_of("m"));
    // The first of them is given up: the store is busy for too long.
    assert!(!told(&paused).unwrap().durable);
    drop(away);
    assert_eq!(told(&aborted).unwrap().rollout.unwrap().id, id);
    // Whether this one begins depends on how the store is by then.
    if let Err(error) = told(&started) {
        assert!(matches!(error, CallError::Store(_)), "{error}");
    }
    until("the end in the store", || {
        let kept = rollouts.rollout(&id).unwrap();
        kept.is_some_and(|kept| kept.contains("\"Aborted\""))
    });
}

#[test]
fn what_is_asked_of_a_rollout_that_cannot_be_written_is_refused_as_its_start_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = folder.path().join("rollouts.db");
    let (rollouts, _deciding) = start(setup(folder.path(), &server, Some(&store))).unwrap();
    let _away = locked(&store);
    let answers = [start_of("m"), command("m", What::Abort)].map(|call| ask(&rollouts, call));
    for answer in answers {
        assert!(matches!(told(&answer), Err(CallError::Store(_))));
    }
    until("the view", || rollouts.views().is_empty());
}
