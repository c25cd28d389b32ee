//! Configurations that cannot be read, or change.

use clap::Parser as _;
use htvault::TlsSettings;

use super::*;

#[tokio::test]
async fn a_tool_that_is_missing_for_a_moment_changes_nothing() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let settings = Settings {
        directory: Some("/creds".into()),
        ..Settings::default()
    };
    let mut control = control(&cli, settings.clone());
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let is_read_again = control.take_in(Source::Environment, Settings::default(), &commands);
    assert!(is_read_again.await);
    let problem = received.recv().await;
    let says = |problem: &Option<Command>| matches!(problem, Some(Command::ConfigurationProblem(Some(why))) if why.contains("PATH"));
    assert!(says(&problem), "{problem:?}");
    assert!(received.try_recv().is_err() && control.settings == settings);
    // The same configuration is back.
    let is_read_again = control.take_in(Source::Condor, settings, &commands);
    assert!(!is_read_again.await);
    let healed = received.recv().await;
    assert!(
        matches!(healed, Some(Command::ConfigurationProblem(None))),
        "{healed:?}"
    );
    assert!(received.try_recv().is_err());
}

/// A control of these settings.
fn control(cli: &Cli, settings: Settings) -> Control<'_> {
    Control {
        cli,
        source: Source::Condor,
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
    let settings = Settings::default();
    let mut control = Control {
        places: Places::of(vec!["/run".into()]),
        log_file: Some("/hung/log".into()),
        ..control(&cli, settings.clone())
    };
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let other = Settings {
        full_debug: true,
        ..settings
    };
    control.take_in(Source::Condor, other, &commands).await;
    received.recv().await;
    let Some(Command::Configure(settings)) = received.recv().await else {
        panic!("it is in force");
    };
    let problems = settings.problems.join(" ");
    assert!(problems.contains("/hung/log lies where"), "{problems}");
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
