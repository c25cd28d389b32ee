//! The fuzz targets in the ordinary tests: each is given its corpus (`fuzz/corpus`), then the same files changed by
//! chance, with a fixed seed. The long runs, guided by coverage, are made by `integration/fuzz`.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// Changed inputs for each target.
const CHANGED: usize = 400;
const SEED: u64 = 20;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(corpus().join(target)).unwrap();
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), fs::read(&path).unwrap())
    };
    let mut inputs: Vec<_> = files.map(read).collect();
    inputs.sort();
    inputs
}

/// Part of one input in the place of a part of another, with some bytes changed.
fn changed(random: &mut SmallRng, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let one = |random: &mut SmallRng| &inputs[random.random_range(0..inputs.len())].1;
    let cut = |random: &mut SmallRng, bytes: &[u8]| random.random_range(0..=bytes.len());
    let (first, second) = (one(random).clone(), one(random).clone());
    let (from, to) = (cut(random, &first), cut(random, &second));
    let mut bytes = [&first[..from], &second[to..]].concat();
    for _ in 0..random.random_range(0..4) {
        if !bytes.is_empty() {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
    }
    bytes
}

#[test]
fn each_target_holds_on_its_corpus_and_on_changed_inputs() {
    for (name, target) in targets::TARGETS {
        let inputs = inputs(name);
        assert!(inputs.len() >= 4, "fuzz/corpus/{name} is too small");
        let mut random = SmallRng::seed_from_u64(SEED);
        let more = (0..CHANGED).map(|n| (format!("change {n}"), changed(&mut random, &inputs)));
        let more: Vec<_> = more.collect();
        for (file, bytes) in inputs.iter().chain(&more) {
            let held = catch_unwind(|| target(bytes)).is_ok();
            assert!(
                held,
                "{name} with {file}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

/// A target without a corpus, or a corpus without a target, would be run by nobody.
#[test]
fn each_target_has_a_corpus_and_each_corpus_a_target() {
    let folders = fs::read_dir(corpus()).unwrap();
    let folders: BTreeSet<String> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets: BTreeSet<String> = targets::TARGETS.map(|(name, _)| name.to_owned()).into();
    assert_eq!(folders, targets);
}
