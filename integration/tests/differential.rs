//! HTCondor's own credential monitor and ours in the same situations: see
//! `integration::differential`. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use integration::differential::rig::Rig;
use integration::differential::{compare, folder_run, table};
use integration::sandbox;

#[tokio::test]
async fn folders_are_served_as_the_table_says() {
    let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let rig = Rig::start(folder.path()).await.unwrap();
    // One group alone, for whoever works on it.
    let only = std::env::var("DIFFERENTIAL_GROUP").ok();
    let mut complaints = Vec::new();
    for group in table::GROUPS.iter().flat_map(|groups| groups.iter()) {
        if only.as_ref().is_some_and(|only| only != group.name) {
            continue;
        }
        let pairs = match folder_run::run(&rig, group).await {
            Ok(pairs) => pairs,
            Err(error) => {
                complaints.push(format!("{}: {error:#}", group.name));
                continue;
            }
        };
        for case in group.cases {
            let pair = &pairs[case.name];
            if let Some(words) = compare::complaint(&case.expected, &pair.theirs, &pair.ours) {
                complaints.push(format!("=== {} / {}\n{words}", group.name, case.name));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
