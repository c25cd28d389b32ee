//! Decisions over several credentials, with made-up observations of real files.

use htvault::ErrorKind;

use super::*;
use crate::old::directory::Directory;
use crate::old::fake::Credentials;
use crate::old::folders::Folders;
use crate::old::schedule;
use crate::old::source::SourceError;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn look(
    credentials: &Credentials,
    monitor: &mut Monitor,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Note> {
    let directory = Directory::open(credentials.path()).unwrap();
    let mut notes = Vec::new();
    let mut folders = Folders::default();
    folders.list(&directory, now).unwrap();
    let users: Vec<_> = folders.after("").cloned().collect();
    for user in &users {
        let known = monitor.known(user);
        let found = directory.look_at(user, now, known, &mut folders, |_, _| ());
        notes.extend(monitor.absorb(user, found, rules, now));
    }
    notes.extend(monitor.keep(&folders));
    notes
}

fn ended(outcome: Outcome) -> Ended {
    Ended {
        outcome,
        vault_life: None,
    }
}

fn names(tasks: &[Task]) -> Vec<String> {
    tasks.iter().map(|task| task.id.to_string()).collect()
}

/// Long after any file of the test was written.
const NOW: i64 = 4_000_000_000;

#[test]
fn who_waits_for_a_token_goes_first_then_whose_token_ends_first() {
    let credentials = Credentials::new();
    for (user, expires) in [("late", NOW + 900), ("soon", NOW + 60), ("ended", NOW - 60)] {
        credentials.store(user, "cms", "a", "s.1");
        let claims = serde_json::json!({"iat": NOW - 3600, "exp": expires});
        credentials.put(user, "cms.use", &crate::old::fake::jwt(&claims));
    }
    credentials.store("new", "cms", "a", "s.1");
    let (mut monitor, rules) = (Monitor::default(), Rules::default());
    look(&credentials, &mut monitor, &rules, at(NOW));
    // One request at a time, so that the order shows.
    for _ in 0..crate::old::hosts::PER_ISSUER - 1 {
        monitor.hosts.start(&Lane {
            host: "a".into(),
            issuer: "cms".into(),
        });
    }
    let mut order = Vec::new();
    loop {
        let tasks = monitor.plan(&rules, at(NOW), true);
        let Some(task) = tasks.first() else {
            break;
        };
        order.extend(names(&tasks));
        monitor.report(task, ended(Outcome::Vanished), &rules, at(NOW));
    }
    assert_eq!(order, ["new/cms", "ended/cms", "soon/cms", "late/cms"]);
    assert_eq!(
        monitor.next_decision(at(NOW)),
        Some(at(NOW + schedule::GAP))
    );
}

#[test]
fn a_state_is_told_once_and_again_when_its_cause_changes() {
    let credentials = Credentials::new();
    credentials.store("u", "cms", "a", "s.1");
    let (mut monitor, rules) = (Monitor::default(), Rules::default());
    look(&credentials, &mut monitor, &rules, at(NOW));
    let mut now = at(NOW);
    let mut told = Vec::new();
    for kind in [
        ErrorKind::Forbidden,
        ErrorKind::Forbidden,
        ErrorKind::NoneStored,
        ErrorKind::NoneStored,
    ] {
        let tasks = monitor.plan(&rules, now, true);
        let error = SourceError {
            kind,
            text: format!("{kind:?}"),
            retry_after: None,
        };
        let notes = monitor.report(&tasks[0], ended(Outcome::Refused(error)), &rules, now);
        told.push(notes.len());
        now = monitor.next_decision(now).unwrap();
    }
    assert_eq!(told, [1, 0, 1, 0]);
    let status = monitor.credentials(now).next().unwrap();
    assert_eq!((status.state, status.since), (State::Degraded, at(NOW)));
    assert_eq!(status.last_error.unwrap().text, "NoneStored");
    assert!(status.advice.contains("onboarded"));
    assert!(!monitor.all_good());
}

#[test]
fn what_is_ignored_faulty_or_untrusted_is_never_asked_for() {
    let credentials = Credentials::new();
    credentials.store("u", "scitokens", "a", "s.1");
    credentials.store("u", "cms", "evil", "s.1");
    credentials.put("u", "dune.top", "{");
    let rules = Rules {
        trusted_hosts: Some(vec!["a".to_owned()]),
        ..Rules::default()
    };
    let mut monitor = Monitor::default();
    let notes = look(&credentials, &mut monitor, &rules, at(NOW));
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert_eq!(monitor.plan(&rules, at(NOW), true), []);
    assert_eq!(monitor.next_decision(at(NOW)), None);
    let counts = monitor.counts();
    assert_eq!(counts.get(&State::Ignored), Some(&1));
    assert_eq!(counts.get(&State::Dead), Some(&2));
    assert!(look(&credentials, &mut monitor, &rules, at(NOW)).is_empty());

    let trusting = Rules::default();
    assert!(monitor.judge_all(&trusting, at(NOW)).is_empty());
    assert_eq!(names(&monitor.plan(&trusting, at(NOW), true)), ["u/cms"]);
}

#[test]
fn while_more_credentials_may_be_found_only_those_go_that_are_waited_for() {
    let credentials = Credentials::new();
    for (user, expires) in [("ended", NOW - 60), ("soon", NOW + 60)] {
        credentials.store(user, "cms", "a", "s.1");
        let claims = serde_json::json!({"iat": NOW - 3600, "exp": expires});
        credentials.put(user, "cms.use", &crate::old::fake::jwt(&claims));
    }
    credentials.store("new", "cms", "a", "s.1");
    let (mut monitor, rules) = (Monitor::default(), Rules::default());
    look(&credentials, &mut monitor, &rules, at(NOW));
    let first = monitor.plan(&rules, at(NOW), false);
    assert_eq!(names(&first), ["new/cms"]);
    assert!(
        first.iter().all(|task| !task.look_up),
        "nobody knows how many are waited for"
    );
    assert_eq!(monitor.plan(&rules, at(NOW), false), []);
    let rest = monitor.plan(&rules, at(NOW), true);
    assert_eq!(names(&rest), ["ended/cms", "soon/cms"]);
}

#[test]
fn in_a_rush_access_tokens_come_before_the_vault_tokens_life() {
    for (count, looks_up) in [(MANY - 1, true), (2 * MANY, false)] {
        let credentials = Credentials::new();
        for n in 0..count {
            credentials.store(&format!("u{n}"), "cms", "a", "s.1");
        }
        let (mut monitor, rules) = (Monitor::default(), Rules::default());
        look(&credentials, &mut monitor, &rules, at(NOW));
        let tasks = monitor.plan(&rules, at(NOW), true);
        assert!(!tasks.is_empty());
        assert!(tasks.iter().all(|task| task.look_up == looks_up), "{count}");
    }
}
