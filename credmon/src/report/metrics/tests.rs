use super::*;
use crate::model::fixtures::{at, credential, daemon};

fn text(credentials: Vec<CredentialStatus>, per_credential: bool) -> String {
    let snapshot = Snapshot {
        daemon: daemon(),
        credentials,
        started: at(1),
        scanned: Some(at(3)),
        watched_folders: 7,
        counters: [(("renewals", "refused"), 2), (("log", "dropped"), 5)].into(),
    };
    let mut text = Vec::new();
    write(&mut text, &snapshot, per_credential).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_documentation_lists_what_there_is() {
    let page = include_str!("../../../../docs/credmon.md");
    let documented = page.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let name = name.split('{').next()?;
        name.starts_with("credmon_")
            .then_some((name, cells.next()?))
    });
    let documented: Vec<_> = documented.collect();
    let all: Vec<_> = METRICS
        .iter()
        .map(|(name, kind, _)| (*name, *kind))
        .collect();
    assert_eq!(documented, all);
}

#[test]
fn every_metric_is_written_once_with_its_type() {
    let metrics = text(vec![credential("a\"b", State::Fresh, 3600)], true);
    for (name, kind, help) in METRICS {
        let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        assert_eq!(metrics.matches(&head).count(), 1, "{head}{metrics}");
    }
    for line in [
        "credmon_credentials{state=\"fresh\"} 1",
        "credmon_credentials{state=\"dead\"} 0",
        "credmon_directory_ok 1",
        "credmon_renewals_total{result=\"refused\"} 2",
        "credmon_log_lines_dropped_total 5",
        "credmon_access_token_expiry_timestamp_seconds{user=\"a\\\"b\",service=\"cms\"} 3600",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_site_may_leave_out_single_credentials() {
    let metrics = text(vec![credential("a", State::Fresh, 3600)], false);
    assert!(!metrics.contains("user="), "{metrics}");
    assert!(metrics.contains("credmon_earliest_access_token_expiry_timestamp_seconds 3600\n"));
}
