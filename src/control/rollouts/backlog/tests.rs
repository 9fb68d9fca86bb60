//! Outages that last, and what is left of them.

use super::*;
use crate::store::{Decision, Latch, Roles, Rollout, Store};

/// What one commit takes.
const MOST: usize = 1_000;

fn rollout(id: &str, model: &str, terminal: bool) -> Write {
    Write::Rollout(Rollout {
        id: id.to_owned(),
        model: model.to_owned(),
        phase: if terminal { "RolledBack" } else { "Running" }.to_owned(),
        terminal,
        created_ms: 1,
        updated_ms: 2,
        state: "{}".to_owned(),
    })
}

fn roles(model: &str, roles: &str) -> Write {
    Write::Roles(Roles { model: model.to_owned(), updated_ms: 1, roles: roles.to_owned() })
}

fn latch(digest: &str, reason: &str) -> Write {
    Write::Latch(Latch {
        model: "m".to_owned(),
        digest: digest.to_owned(),
        since_ms: 1,
        reason: reason.to_owned(),
    })
}

fn unlatch(digest: &str) -> Write {
    Write::Unlatch { model: "m".to_owned(), digest: digest.to_owned() }
}

fn decision(rollout: &str, seq: u64, record: &str) -> Write {
    Write::Decision(Decision {
        rollout: rollout.to_owned(),
        seq,
        at_ms: seq,
        kind: "hold".to_owned(),
        record: record.to_owned(),
    })
}

fn full() -> StoreError {
    StoreError::Full("disk".to_owned())
}

/// Writes all of it to a store, and says how many were refused for good.
fn write_to(store: &mut Store, backlog: &mut Backlog) -> u64 {
    let mut lost = 0;
    backlog.flush(store.writes_per_commit(), |writes| store.commit(writes).map(|_| ()), &mut lost).unwrap();
    assert!(backlog.is_empty());
    lost
}

#[test]
fn what_a_model_ended_with_is_written_however_much_waits_beside_it() {
    let (mut store, mut backlog) = (Store::in_memory(), Backlog::default());
    for number in 0..3_000 {
        backlog.keep(vec![roles("m", &number.to_string()), rollout("a", "m", false)]);
    }
    assert_eq!(backlog.len(), 2, "only the newest waits");
    for seq in 0..2_500 {
        assert_eq!(backlog.keep(vec![decision("a", seq, "{}")]), 0);
    }
    backlog.keep(vec![roles("m", "end"), rollout("a", "m", true), latch("d", "it failed")]);
    assert_eq!(write_to(&mut store, &mut backlog), 0);
    let reader = store.read();
    assert!(reader.rollout("a").unwrap().unwrap().terminal);
    assert_eq!(reader.latches(None).unwrap()[0].reason, "it failed");
    assert_eq!(reader.all_roles().unwrap()[0].roles, "end");
    // As many as the store keeps of one rollout.
    assert_eq!(reader.decisions("a", Some(2_498), 10).unwrap().len(), 1);
}

#[test]
fn how_models_stand_is_never_given_up_and_what_was_decided_oldest_first() {
    let (mut store, mut backlog) = (Store::in_memory(), Backlog::default());
    backlog.keep(vec![roles("m", "end"), rollout("a", "m", true), latch("d", "")]);
    let most = u64::try_from(DECISIONS).unwrap();
    let lost: u64 = (0..most + 7).map(|seq| backlog.keep(vec![decision("a", seq, "{}")])).sum();
    assert_eq!(lost, 7);
    let large = "x".repeat(DECISION_BYTES - 1);
    assert_eq!(backlog.keep(vec![decision("a", most + 7, &large)]), most, "their bytes count, too");
    backlog.history.clear();
    assert_eq!(write_to(&mut store, &mut backlog), 0);
    assert_eq!((store.read().latches(None).unwrap().len(), store.read().live().unwrap().len()), (1, 0));
}

#[test]
fn an_outage_in_the_middle_leaves_what_is_not_yet_written() {
    let mut backlog = Backlog::default();
    for number in 0..700 {
        let (model, id) = (format!("m{number}"), format!("r{number}"));
        backlog.keep(vec![rollout(&id, &model, false), roles(&model, "x"), decision(&id, 0, "{}")]);
    }
    let mut sizes = Vec::new();
    let mut commit = |writes: &[Write]| {
        // A model's standing goes whole, and so both or neither of its writes.
        assert!(writes.len() <= MOST);
        sizes.push(writes.len());
        if sizes.len() == 2 { Err(full()) } else { Ok(()) }
    };
    let mut lost = 0;
    assert_eq!(backlog.flush(MOST, &mut commit, &mut lost), Err(full()));
    assert_eq!(backlog.len(), 400 + 700);
    backlog.flush(MOST, &mut commit, &mut lost).unwrap();
    assert_eq!((sizes, lost, backlog.len()), (vec![1_000, 400, 400, 700], 0, 0));
}

#[test]
fn one_write_that_is_refused_for_itself_takes_nothing_with_it() {
    let (mut store, mut backlog) = (Store::in_memory(), Backlog::default());
    store.commit(&[rollout("a", "another", true)]).unwrap();
    backlog.keep(vec![rollout("a", "m", true), roles("m", "end"), latch("d", ""), decision("gone", 0, "{}")]);
    assert_eq!(write_to(&mut store, &mut backlog), 2);
    assert_eq!(store.read().latches(None).unwrap().len(), 1);
    assert_eq!(store.read().all_roles().unwrap()[0].roles, "end");
}

#[test]
fn what_is_taken_back_meanwhile_is_not_written_and_what_comes_again_is() {
    for (writes, reasons) in [
        (vec![latch("d", "a"), latch("d", "b")], vec!["a"]),
        (vec![latch("d", "a"), unlatch("d")], vec![]),
        (vec![unlatch("d"), latch("d", "b")], vec!["b"]),
        (vec![latch("d", "a"), unlatch("d"), latch("d", "b"), unlatch("d")], vec![]),
        (vec![latch("d", "a"), unlatch("d"), latch("e", "c"), latch("d", "b")], vec!["b", "c"]),
    ] {
        let (mut store, mut backlog) = (Store::in_memory(), Backlog::default());
        writes.into_iter().for_each(|write| assert_eq!(backlog.keep(vec![write]), 0));
        assert_eq!(write_to(&mut store, &mut backlog), 0);
        let latches = store.read().latches(None).unwrap();
        assert_eq!(latches.iter().map(|latch| latch.reason.as_str()).collect::<Vec<_>>(), reasons);
    }
}

#[test]
fn a_rollout_that_has_ended_stays_ended_while_it_waits() {
    let (mut store, mut backlog) = (Store::in_memory(), Backlog::default());
    backlog.keep(vec![rollout("a", "m", true)]);
    backlog.keep(vec![rollout("a", "m", false)]);
    assert_eq!(write_to(&mut store, &mut backlog), 0);
    assert!(store.read().rollout("a").unwrap().unwrap().terminal);
}
