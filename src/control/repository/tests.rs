//! Loading and unloading by command, with real models and a real decider.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config;
use crate::control::rollouts::{self, Deciding, Setup, TICK};
use crate::notify::Receivers;
use crate::onnx::RuntimeSource;
use crate::onnx::repository::Repository;
use tokio::sync::mpsc::Receiver;

struct House {
    keeper: Arc<Keeper>,
    board: Arc<Switchboard>,
    repository: Repository,
    commands: Receiver<Command>,
    folder: tempfile::TempDir,
    _deciding: Deciding,
}

fn model_file(of: &str) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(of).join("1/model.onnx");
    std::fs::read(path).unwrap()
}

fn library() -> RuntimeSource {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    RuntimeSource { library: Some(named.map_or(fetched, Into::into)) }
}

impl House {
    fn new(versions: &[u64], rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let add = |version: &u64| write(folder.path(), *version, &model_file("lookup"));
        versions.iter().for_each(add);
        let text = format!(
            "models:\n- name: m\n  repository: {{path: models, {rest}}}\n- name: far\n  versions: [{{name: v1, upstream: {{url: 'http://127.0.0.1:1'}}}}]\n"
        );
        let config = config::parse(&text, folder.path()).unwrap();
        let (repository, commands) = Repository::commanded();
        let fleet = Arc::new(Fleet::new(library(), repository.clone()));
        let starting = fleet.clone();
        let engines = move |spec: &EngineSpec| starting.start(spec);
        let board = Arc::new(Switchboard::new(config.models.clone(), engines).unwrap());
        let setup = Setup {
            board: board.clone(),
            store: None,
            specs: config.rollouts.clone(),
            config_hash: config.hash.clone(),
            receivers: Receivers::prepare(Vec::new()).unwrap(),
            instance: "test".to_owned(),
            remake: Box::new(|_, _| Err("nothing is made again".to_owned())),
            forget_pairs: Box::new(|_| {}),
            tick: TICK,
        };
        let (rollouts, deciding) = rollouts::start(setup).unwrap();
        let declared = Declared { models: config.models, rollouts: config.rollouts, hash: config.hash };
        let keeper = Keeper::new(board.clone(), fleet, Arc::new(rollouts), declared);
        keeper.settle();
        Self { keeper, board, repository, commands, folder, _deciding: deciding }
    }

    fn add(&self, version: u64, model: &[u8]) {
        write(self.folder.path(), version, model);
    }

    /// A client's command, carried out.
    fn command(&mut self, model: &str, what: What) -> Result<(), Fault> {
        let (repository, model) = (self.repository.clone(), model.to_owned());
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                match what {
                    What::Load => repository.load(&model).await,
                    What::Unload => repository.unload(&model).await,
                }
            })
        });
        let command = self.commands.blocking_recv().unwrap();
        self.keeper.carry_out(command);
        asking.join().unwrap()
    }

    fn index(&self) -> Vec<String> {
        let shown = |entry: &Entry| format!("{} {} {}", entry.name, entry.version, entry.state.as_str());
        self.repository.index().iter().map(shown).collect()
    }

    fn stable(&self) -> String {
        self.board.table().model("m").unwrap().stable_name.to_string()
    }
}

fn write(folder: &Path, version: u64, model: &[u8]) {
    let folder = folder.join("models/m").join(version.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), model).unwrap();
}

/// The versions of the index that are not on their way out.
fn without_ending(index: Vec<String>) -> Vec<String> {
    index.into_iter().filter(|line| !line.ends_with("UNLOADING")).collect()
}

#[test]
fn a_model_is_loaded_and_unloaded_by_command_and_the_index_says_so() {
    let mut house = House::new(&[1], "keepPrevious: 0s");
    assert_eq!(house.index(), ["m 1 READY"]);

    // Nothing is looked at before somebody says so.
    house.add(2, &model_file("lookup"));
    assert_eq!((house.index(), house.stable()), (vec!["m 1 READY".to_owned()], "1".to_owned()));
    house.command("m", What::Load).unwrap();
    assert_eq!(
        (without_ending(house.index()), house.stable()),
        (vec!["m 2 READY".to_owned()], "2".to_owned())
    );

    house.command("m", What::Unload).unwrap();
    assert_eq!(without_ending(house.index()), ["m 2 UNAVAILABLE"]);
    let index = house.repository.index();
    assert_eq!(index.iter().find(|entry| entry.version == "2").unwrap().reason, "unloaded");
    house.command("m", What::Load).unwrap();
    assert_eq!(without_ending(house.index()), ["m 2 READY"]);
}

#[test]
fn a_load_that_fails_says_why_and_the_version_before_goes_on() {
    let mut house = House::new(&[1], "");
    house.add(2, b"this is no model");
    let refused = house.command("m", What::Load).unwrap_err();
    assert!(
        refused.detail.contains("m, version 2") && refused.detail.contains("no whole ONNX file"),
        "{refused}"
    );
    assert_eq!(refused.kind, FaultKind::BadRequest);
    assert_eq!(
        (house.index(), house.stable()),
        (vec!["m 1 READY".into(), "m 2 UNAVAILABLE".into()], "1".to_owned())
    );
    // A second time it is tried again, and here it is mended.
    house.add(2, &model_file("lookup"));
    house.command("m", What::Load).unwrap();
    assert_eq!(house.stable(), "2");

    // What was refused and has gone is not shown any more.
    house.add(3, b"this is no model");
    house.command("m", What::Load).unwrap_err();
    assert!(house.index().contains(&"m 3 UNAVAILABLE".to_owned()));
    std::fs::remove_dir_all(house.folder.path().join("models/m/3")).unwrap();
    house.command("m", What::Load).unwrap();
    assert!(!house.index().iter().any(|line| line.starts_with("m 3")), "{:?}", house.index());

    for model in ["far", "nobody"] {
        assert_eq!(house.command(model, What::Load).unwrap_err().kind, FaultKind::NoRoute);
    }
}

#[test]
fn files_that_still_change_are_left_alone_until_they_are_quiet() {
    let house = House::new(&[1], "");
    assert_eq!(house.keeper.look(), Looked::Same);
    house.add(2, &model_file("lookup")[..40]);
    assert_eq!(house.keeper.look(), Looked::Unsettled);
    house.add(2, &model_file("lookup"));
    assert_eq!(house.keeper.look(), Looked::Unsettled);
    assert_eq!(house.keeper.look(), Looked::Changed);
    assert_eq!(house.stable(), "2");
    assert_eq!(house.keeper.look(), Looked::Same);
}

#[test]
fn files_that_change_without_an_end_hold_up_no_other_version_and_not_what_serves() {
    let house = House::new(&[1], "keepPrevious: 0s");
    for longer in 0..20 {
        // Version 2 is written all the time, version 1 is written over; version 3 is whole at once.
        house.add(2, &model_file("lookup")[..40 + longer]);
        house.add(1, &model_file("lookup")[..40 + longer]);
        if longer == 5 {
            house.add(3, &model_file("lookup"));
        }
        assert_eq!(house.keeper.look(), Looked::Unsettled);
        assert_eq!(house.stable(), if longer > 5 { "3" } else { "1" }, "look {longer}");
    }
}

#[test]
fn a_previous_version_goes_where_nobody_looks_at_folders_too() {
    let mut house = House::new(&[1], "keepPrevious: 50ms");
    house.add(2, &model_file("lookup"));
    house.command("m", What::Load).unwrap();
    house.add(3, &model_file("lookup"));
    while house.board.table().model("m").unwrap().versions.len() > 1 {
        house.keeper.expire();
    }
    // What came meanwhile waits for a command.
    assert_eq!(without_ending(house.index()), ["m 2 READY"]);
}

#[test]
fn the_previous_version_stays_for_as_long_as_it_is_told_and_then_goes() {
    let house = House::new(&[1], "keepPrevious: 50ms");
    house.add(2, &model_file("lookup"));
    while house.keeper.look() != Looked::Changed {}
    assert_eq!(house.stable(), "2");
    let looks = AtomicUsize::new(0);
    // It is there at first, or was until a moment ago; it goes without anything else happening.
    while house.board.table().model("m").unwrap().versions.len() > 1 {
        looks.fetch_add(1, Ordering::Relaxed);
        let _ = house.keeper.look();
    }
    assert_eq!(house.index().last().map(String::as_str), Some("m 2 READY"));
    let long = House::new(&[1], "keepPrevious: 1h");
    long.add(2, &model_file("lookup"));
    while long.keeper.look() != Looked::Changed {}
    let _ = long.keeper.look();
    assert_eq!(long.index(), ["m 1 READY", "m 2 READY"]);
}
