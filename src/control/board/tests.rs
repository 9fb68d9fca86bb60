//! Changes of the table, one upon the other.

use super::*;
use crate::config;

fn models(v2: &str, more: &str) -> Vec<ModelSpec> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switchback.yaml");
    let text = format!(
        "models: [{{name: m, {more} versions: [{{name: v1, upstream: {{url: http://127.0.0.1:1}}}},
        {{name: v2, weight: {v2}, upstream: {{url: http://127.0.0.1:2}}}}]}}]"
    );
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap().models
}

fn board() -> Switchboard {
    Switchboard::new(models("10%", ""), |_| panic!("no model is in process")).unwrap()
}

fn set(board: &Switchboard, v1: u32, v2: u32) {
    let weights =
        [("v1", v1), ("v2", v2)].map(|(n, w)| (VersionName::new(n).unwrap(), Weight::new(w).unwrap()));
    board.set_weights("m", weights.to_vec()).unwrap();
}

fn now(board: &Switchboard) -> (u64, u32, bool) {
    let table = board.table();
    let model = table.model("m").unwrap();
    (table.generation, u32::from(model.versions[1].spec.weight.basis_points()), model.spec.expose_version)
}

#[tokio::test]
async fn weights_that_are_set_while_a_reload_is_prepared_are_kept_and_so_is_the_reload() {
    let board = board();
    let prepared = board.prepare(models("10%", "exposeVersion: false,")).unwrap();
    set(&board, 0, 10_000);
    set(&board, 5_000, 5_000);
    board.commit(prepared).await.unwrap();
    assert_eq!(now(&board), (4, 5_000, false));
    // The file's new weights win, even over those set while it was read.
    let prepared = board.prepare(models("20%", "")).unwrap();
    set(&board, 0, 10_000);
    board.commit(prepared).await.unwrap();
    assert_eq!(now(&board), (6, 2_000, true));
}

#[tokio::test]
async fn what_a_rollout_made_of_a_model_waits_for_it_and_what_was_set_by_hand_does_not() {
    let board = board();
    let name = |name| VersionName::new(name).unwrap();
    for (is_owned, weight) in [(true, 0), (false, 2_000)] {
        let roles = [(name("v1"), crate::base::Role::Stable), (name("v2"), crate::base::Role::Retired)];
        let overlay = Overlay {
            roles: if is_owned { roles.to_vec() } else { Vec::new() },
            weights: vec![(name("v1"), Weight::FULL)],
            ..Overlay::default()
        };
        board.set_overlay("m", overlay).unwrap();
        for next in [Vec::new(), models("20%", "")] {
            board.commit(board.prepare(next).unwrap()).await.unwrap();
        }
        assert_eq!(now(&board).1, weight);
    }
}

#[tokio::test]
async fn a_prepared_table_that_is_dropped_changes_nothing() {
    let board = board();
    drop(board.prepare(models("20%", "")).unwrap());
    assert_eq!(now(&board), (1, 1_000, true));
}

/// A version that the configuration does not have.
fn guest(name: &str, port: u16) -> VersionSpec {
    let text = format!("{{name: {name}, upstream: {{url: 'http://127.0.0.1:{port}'}}}}");
    config::parse_version(&text, &ModelName::new("m").unwrap(), std::path::Path::new("/")).unwrap()
}

fn weights(board: &Switchboard) -> Vec<(String, u16)> {
    let table = board.table();
    let versions = table.model("m").unwrap().versions.iter();
    versions.map(|v| (v.spec.name.to_string(), v.spec.weight.basis_points())).collect()
}

#[tokio::test]
async fn what_is_decided_while_a_version_is_being_loaded_stands() {
    let board = board();
    let prepared = board.admit("m", vec![guest("v3", 3)], &Arc::default()).unwrap();
    let other = board.admit("m", vec![guest("v4", 4)], &Arc::default()).unwrap();
    set(&board, 3_000, 7_000);
    board.commit(prepared).await.unwrap();
    board.commit(other).await.unwrap();
    let expected = [("v1", 3_000), ("v2", 7_000), ("v3", 0), ("v4", 0)];
    assert_eq!(weights(&board), expected.map(|(name, weight)| (name.to_owned(), weight)));
}

#[tokio::test]
async fn a_version_whose_rollout_is_over_by_the_time_that_it_is_loaded_does_not_come() {
    let board = board();
    let is_over = Arc::<AtomicBool>::default();
    let prepared = board.admit("m", vec![guest("v3", 3)], &is_over).unwrap();
    is_over.store(true, Ordering::Relaxed);
    assert!(matches!(board.commit(prepared).await, Err(ChangeError::Over)));
    assert_eq!((now(&board).0, weights(&board).len()), (1, 2));
    assert!(board.overlay("m").is_none());
}
