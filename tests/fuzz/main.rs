//! Everything that reads bytes from outside, given bytes that are nearly right.
//!
//! The bodies in `targets` are shared with the fuzzers of this folder (`make fuzz`, its own
//! workspace). Here each is run on its seeds, among them every input that once broke something, and
//! on mutations of them that are the same in every run. `FUZZ_MUTATIONS` sets how many, and
//! `FUZZ_CORPUS` names a folder that a fuzzer filled, to be run as well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod mutate;
mod targets;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::Mutator;

/// Mutations of each target, unless `FUZZ_MUTATIONS` says otherwise.
const MUTATIONS: usize = 3_000;

fn inputs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} is empty", folder.display());
    found
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

/// Runs a target; an input that breaks it is kept, so that it can be made a seed.
fn run(name: &str, target: fn(&[u8]), input: &[u8], from: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broke-{name}"));
        std::fs::write(&kept, input).unwrap();
        let shown = input.escape_ascii().to_string();
        let shown: String = shown.chars().take(2_000).collect();
        panic!("{name}, {from}: {}\ninput in {}: {shown}", text(&*panic), kept.display());
    }
}

fn hold(name: &str, target: fn(&[u8])) {
    let seeds = inputs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name));
    let corpus = std::env::var_os("FUZZ_CORPUS").map(|corpus| inputs(&Path::new(&corpus).join(name)));
    for (path, seed) in seeds.iter().chain(corpus.iter().flatten()) {
        run(name, target, seed, &path.display().to_string());
    }
    run(name, target, &[], "nothing");
    let count = std::env::var("FUZZ_MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap());
    let mut mutator = Mutator::new(name, seeds.into_iter().map(|(_, seed)| seed).collect());
    for at in 0..count {
        run(name, target, &mutator.next(), &format!("mutation {at}"));
    }
}

macro_rules! held {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), targets::$name::run);
            }
        )+

        #[test]
        fn every_target_has_a_fuzzer_and_seeds() {
            let mut known = vec![$(stringify!($name)),+];
            known.sort_unstable();
            for folder in ["bins", "seeds"] {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
                let mut found: Vec<String> = std::fs::read_dir(folder)
                    .unwrap()
                    .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                    .collect();
                found.sort();
                assert_eq!(found, known);
            }
        }
    };
}

held!(
    answers,
    chunks,
    codings,
    config,
    golden,
    grpc_frames,
    hygiene,
    json_names,
    metadata,
    model_file,
    oip_grpc,
    oip_json,
    paths,
    renaming,
    request_head,
    response_head,
    v1,
);
