//! What is kept, what is refused, and what goes.

use super::*;

fn small() -> Limits {
    Limits {
        rollouts_per_model: 3,
        rollouts: 5,
        decisions_per_rollout: 2,
        rows: 2,
        keys: 2,
        key_age_ms: 100,
        json_bytes: 64,
        text_bytes: 64,
        writes_per_commit: 8,
        ..Limits::default()
    }
}

#[test]
fn rollouts_are_listed_newest_first_and_page_by_page() {
    let folder = Folder::new();
    let mut store = folder.open();
    for (id, model, at) in [("a", "x", 1), ("b", "y", 2), ("c", "x", 3), ("d", "x", 3), ("e", "y", 4)] {
        store.commit(&[Write::Rollout(rollout(id, model, at, true))]).unwrap();
    }
    let read = store.read();
    let list = |model, before, limit| {
        let found = read.rollouts(&Page { model, before, limit }).unwrap();
        ids(&found).join("")
    };
    assert_eq!(list(None, None, 0), "edcba");
    assert_eq!(list(None, None, 2), "ed");
    assert_eq!(list(None, Some("d"), 2), "cb", "one that was made in the same millisecond is not lost");
    assert_eq!(list(None, Some("b"), 2), "a");
    assert_eq!(list(Some("x"), None, 0), "dca");
    assert_eq!(list(Some("x"), Some("d"), 1), "c");
    assert_eq!(list(None, Some("pruned"), 0), "");
}

#[test]
fn a_rollout_keeps_its_birth_and_model_and_never_comes_back_to_life() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[Write::Rollout(rollout("r", "x", 1, false))]).unwrap();
    let ended = Rollout { updated_ms: 9, ..rollout("r", "x", 5, true) };
    store.commit(&[Write::Rollout(ended.clone())]).unwrap();
    assert_eq!(store.read().rollout("r"), Ok(Some(Rollout { created_ms: 1, ..ended })));
    for wrong in [rollout("r", "x", 1, false), rollout("r", "y", 1, true)] {
        let error = store.commit(&[Write::Rollout(wrong)]).unwrap_err();
        assert_eq!(error.reason(), "conflict", "{error}");
    }
}

#[test]
fn the_newest_ended_rollouts_of_a_model_are_kept_with_their_decisions() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    store.commit(&[Write::Rollout(rollout("live", "x", 0, false))]).unwrap();
    let mut pruned = 0;
    for at in 1..=5_u64 {
        let id = format!("r{at}");
        let writes = [Write::Rollout(rollout(&id, "x", at, true)), Write::Decision(decision(&id, 0))];
        pruned += store.commit(&writes).unwrap().rollouts_pruned;
    }
    let list = |store: &Store| {
        let found = store.read().rollouts(&Page::default()).unwrap();
        ids(&found).join(" ")
    };
    assert_eq!(list(&store), "r5 r4 r3 live", "what has not ended stays, however old");
    assert_eq!(pruned, 2);
    assert_eq!(store.read().decisions("r1", None, 0), Ok(Vec::new()));
    for at in 6..=8_u64 {
        store.commit(&[Write::Rollout(rollout(&format!("y{at}"), "y", at, true))]).unwrap();
    }
    assert_eq!(list(&store), "y8 y7 y6 r5 r4 live", "and five over all models");
}

#[test]
fn decisions_are_final() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[Write::Rollout(rollout("r", "x", 1, false)), Write::Decision(decision("r", 0))]).unwrap();
    let again = store.commit(&[Write::Decision(decision("r", 0))]);
    assert_eq!(again, Ok(Committed::default()), "the same one again is a repeated commit");
    let other = Decision { record: "{}".to_owned(), ..decision("r", 0) };
    assert_eq!(store.commit(&[Write::Decision(other)]).unwrap_err().reason(), "conflict");
    let rewritten = writing(&store).execute("UPDATE decisions SET record = '{}'", []);
    assert!(rewritten.is_err(), "not even by other SQL");
    assert_eq!(store.read().decisions("r", None, 0), Ok(vec![decision("r", 0)]));
}

#[test]
fn the_latest_decisions_of_a_rollout_are_kept_under_their_numbers() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    store.commit(&[Write::Rollout(rollout("r", "x", 1, false))]).unwrap();
    for seq in 0..5 {
        store.commit(&[Write::Decision(decision("r", seq))]).unwrap();
    }
    let read = store.read();
    assert_eq!(read.decisions("r", None, 0), Ok(vec![decision("r", 3), decision("r", 4)]));
    assert_eq!(read.decisions("r", Some(3), 0), Ok(vec![decision("r", 4)]));
    assert_eq!(read.decisions("r", None, 1), Ok(vec![decision("r", 3)]));
    assert_eq!(read.last_decision("r"), Ok(Some(decision("r", 4))));
}

#[test]
fn a_latch_stays_as_it_was_first_set_until_it_is_taken_off() {
    let folder = Folder::new();
    let mut store = folder.open();
    let later = Latch { since_ms: 99, reason: "again".to_owned(), ..latch("x", "d") };
    store.commit(&[Write::Latch(latch("x", "d")), Write::Latch(later)]).unwrap();
    assert_eq!(store.read().latch("x", "d"), Ok(Some(latch("x", "d"))));
    assert_eq!(store.read().latch("y", "d"), Ok(None));
    let off = Write::Unlatch { model: "x".to_owned(), digest: "d".to_owned() };
    store.commit(std::slice::from_ref(&off)).unwrap();
    store.commit(&[off]).unwrap();
    assert_eq!(store.read().latches(Some("x")), Ok(Vec::new()));
}

#[test]
fn roles_and_candidates_are_replaced_and_forgotten() {
    let folder = Folder::new();
    let mut store = folder.open();
    store
        .commit(&[
            Write::Roles(roles("x", "1")),
            Write::Roles(roles("x", "2")),
            Write::Candidate(candidate("x", "v2")),
            Write::Candidate(Candidate { spec: "{}".to_owned(), ..candidate("x", "v2") }),
            Write::Candidate(candidate("y", "v2")),
        ])
        .unwrap();
    assert_eq!(store.read().all_roles(), Ok(vec![roles("x", "2")]));
    assert_eq!(store.read().candidates(Some("x")).unwrap()[0].spec, "{}");
    store
        .commit(&[
            Write::ForgetRoles { model: "x".to_owned() },
            Write::ForgetCandidate { model: "x".to_owned(), version: "v2".to_owned() },
        ])
        .unwrap();
    assert_eq!(store.read().roles("x"), Ok(None));
    assert_eq!(store.read().candidates(None), Ok(vec![candidate("y", "v2")]));
}

#[test]
fn an_idempotency_key_belongs_to_one_request_until_it_runs_out() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    store.commit(&[Write::Key(key("k", 1_000, "first"))]).unwrap();
    store.commit(&[Write::Key(key("k", 1_050, "first"))]).unwrap();
    assert_eq!(store.read().key("k", 900), Ok(Some(key("k", 1_000, "first"))), "its answer stays");
    assert_eq!(store.read().key("k", 1_000), Ok(None), "but not for longer than it is good for");
    assert_eq!(store.commit(&[Write::Key(key("k", 1_099, "second"))]).unwrap_err().reason(), "conflict");
    store.commit(&[Write::Key(key("k", 1_100, "second"))]).unwrap();
    assert_eq!(store.read().key("k", 1_000), Ok(Some(key("k", 1_100, "second"))));
}

#[test]
fn idempotency_keys_go_with_age_and_number() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    for (name, at) in [("a", 1_000), ("b", 1_001), ("c", 1_002)] {
        store.commit(&[Write::Key(key(name, at, "r"))]).unwrap();
    }
    let kept = |store: &Store| {
        ["a", "b", "c", "d"].iter().filter(|k| store.read().key(k, 0).unwrap().is_some()).count()
    };
    assert_eq!(store.read().key("a", 0), Ok(None), "the oldest of three is one too many");
    assert_eq!(kept(&store), 2);
    store.commit(&[Write::Key(key("d", 1_102, "r"))]).unwrap();
    assert_eq!(kept(&store), 1, "the others have run out");
}

#[test]
fn what_must_not_be_lost_is_refused_beyond_the_limit() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    let two = |write: &dyn Fn(&str) -> Write| [write("1"), write("2")];
    let makers: [&dyn Fn(&str) -> Write; 4] = [
        &|n| Write::Latch(latch("x", n)),
        &|n| Write::Roles(roles(n, "{}")),
        &|n| Write::Candidate(candidate("x", n)),
        &|n| Write::Rollout(rollout(n, n, 1, false)),
    ];
    for make in makers {
        store.commit(&two(make)).unwrap();
        assert_eq!(store.commit(&[make("3")]).unwrap_err().reason(), "too_many");
        store.commit(&two(make)).unwrap();
    }
    store.commit(&[Write::Rollout(rollout("1", "1", 1, true))]).unwrap();
    store.commit(&[Write::Rollout(rollout("3", "3", 1, false))]).unwrap();
}

#[test]
fn texts_and_commits_that_are_too_long_are_refused() {
    let folder = Folder::new();
    let mut store = folder.open_with(small());
    let long = "x".repeat(65);
    for write in [
        Write::Rollout(Rollout { state: long.clone(), ..rollout("r", "x", 1, false) }),
        Write::Rollout(rollout(&long, "x", 1, false)),
        Write::Roles(roles("x", &long)),
        Write::Latch(latch("x", &long)),
        Write::Key(key("k", 1, &long)),
        Write::Candidate(candidate(&long, "v")),
        Write::Notice(Notice { event: long.clone(), ..notice("n", "s") }),
    ] {
        let error = store.commit(&[write]).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { limit: 64, .. }), "{error}");
        assert!(!error.is_outage());
    }
    let nine = vec![Write::Roles(roles("x", "{}")); 9];
    assert_eq!(store.commit(&nine).unwrap_err().reason(), "too_many");
    store.commit(&nine[..8]).unwrap();
}
