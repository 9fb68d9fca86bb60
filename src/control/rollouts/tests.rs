//! The decider beside files that take long to read, and stores that cannot be used.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::*;
use crate::base::VersionName;
use crate::config;
use crate::control::board::Switchboard;
use crate::notify::Receivers;
use crate::onnx::{Engine, EngineSpec};
use crate::rollout::machine::What;
use crate::rollout::version::Actor;

/// Nothing that a test waits for takes this long.
const LIMIT: Duration = Duration::from_secs(20);

/// Model `m`, of model servers at `server`, and model `files`, whose candidate is a file in `folder`.
fn setup(folder: &Path, server: &TcpListener, store: Option<&Path>) -> Setup {
    let at = server.local_addr().unwrap();
    let models = folder.display();
    let text = format!(
        "store: {{path: s.db}}
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: 'http://{at}'}}}}
      - {{name: v2, upstream: {{url: 'http://{at}'}}, rewrite: {{model: other}}}}
    rollout: {{steps: [{{setWeight: {{weight: 10%, maxDuration: none}}}}]}}
  - name: files
    versions:
      - {{name: v1, upstream: {{url: 'http://{at}'}}}}
      - {{name: v2, onnx: {{repository: {models}, model: f, version: 2}}}}
    rollout: {{steps: [{{setWeight: {{weight: 10%, maxDuration: none}}}}]}}
"
    );
    let config = config::parse(&text, folder).unwrap();
    let source = crate::onnx::RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) };
    let engines = move |spec: &EngineSpec| std::sync::Arc::new(Engine::start(spec.clone(), source.clone()));
    Setup {
        board: std::sync::Arc::new(Switchboard::new(config.models, engines).unwrap()),
        store: store.map(Path::to_owned),
        specs: config.rollouts,
        config_hash: config.hash,
        receivers: Receivers::default(),
        instance: "test".to_owned(),
        remake: Box::new(|_, _| Err("nothing is made again".to_owned())),
        forget_pairs: Box::new(|_| {}),
        tick: TICK,
    }
}

fn by() -> Actor {
    Actor { name: "test".to_owned(), key: None }
}

fn start_of(model: &str) -> Call {
    Call::Start(Box::new(StartCall {
        model: model.to_owned(),
        candidate: CandidateCall::Declared(VersionName::new("v2").unwrap()),
        policy: None,
        supersede: false,
        by: by(),
    }))
}

fn command(model: &str, what: What) -> Call {
    Call::Command { model: model.to_owned(), id: None, what, by: by() }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn the_end_of_the_deciding_thread_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let forget_pairs = Box::new(|_: &str| panic!("told to panic"));
    let setup = Setup { forget_pairs, ..setup(folder.path(), &server, None) };
    let (rollouts, mut deciding) = start(setup).unwrap();
    tokio::select! {
        biased;
        () = deciding.ended() => panic!("it has ended before anything happened"),
        () = std::future::ready(()) => {}
    }
    assert!(rollouts.ask(start_of("m")).is_err());
    tokio::time::timeout(LIMIT, deciding.ended()).await.expect("its end is noticed");
}

#[test]
fn a_model_file_that_is_read_for_long_holds_up_who_asked_for_it_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::create_dir_all(folder.path().join("f/2")).unwrap();
    // Whoever opens it waits until somebody writes.
    let file = folder.path().join("f/2/model.onnx");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let (rollouts, _deciding) = start(setup(folder.path(), &server, None)).unwrap();
    let (say, said) = channel();
    std::thread::scope(|scope| {
        let rollouts = &rollouts;
        scope.spawn(move || say.send(rollouts.ask(start_of("files"))).unwrap());
        // Meanwhile the other model begins, runs, is decided about and ends.
        rollouts.ask(start_of("m")).unwrap();
        until("the step", || rollouts.views()["m"].rollout.as_ref().unwrap().phase == "Running");
        let done = rollouts.ask(command("m", What::Abort)).unwrap();
        assert_eq!(done.rollout.unwrap().phase, "Aborted");
        assert!(said.try_recv().is_err(), "the file is still being read");
        std::fs::write(&file, "no model").unwrap();
        let started = said.recv_timeout(LIMIT).unwrap().unwrap();
        let digest = started.rollout.unwrap().digest;
        assert!(digest.starts_with("sha256:"), "{digest}");
    });
}

#[test]
fn nothing_is_started_or_tried_again_that_would_be_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = folder.path().join("rollouts.db");
    std::fs::write(&store, [7; 8192]).unwrap();
    let (rollouts, _deciding) = start(setup(folder.path(), &server, Some(&store))).unwrap();
    for call in [start_of("m"), command("m", What::Retry { id: "m-2".to_owned() })] {
        let refused = rollouts.ask(call).map(|_| ()).unwrap_err();
        assert!(matches!(refused, CallError::Store(_)), "{refused}");
        assert!(refused.to_string().contains("rollouts.db"), "{refused}");
    }
    assert!(rollouts.views().is_empty());
}

#[test]
fn a_rollout_is_tried_again_once_it_is_over_and_did_not_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (rollouts, _deciding) = start(setup(folder.path(), &server, None)).unwrap();
    let retry = |id: &str| rollouts.ask(command("m", What::Retry { id: id.to_owned() }));
    assert!(matches!(retry("a"), Err(CallError::Refused(_))), "there is nothing to try again");
    let first = rollouts.ask(start_of("m")).unwrap().rollout.unwrap();
    assert!(matches!(retry("b"), Err(CallError::Refused(_))), "it runs");
    rollouts.ask(command("m", What::Abort)).unwrap();
    let second = retry("again").unwrap().rollout.unwrap();
    assert_eq!((second.id.as_str(), second.attempt, &second.digest), ("again", 2, &first.digest));
    until("the step", || rollouts.views()["m"].rollout.as_ref().unwrap().phase == "Running");
}

mod coming_back;
mod writing;
