//! Models that a reload brings back, or makes another of, while the process serves.

use std::sync::mpsc::sync_channel;

use super::*;
use crate::base::Role;
use crate::routing::spec::BackendSpec;

/// What `m` says of itself once the deciding thread has heard of all before.
fn asked(process: &Process, what: What) -> CallError {
    let (reply, answer) = sync_channel(1);
    let call = message::Message::Call(command("m", what), candidate::Digests::default(), reply);
    process.rollouts.messages.send(call).unwrap();
    answer.recv_timeout(LIMIT).expect("the deciding thread waits for nothing").unwrap_err()
}

/// The configuration, with the file of `v0` still to be loaded.
fn unloaded(mut config: config::Config) -> config::Config {
    for version in config.models.iter_mut().flat_map(|model| &mut model.versions) {
        if let BackendSpec::Onnx(engine) = &mut version.backend {
            engine.unloaded = true;
        }
    }
    config
}

#[test]
fn files_of_a_model_that_comes_back_are_read_while_others_are_decided_about() {
    in_store(|path| {
        let folder = path.parent().unwrap();
        std::fs::create_dir_all(folder.join("f/1")).unwrap();
        // Whoever opens it waits until somebody writes.
        let file = folder.join("f/1/model.onnx");
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let models = folder.display();
        let versions = format!("{{name: v0, onnx: {{repository: {models}, model: f, version: 1}}}},");
        let back = || unloaded(config(&(versions.clone() + &version("v2", 2, ", weight: 10%")), GATE));
        // It was gone when the process began.
        let process = Process::start(path, two(1, ""), &["m"]);
        process.reload(back(), &[]);
        let error = asked(&process, What::Abort);
        assert!(matches!(error, CallError::Conflict(_)), "{error}");
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        std::fs::write(&file, "a model").unwrap();
        until("the model", || process.rollouts.views().get("m").is_some_and(|view| view.stable == "v0"));
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        // It goes and comes back while the process knows it.
        std::fs::remove_file(&file).unwrap();
        process.reload(two(1, ""), &["m"]);
        process.reload(two(1, ", weight: 10%"), &[]);
        until("the other stable version", || process.rollouts.views()["m"].stable == "v1");
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        process.reload(two(1, ""), &["m"]);
        process.reload(back(), &[]);
        assert!(matches!(asked(&process, What::Abort), CallError::Refused(_)));
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        std::fs::write(&file, "a model").unwrap();
        until("the model", || process.rollouts.views()["m"].stable == "v0");
        assert!(process.refuses("v2"));
    });
}

#[test]
fn what_is_kept_of_a_model_outlives_a_configuration_that_it_cannot_be_put_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let process = Process::start(&path, two(1, ", weight: 10%"), &[]);
    assert!(process.set_weights(40, 60).durable);
    drop(process);
    let process = Process::start(&path, two(1, ", weight: 10%"), &["m"]);
    let mut none_stable = two(1, ", weight: 10%");
    for version in none_stable.models.iter_mut().flat_map(|model| &mut model.versions) {
        version.role = Role::Standby;
    }
    process.reload(none_stable, &[]);
    process.settle();
    process.reload(two(1, ""), &["m"]);
    process.reload(two(1, ", weight: 10%"), &[]);
    process.settle();
    assert_eq!((process.weight("v1"), process.weight("v2")), (40, 60));
}

#[test]
fn a_rollout_to_a_model_file_that_came_with_a_call_ends_where_its_model_comes_back_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let process = Process::start(&path, two(1, ""), &[]);
    let id = process.rollouts.ask(start_of("m")).unwrap().rollout.unwrap().id;
    drop(process);
    std::fs::create_dir_all(folder.path().join("f/3")).unwrap();
    std::fs::write(folder.path().join("f/3/model.onnx"), "a model").unwrap();
    let at = folder.path().display().to_string();
    change_kept(&path, |state| {
        let onnx = serde_json::json!({"repository": at, "model": "f", "version": 3});
        let origin = serde_json::json!({"name": "v3", "onnx": onnx});
        let candidate = serde_json::json!({"name": "v3", "digest": "given:x", "origin": origin});
        state["rollout"]["candidate"] = candidate;
        state["rollout"]["phase"] = serde_json::json!("running");
        state["rollout"]["weight"] = serde_json::json!(1_000);
        state["rollout"]["traffic"] = serde_json::json!("live");
    });
    let process = Process::start(&path, two(1, ""), &["m"]);
    process.reload(two(1, ""), &[]);
    process.settle();
    until("the end", || process.rollouts.views()["m"].rollout.as_ref().unwrap().phase == "Aborted");
    assert_eq!(process.weight("v1"), 100);
    assert!(process.board.table().model("m").unwrap().version("v3").is_none());
    until("the record", || process.rollouts.decisions(&id, None, 10).unwrap().len() == 2);
}

#[test]
fn a_latch_outlives_a_reload_that_calls_the_latched_server_by_the_stable_versions_name() {
    in_store(|path| {
        let process = Process::start(path, two(1, ""), &[]);
        // v1 moves, which is nobody's harm.
        process.reload(two(11, ""), &[]);
        process.settle();
        assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
        let versions = version("v1", 2, "") + &version("v0", 7, ", weight: 10%");
        process.reload(config(&versions, GATE), &[]);
        process.settle();
        assert_eq!((process.weight("v1"), process.weight("v0")), (0, 100));
        until("the view", || process.rollouts.views()["m"].stable == "v0");
        assert!(process.refuses("v1"));
    });
}

#[test]
fn weights_that_were_set_by_hand_outlive_a_reload_that_moves_the_stable_version() {
    in_store(|path| {
        let process = Process::start(path, two(1, ""), &[]);
        assert!(process.set_weights(40, 60).durable);
        process.reload(two(11, ""), &[]);
        process.settle();
        assert_eq!((process.weight("v1"), process.weight("v2")), (40, 60));
    });
}

#[test]
fn a_stable_version_whose_file_cannot_be_read_for_a_moment_stays_known_by_what_it_was() {
    in_store(|path| {
        let folder = path.parent().unwrap();
        let models = folder.display();
        let file = |name: &str, number: u32| {
            format!("{{name: {name}, onnx: {{repository: {models}, model: f, version: {number}}}}},")
        };
        let at = |number: u32, rollout: &str| {
            unloaded(config(&(file("v1", number) + &file("v3", 3) + &version("v2", 2, "")), rollout))
        };
        for number in [1, 3] {
            std::fs::create_dir_all(folder.join(format!("f/{number}"))).unwrap();
            std::fs::write(folder.join(format!("f/{number}/model.onnx")), number.to_string()).unwrap();
        }
        let process = Process::start(path, two(1, ""), &[]);
        let digest = || {
            let reader = rusqlite::Connection::open(path).unwrap();
            let kept: String =
                reader.query_row("SELECT roles FROM roles WHERE model = 'm'", [], |row| row.get(0)).unwrap();
            let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
            kept["state"]["stable"]["digest"].as_str().unwrap().to_owned()
        };
        process.reload(at(1, GATE), &[]);
        until("the first file", || digest().starts_with("sha256:"));
        let first = digest();
        // Nothing is there. What is read beside it starts a rollout.
        process.reload(at(2, &format!("candidate: v3, autoStart: true, {GATE}")), &[]);
        let is_started = |process: &Process| {
            process.rollouts.views()["m"].rollout.as_ref().is_some_and(|rollout| rollout.candidate == "v3")
        };
        until("the rollout", || is_started(&process));
        assert_eq!(digest(), first);
    });
}
