//! Look-ups of users that hang, and configurations that cannot be read.

use clap::Parser as _;
use htvault::TlsSettings;

use super::*;
use crate::model::TokenCopy;

#[tokio::test]
async fn a_look_up_that_hangs_costs_one_thread_and_holds_up_no_other_for_long() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let (end, hang) = std::sync::mpsc::channel::<()>();
    let mut parser = Parser::new(&cli);
    parser.hanging = Some(on_thread("parse", move || {
        // Until the other end is dropped.
        let _ = hang.recv();
        Settings::default()
    }));
    for _ in 0..100 {
        assert!(parser.parse(&Values::default()).await.is_err());
    }
    drop(end);
    parser.hanging.as_mut().unwrap().await.unwrap();
    assert!(parser.parse(&Values::default()).await.is_ok());
}

#[tokio::test]
async fn a_tool_that_is_missing_for_a_moment_changes_nothing() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let mut values = Values::default();
    values.set("SEC_CREDENTIAL_DIRECTORY_OAUTH", "/creds");
    let known = (values, Source::Condor);
    let settings = Settings::default();
    let mut control = control(&cli, (known.clone(), settings.clone()));
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let missing = (Values::default(), Source::Environment);
    let is_read_again = control.take_in(missing.clone(), Ok(settings.clone()), &commands);
    assert!(is_read_again.await);
    let problem = received.recv().await;
    let says = |problem: &Option<Command>| matches!(problem, Some(Command::ConfigurationProblem(Some(why))) if why.contains("PATH"));
    assert!(says(&problem), "{problem:?}");
    assert!(received.try_recv().is_err() && control.known == known);
    // The same configuration is back.
    let is_read_again = control.take_in(known.clone(), Ok(settings), &commands);
    assert!(!is_read_again.await);
    let healed = received.recv().await;
    assert!(
        matches!(healed, Some(Command::ConfigurationProblem(None))),
        "{healed:?}"
    );
    assert!(received.try_recv().is_err());
}

/// A control of these settings.
fn control(cli: &Cli, (known, settings): (Configuration, Settings)) -> Control<'_> {
    Control {
        parser: Parser::new(cli),
        known,
        settings,
        vault: Arc::new(HtVault::new(None)),
        places: Places::everywhere().0,
        log_file: None,
        trust: Trust::new(TlsSettings::default()),
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_to_any_more_is_named_after_a_new_configuration_too() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let known = (Values::default(), Source::Condor);
    let settings = Settings::default();
    let mut control = Control {
        places: Places::of(vec!["/run".into()]),
        log_file: Some("/hung/log".into()),
        ..control(&cli, (known.clone(), settings.clone()))
    };
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let other = Settings {
        full_debug: true,
        ..settings
    };
    control.take_in(known, Ok(other), &commands).await;
    received.recv().await;
    let Some(Command::Configure(settings)) = received.recv().await else {
        panic!("it is in force");
    };
    let problems = settings.problems.join(" ");
    assert!(problems.contains("/hung/log lies where"), "{problems}");
}

#[tokio::test]
async fn what_the_system_says_otherwise_is_put_in_force_though_the_values_are_the_same() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let known = (Values::default(), Source::Condor);
    let of = |has_unknown_owners| Settings {
        has_unknown_owners,
        ..Settings::default()
    };
    let mut control = control(&cli, (known.clone(), of(true)));
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let mut take_in = async |has_unknown_owners, copies: Vec<TokenCopy>| {
        let settings = Settings {
            copies,
            ..of(has_unknown_owners)
        };
        let retry = control.take_in(known.clone(), Ok(settings), &commands);
        let retry = retry.await;
        let healed = received.try_recv();
        assert!(matches!(healed, Ok(Command::ConfigurationProblem(None))));
        let configured = match received.try_recv() {
            Ok(Command::Configure(settings)) => Some(settings.copies.len()),
            _ => None,
        };
        (retry, configured)
    };
    let copy = || TokenCopy {
        id: crate::model::CredentialId::new(&"u".into(), "cms").unwrap(),
        path: "/run/copy".into(),
        owner: None,
        mode: 0o400,
    };
    assert_eq!(take_in(true, vec![]).await, (true, None));
    // The user is there.
    assert_eq!(take_in(false, vec![copy()]).await, (false, Some(1)));
    assert_eq!(take_in(false, vec![copy()]).await, (false, None));
    // A name service that fails, or knows nobody for a moment, takes nothing out of force.
    assert_eq!(take_in(true, vec![]).await, (true, None));
}

#[test]
fn a_configuration_of_the_environment_or_with_unknown_users_is_read_again() {
    let settings = Settings::default();
    assert!(is_provisional(&Source::Environment, &settings));
    assert!(!is_provisional(&Source::Condor, &settings));
    let settings = Settings {
        has_unknown_owners: true,
        ..settings
    };
    assert!(is_provisional(&Source::Condor, &settings));
}

#[test]
fn the_environment_is_a_configuration_where_it_names_a_directory() {
    let of = |directory: Option<&str>| Settings {
        directory: directory.map(Into::into),
        ..Settings::default()
    };
    let usable =
        |settings: &Settings, known| problem(&Source::Environment, settings, known).is_none();
    assert!(usable(&of(Some("/creds")), None));
    assert!(usable(&of(Some("/creds")), Some(&Source::Environment)));
    assert!(!usable(&of(Some("/creds")), Some(&Source::Condor)));
    assert!(!usable(&of(None), None));
    assert_eq!(problem(&Source::Condor, &of(None), None), None);
}
