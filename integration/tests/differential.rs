//! HTCondor's own credential monitor and ours in the same situations: see
//! `integration::differential`. Needs the sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use integration::differential::rig::Rig;
use integration::differential::table::{self, Part};
use integration::differential::{compare, folder_run, launch_run, older_pool_run, page, pool_run};
use integration::pool::Release;
use integration::sandbox;

/// One rig at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What is not as this part of the table says.
async fn folders(part: &Part) -> Vec<String> {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let rig = Rig::start_on(folder.path(), part.release).await.unwrap();
    // One group alone, for whoever works on it.
    let only = std::env::var("DIFFERENTIAL_GROUP").ok();
    let mut complaints = Vec::new();
    for group in part.groups().chain(part.groups_again()) {
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
    for launch in part.launches.iter().chain(part.starts_again()) {
        if only.as_ref().is_some_and(|only| only != launch.name) {
            continue;
        }
        match launch_run::run(&rig, launch).await {
            Ok(pair) => {
                if let Some(words) = compare::complaint(&launch.expected, &pair.theirs, &pair.ours)
                {
                    complaints.push(format!("=== launch / {}\n{words}", launch.name));
                }
            }
            Err(error) => complaints.push(format!("{}: {error:#}", launch.name)),
        }
    }
    complaints
}

/// The same for what happens to a whole pool.
async fn pools(part: &Part) -> Vec<String> {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let rig = Rig::start_on(folder.path(), part.release).await.unwrap();
    let pairs = match part.release {
        Release::Current => pool_run::run(&rig, folder.path()).await.unwrap(),
        Release::Older => older_pool_run::run(&rig, folder.path()).await.unwrap(),
    };
    let rows = part.pool.iter();
    rows.filter_map(|row| {
        let pair = &pairs[row.name];
        let words = compare::complaint(&row.expected, &pair.theirs, &pair.ours)?;
        Some(format!("=== pool / {}\n{words}", row.name))
    })
    .collect()
}

#[tokio::test]
async fn folders_are_served_as_the_table_says() {
    let complaints = folders(&table::CURRENT).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn folders_of_an_older_htcondor_are_served_as_the_table_says() {
    let complaints = folders(&table::OLDER).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn whole_pools_do_as_the_table_says() {
    let complaints = pools(&table::CURRENT).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn whole_pools_of_an_older_htcondor_do_as_the_table_says() {
    let complaints = pools(&table::OLDER).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_page_is_up_to_date() {
    let printed = include_str!("../../docs/credmon-differences.md");
    assert!(
        printed == page::page(),
        "cargo run -p integration --bin credmon-differences > docs/credmon-differences.md"
    );
}
