//! Imports go one way: a module imports from lower rows of the design's table only. Tests are exempt.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

use std::path::Path;

#[path = "../../integration/src/layers.rs"]
mod layers;

const LAYERS: layers::Layers = layers::Layers {
    rows: &[
        &["model"],
        &["config"],
        &["store"],
        &["scheduler", "renewal"],
        &["report"],
        &["cli"],
        &["service", "simulation", "fuzzing"],
    ],
    only: &[("scheduler", &["model"])],
    foreign: &[
        ("model", &["nix", "tokio"]),
        ("scheduler", &["nix", "tokio"]),
    ],
};

#[test]
fn no_import_runs_upwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let faults = LAYERS.faults(&src);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
