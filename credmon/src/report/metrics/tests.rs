//! Metrics as they are documented.

use super::*;
use crate::model::fixtures::{at, credential, daemon};
use crate::model::{Renewals, VaultStatus};

fn text(credentials: Vec<CredentialStatus>, per_credential: bool) -> String {
    let mut daemon = daemon();
    daemon.troubled_vaults.push(VaultStatus {
        host: "a".to_owned(),
        rests_until: None,
        why: String::new(),
    });
    let snapshot = Snapshot {
        daemon,
        credentials: std::sync::Arc::new(credentials),
        started: at(1),
        scanned: Some(at(3)),
        watched_folders: 7,
        renewals: Renewals::from([("refused", 2)]),
        lines_dropped: 3,
    };
    let mut text = Vec::new();
    write(&mut text, &snapshot, per_credential).unwrap();
    String::from_utf8(text).unwrap()
}

/// Rows of the documentation's table: name with labels, type, meaning.
fn documented() -> Vec<[&'static str; 3]> {
    let page = include_str!("../../../../docs/credmon.md");
    let row = |line: &'static str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let is_metric = name.starts_with("credmon_");
        is_metric.then_some([name, cells.next()?, cells.next()?])
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn the_documentation_lists_the_results_that_are_counted() {
    let rows = documented();
    let row = rows.iter().find(|row| row[0].contains("{result}")).unwrap();
    let words = row[2].split('`').skip(1).step_by(2);
    let mut documented: Vec<&str> = words.filter(|word| !word.starts_with('.')).collect();
    documented.sort_unstable();
    let now = crate::model::Now {
        mono: std::time::Instant::now(),
        wall: at(0),
    };
    let gate = crate::scheduler::Gate::new(100);
    let scheduler = crate::scheduler::Scheduler::new(crate::model::Rules::default(), gate, now);
    let counted = scheduler.renewals().keys().copied();
    assert_eq!(documented, counted.collect::<Vec<_>>());
}

#[test]
fn every_documented_metric_and_no_other_is_written_once_with_its_type() {
    let all = vec![
        credential("a\\\"b", State::Fresh, 3600),
        credential("c", State::Dead, 100),
        credential("d", State::Ignored, 1),
    ];
    let text = text(all, true);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut written: Vec<_> = types.map(str::to_owned).collect();
    let documented = documented();
    let head = |[name, kind, _]: &[&str; 3]| format!("{} {kind}", name.split('{').next().unwrap());
    let mut expected: Vec<_> = documented.iter().map(head).collect();
    written.sort_unstable();
    expected.sort_unstable();
    assert_eq!(written, expected);
    for line in [
        "credmon_credentials{state=\"fresh\"} 1",
        "credmon_credentials{state=\"degraded\"} 0",
        "credmon_renewals_total{result=\"refused\"} 2",
        "credmon_log_lines_dropped_total 3",
        "credmon_directory_ok 1",
        "credmon_troubled_vaults 1",
        "credmon_watched_folders 7",
        "credmon_last_look_timestamp_seconds 3",
        "credmon_earliest_access_token_expiry_timestamp_seconds 100",
        "credmon_access_token_expiry_timestamp_seconds{user=\"a\\\\\\\"b\",service=\"cms\"} 3600",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn a_site_may_leave_names_of_accounts_out() {
    let text = text(vec![credential("a", State::Fresh, 3600)], false);
    assert!(!text.contains("user="), "{text}");
}
