//! The fuzz targets over their seeds: inputs of interest, and those that once broke something. Each
//! is also run cut short, with bytes changed and doubled, so that the neighbourhood of every seed is
//! looked at in each run of the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod targets;

use std::path::Path;

/// Changed inputs per seed.
const NEIGHBOURS: usize = 200;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

fn changed(seed: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        match random.u8(..5) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            3 => bytes.insert(at, b"\r\n\0:; \t{[\"0a\xff"[random.usize(..13)]),
            _ => {
                let end = random.usize(at..=bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

#[test]
fn no_seed_and_nothing_near_one_breaks_a_target() {
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for (index, (file, seed)) in seeds.iter().enumerate() {
            let mut random = fastrand::Rng::with_seed(index as u64);
            let inputs = std::iter::once(seed.clone()).chain((0..NEIGHBOURS).map(|_| changed(seed, &mut random)));
            for input in inputs {
                let run = std::panic::catch_unwind(|| target(&input));
                assert!(run.is_ok(), "{name}, near {file}: {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

/// Every target has its binary for `cargo fuzz`.
#[test]
fn every_target_can_be_fuzzed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in targets::ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let source = std::fs::read_to_string(root.join(format!("targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("targets::{name}(")), "{name}");
    }
}
