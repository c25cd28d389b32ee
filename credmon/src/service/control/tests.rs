//! Look-ups of users that hang, and configurations that cannot be read.

use clap::Parser as _;
use htvault::TlsSettings;
use nix::sys::signal::Signal;

use super::super::trust::ReadAuthorities;
use super::*;

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
        assert!(parser.parse(&Values::default()).await.is_none());
    }
    drop(end);
    parser.hanging.as_mut().unwrap().await.unwrap();
    assert!(parser.parse(&Values::default()).await.is_some());
}

#[tokio::test]
async fn a_reading_that_hangs_holds_up_no_signal() {
    let mut signals = Signals::new().unwrap();
    for signal in [Signal::SIGHUP, Signal::SIGQUIT] {
        nix::sys::signal::raise(signal).unwrap();
    }
    let mut hangups = 0;
    let hangs = std::future::pending::<()>();
    let ended = beside_signals(hangs, &mut signals, || hangups += 1).await;
    assert_eq!(ended, Err("SIGQUIT"));
    assert!(hangups <= 1);
    // What has come to its end is no question of signals.
    let ended = beside_signals(std::future::ready(1), &mut signals, || ()).await;
    assert_eq!(ended, Ok(1));
}

#[tokio::test]
async fn a_tool_that_is_missing_for_a_moment_changes_nothing() {
    let cli = Cli::parse_from(["condor_credmon_htvault"]);
    let mut values = Values::default();
    values.set("SEC_CREDENTIAL_DIRECTORY_OAUTH", "/creds");
    let known = (values, Source::Condor);
    let (places, _) = Places::everywhere();
    let trust = Trust::new(TlsSettings::default(), ReadAuthorities::default());
    let vault = Arc::new(HtVault::new(None));
    let mut control = Control::new(&cli, known.clone(), vault, places, trust);
    let (commands, mut received) = tokio::sync::mpsc::channel(4);
    let missing = (Values::default(), Source::Environment);
    let settings = Settings::default();
    let is_read_again = control.take_in(missing.clone(), Some(settings.clone()), &commands);
    assert!(is_read_again.await);
    let problem = received.recv().await;
    let says = |problem: &Option<Command>| matches!(problem, Some(Command::ConfigurationProblem(Some(why))) if why.contains("PATH"));
    assert!(says(&problem), "{problem:?}");
    assert!(received.try_recv().is_err() && control.known == known);
    // The same configuration is back.
    let is_read_again = control.take_in(known.clone(), Some(settings), &commands);
    assert!(!is_read_again.await);
    let healed = received.recv().await;
    assert!(
        matches!(healed, Some(Command::ConfigurationProblem(None))),
        "{healed:?}"
    );
    assert!(received.try_recv().is_err());
}

#[test]
fn the_environment_is_a_configuration_where_it_names_a_directory() {
    let of = |directory: Option<&str>| Settings {
        directory: directory.map(Into::into),
        ..Settings::default()
    };
    let usable =
        |settings: &Settings, known| problem(&Source::Environment, Some(settings), known).is_none();
    assert!(usable(&of(Some("/creds")), None));
    assert!(usable(&of(Some("/creds")), Some(&Source::Environment)));
    assert!(!usable(&of(Some("/creds")), Some(&Source::Condor)));
    assert!(!usable(&of(None), None));
    assert_eq!(problem(&Source::Condor, Some(&of(None)), None), None);
}
