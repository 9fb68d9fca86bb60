//! Rolled-back candidates, changed configurations and clocks: over a restart, and over a reload.

use std::sync::Arc;

use super::*;
use crate::base::{ModelName, Weight};
use crate::routing::spec::ModelSpec;
use crate::store::{Roles, Store, Write};

/// Model `m` with these versions, and model `n`, which nothing happens to.
fn config(versions: &str, rollout: &str) -> config::Config {
    let text = format!(
        "store: {{path: s.db}}
models:
  - {{name: n, versions: [{{name: v1, upstream: {{url: 'http://127.0.0.1:9'}}}}]}}
  - name: m
    versions: [{versions}]
    rollout: {{{rollout} steps: [{{setWeight: {{weight: 10%, maxDuration: none}}}}]}}
"
    );
    config::parse(&text, &std::env::temp_dir()).unwrap()
}

const GATE: &str = "gates: [{name: no, kind: confirm-rollout, url: 'http://127.0.0.1:9'}],";

fn version(name: &str, port: u16, rest: &str) -> String {
    format!("{{name: {name}, upstream: {{url: 'http://127.0.0.1:{port}'}} {rest}}},")
}

/// A process: its table, its rollouts, and what it was given.
struct Process {
    board: Arc<Switchboard>,
    rollouts: Rollouts,
    _deciding: Deciding,
}

impl Process {
    /// With the models of `config`, but for those in `without`.
    fn start(store: &Path, config: config::Config, without: &[&str]) -> Self {
        let source = crate::onnx::RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) };
        let engines = move |spec: &EngineSpec| Arc::new(Engine::start(spec.clone(), source.clone()));
        let board = Switchboard::new(some(config.models, without), engines);
        let board = Arc::new(board.unwrap());
        let (rollouts, deciding) = start(Setup {
            board: board.clone(),
            store: Some(store.to_owned()),
            specs: config
                .rollouts
                .into_iter()
                .filter(|spec| !without.contains(&spec.model.as_str()))
                .collect(),
            config_hash: config.hash,
            receivers: Receivers::default(),
            instance: "test".to_owned(),
            remake: Box::new(|model, origin| {
                let made = config::parse_version(&origin.to_string(), model, &std::env::temp_dir());
                made.map_err(|error| error.to_string())
            }),
            forget_pairs: Box::new(|_| {}),
            tick: TICK,
        })
        .unwrap();
        Self { board, rollouts, _deciding: deciding }
    }

    fn reload(&self, config: config::Config, without: &[&str]) {
        self.serve(&config, without);
        self.declare(config, without);
    }

    /// The first half of a reload: the table.
    fn serve(&self, config: &config::Config, without: &[&str]) {
        let prepared = self.board.prepare(some(config.models.clone(), without)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.board.commit(prepared)).unwrap();
    }

    /// The second half of a reload: the decider is told.
    fn declare(&self, config: config::Config, without: &[&str]) {
        let specs = config.rollouts.into_iter().filter(|spec| !without.contains(&spec.model.as_str()));
        self.rollouts.declare(specs.collect(), &config.hash, None);
    }

    /// Waits until everything before is known to the decider.
    fn settle(&self) {
        assert!(self.rollouts.ask(command("nobody", What::Abort)).is_err());
    }

    /// The weight of a version of `m`, in percent.
    fn weight(&self, version: &str) -> u32 {
        let table = self.board.table();
        let (_, version) = table.model("m").unwrap().version(version).unwrap();
        u32::from(version.spec.weight.basis_points()) / 100
    }

    fn refuses(&self, version: &str) -> bool {
        let call = StartCall {
            model: "m".to_owned(),
            candidate: CandidateCall::Declared(VersionName::new(version).unwrap()),
            policy: None,
            supersede: false,
            by: by(),
        };
        let refusal = self.rollouts.ask(Call::Start(Box::new(call))).map(|_| ());
        matches!(refusal, Err(CallError::Refused(crate::rollout::machine::Refusal::Latched { .. })))
    }

    fn set_weights(&self, v1: u32, v2: u32) -> Done {
        let weights = [("v1", v1), ("v2", v2)]
            .map(|(name, percent)| (VersionName::new(name).unwrap(), Weight::percent(percent as u16)));
        let call = Call::Weights { model: "m".to_owned(), weights: weights.to_vec(), by: by() };
        self.rollouts.ask(call).unwrap()
    }
}

fn some(models: Vec<ModelSpec>, without: &[&str]) -> Vec<ModelSpec> {
    models.into_iter().filter(|model| !without.contains(&model.name.as_str())).collect()
}

fn two(v1: u16, rest: &str) -> config::Config {
    config(&(version("v1", v1, "") + &version("v2", 2, rest)), GATE)
}

/// Has v2 rolled back: it runs, and its record is changed to what a rollback leaves.
fn rolled_back(store: &Path) {
    let process = Process::start(store, two(1, ""), &[]);
    process.rollouts.ask(start_of("m")).unwrap();
    drop(process);
    change_kept(store, |state| {
        let rollout = &mut state["rollout"];
        rollout["phase"] = serde_json::json!("rolledBack");
        let (digest, id) = (rollout["candidate"]["digest"].clone(), rollout["id"].clone());
        let latch = serde_json::json!({
            "digest": digest, "version": "v2", "rollout": id, "since": 1, "reason": "it failed"
        });
        state["latches"] = serde_json::json!({digest.as_str().unwrap(): latch});
    });
}

/// Changes what the store holds of `m`.
fn change_kept(path: &Path, change: impl Fn(&mut serde_json::Value)) {
    let (mut store, recovered) = Store::open(path).unwrap();
    let row = recovered.roles.into_iter().find(|row| row.model == "m").unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&row.roles).unwrap();
    change(&mut kept["state"]);
    store.commit(&[Write::Roles(Roles { roles: kept.to_string(), ..row })]).unwrap();
}

fn in_store(test: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    rolled_back(&path);
    test(&path);
}

#[test]
fn a_latch_outlives_a_change_of_the_stable_version_that_comes_with_a_restart() {
    in_store(|path| {
        // v1 is at another place now, and v2 is to have traffic, as the file says.
        for _ in 0..2 {
            let process = Process::start(path, two(11, ", weight: 10%"), &[]);
            assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
            assert!(process.refuses("v2"));
            let view = process.rollouts.views()["m"].clone();
            assert_eq!((view.stable.as_str(), view.latches.len()), ("v1", 1));
        }
        // v1 is gone altogether.
        let versions = version("v0", 7, "") + &version("v2", 2, ", weight: 10%");
        let process = Process::start(path, config(&versions, GATE), &[]);
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        assert!(process.refuses("v2"));
        assert_eq!(process.rollouts.views()["m"].stable, "v0");
        // Nor does the file's naming it as a candidate bring it back.
        drop(process);
        let versions = version("v0", 7, "") + &version("v2", 2, "");
        let named = config(&versions, &format!("candidate: v2, autoStart: true, {GATE}"));
        let process = Process::start(path, named, &[]);
        assert_eq!(process.rollouts.views()["m"].rollout.as_ref().unwrap().phase, "RolledBack");
    });
}

#[test]
fn a_promoted_version_that_is_gone_gives_way_to_the_configurations_and_latches_stay() {
    in_store(|path| {
        change_kept(path, |state| {
            state["rollout"]["phase"] = serde_json::json!("succeeded");
            let promoted = serde_json::json!({"name": "v3", "digest": "server:3", "origin": null});
            state["rollout"]["candidate"] = promoted.clone();
            state["stable"] = promoted;
        });
        for round in 0..2 {
            let process = Process::start(path, two(1, ", weight: 10%"), &[]);
            assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0), "{round}");
            let view = process.rollouts.views()["m"].clone();
            assert_eq!((view.stable.as_str(), view.latches.len()), ("v1", 1));
            assert_eq!(view.rollout.as_ref().unwrap().phase, "Aborted");
            assert!(process.refuses("v2"));
        }
    });
}

#[test]
fn a_rollout_whose_stable_version_changed_is_aborted_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let process = Process::start(&path, two(1, ""), &[]);
    let id = process.rollouts.ask(start_of("m")).unwrap().rollout.unwrap().id;
    drop(process);
    let process = Process::start(&path, two(11, ", weight: 10%"), &[]);
    process.settle();
    let rollout = process.rollouts.views()["m"].rollout.clone().unwrap();
    assert_eq!((&rollout.id, rollout.phase.as_str()), (&id, "Aborted"));
    assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
    until("the record", || process.rollouts.decisions(&id, None, 10).unwrap().len() == 2);
}

#[test]
fn a_latch_outlives_a_restart_without_the_model_that_a_reload_brings_back() {
    in_store(|path| {
        let process = Process::start(path, two(1, ", weight: 10%"), &["m"]);
        // The first table with it is the right one.
        process.reload(two(1, ", weight: 10%"), &[]);
        assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
        assert!(process.refuses("v2"));
        assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
        drop(process);
        // Nor does it matter that its stable version is another one by then.
        let process = Process::start(path, two(1, ""), &["m"]);
        let versions = version("v0", 7, "") + &version("v2", 2, ", weight: 10%");
        let back = config(&versions, GATE);
        process.serve(&back, &[]);
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        process.declare(back, &[]);
        process.settle();
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        assert!(process.refuses("v2"));
    });
}

#[test]
fn a_latch_outlives_a_reload_without_the_model() {
    in_store(|path| {
        let process = Process::start(path, two(1, ""), &[]);
        process.reload(two(1, ""), &["m"]);
        process.settle();
        process.reload(two(1, ", weight: 10%"), &[]);
        assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
        process.reload(two(1, ""), &["m"]);
        let versions = version("v0", 7, "") + &version("v2", 2, ", weight: 10%");
        process.reload(config(&versions, GATE), &[]);
        process.settle();
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        assert!(process.refuses("v2"));
    });
}

#[test]
fn a_latch_outlives_two_reloads_that_the_decider_hears_of_late() {
    in_store(|path| {
        let process = Process::start(path, two(1, ""), &[]);
        let versions = version("v0", 7, "") + &version("v2", 2, ", weight: 10%");
        let (gone, back) = (two(1, ""), config(&versions, GATE));
        process.serve(&gone, &["m"]);
        process.serve(&back, &[]);
        // Nobody has told the decider yet, and v2 is the latched one.
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        process.declare(gone, &["m"]);
        process.declare(back, &[]);
        process.settle();
        assert_eq!((process.weight("v0"), process.weight("v2")), (100, 0));
        assert!(process.refuses("v2"));
        until("the view", || process.rollouts.views()["m"].stable == "v0");
    });
}

#[test]
fn what_ends_while_the_configuration_lacks_the_model_is_ended_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let process = Process::start(&path, config(&(version("v1", 1, "") + &version("v2", 2, "")), ""), &[]);
    // It stands in the step, as if v2 had been reached.
    process.rollouts.ask(start_of("m")).unwrap();
    drop(process);
    change_kept(&path, |state| {
        state["rollout"]["phase"] = serde_json::json!("running");
        state["rollout"]["weight"] = serde_json::json!(1_000);
        state["rollout"]["traffic"] = serde_json::json!("live");
    });
    let process = Process::start(&path, two(1, ""), &[]);
    assert_eq!(process.weight("v2"), 10);
    process.reload(two(1, ""), &["m"]);
    assert_eq!(process.rollouts.views()["m"].rollout.as_ref().unwrap().phase, "Running");
    process.settle();
    // An abort that meets no table.
    let name = ModelName::new("m").unwrap();
    let overlay = || process.board.overlay(name.as_str()).unwrap();
    assert!(overlay().trial.is_some());
    process.rollouts.ask(command("m", What::Abort)).unwrap();
    assert!(overlay().trial.is_none());
    process.reload(two(1, ", weight: 10%"), &[]);
    assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
    process.settle();
    assert_eq!((process.weight("v1"), process.weight("v2")), (100, 0));
}

#[test]
fn a_clock_that_was_set_while_nobody_ran_ends_nothing_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let day = 24 * 3_600_000;
    let process = Process::start(&path, two(1, ""), &[]);
    process.rollouts.ask(start_of("m")).unwrap();
    drop(process);
    // It was a day later, or was thought to be, and a pause of an hour had just begun.
    change_kept(&path, |state| {
        let ahead = state["clock"].as_u64().unwrap() + day;
        state["clock"] = serde_json::json!(ahead);
        let rollout = &mut state["rollout"];
        rollout["phase"] = serde_json::json!({"paused": {"why": "step", "baking": false}});
        rollout["policy"]["steps"] = serde_json::json!([{"pause": {"duration": 50}}]);
        for time in ["step", "phase", "kept"] {
            rollout["times"][time] = serde_json::json!(ahead);
        }
    });
    let process = Process::start(&path, two(1, ""), &[]);
    until("the end of the pause", || process.rollouts.views()["m"].rollout.as_ref().unwrap().ended);
}

#[test]
fn weights_that_were_set_by_hand_outlive_the_process_unless_the_file_says_otherwise_since() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    let weights = |process: &Process| (process.weight("v1"), process.weight("v2"));
    let process = Process::start(&path, two(1, ", weight: 10%"), &[]);
    assert!(process.set_weights(40, 60).durable);
    drop(process);
    for _ in 0..2 {
        let process = Process::start(&path, two(11, ", weight: 10%"), &[]);
        assert_eq!(weights(&process), (40, 60));
        assert!(process.rollouts.views().is_empty(), "there was no rollout");
    }
    assert_eq!(weights(&Process::start(&path, two(1, ", weight: 20%"), &[])), (80, 20));
    // A reload that says otherwise is not forgotten because the next says the same again.
    let process = Process::start(&path, two(1, ", weight: 10%"), &[]);
    assert!(process.set_weights(30, 70).durable);
    process.reload(two(1, ", weight: 20%"), &[]);
    process.settle();
    drop(process);
    assert_eq!(weights(&Process::start(&path, two(1, ", weight: 10%"), &[])), (90, 10));
}

#[test]
fn weights_that_cannot_be_kept_are_said_not_to_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollouts.db");
    std::fs::write(&path, [7; 8192]).unwrap();
    let process = Process::start(&path, two(1, ", weight: 10%"), &[]);
    assert!(!process.set_weights(40, 60).durable);
    assert_eq!((process.weight("v1"), process.weight("v2")), (40, 60));
}

mod returning;
