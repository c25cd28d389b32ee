//! Commands beside a running service: what they print, and their exit codes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::{Host, Service, full, text, until};

#[test]
fn a_service_that_is_suspended_is_said_to_be() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    service.signal(Signal::SIGSTOP);
    let status = host.run("c.yaml", &["status"]);
    let error = text(&status.stderr);
    assert_eq!(status.status.code(), Some(1));
    assert!(error.contains("is suspended"), "{error}");
    assert!(!error.contains("os error"), "{error}");
    service.signal(Signal::SIGCONT);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_broken_configuration_keeps_no_command_from_the_service() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    host.configure("c.yaml", "control", "broken: true\n");
    let status = host.run("c.yaml", &["status"]);
    assert!(text(&status.stdout).contains("cmsprod"), "{status:?}");
    // The socket is named in another file.
    let yaml = host.yaml();
    let (control, others): (Vec<_>, Vec<_>) =
        yaml.lines().partition(|line| line.starts_with("control"));
    fs::create_dir(host.path("config.d")).unwrap();
    fs::write(host.path("config.d/control.yaml"), control.join("\n")).unwrap();
    for others in [others.join("\n"), "no: [yaml".to_owned()] {
        fs::write(host.path("c.yaml"), others).unwrap();
        let status = host.run("c.yaml", &["status"]);
        assert!(text(&status.stdout).contains("cmsprod"), "{status:?}");
    }
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn an_account_whose_schedds_are_not_found_yet_is_offboarded_as_far_as_its_refresh_token() {
    let host = Host::new();
    host.deliver_to_found("{collector: \"127.0.0.1:1\"}", "[crab]");
    let service = host.start(Stdio::null());
    let offboard = ["offboard", "--yes", "--json", "--account", "cmsprod"];
    let output = host.run("c.yaml", &offboard);
    assert_eq!(
        output.status.code(),
        Some(1),
        "Vault does not answer: {output:?}"
    );
    let whole = text(&output.stdout);
    assert!(whole.contains("\"refresh_token\""), "{whole}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    for arguments in [
        ["check"].as_slice(),
        &["check", "--json"],
        &["schema"],
        &["completions", "bash"],
        &["plan"],
        &["status"],
        &["status", "--json"],
        &["status", "--watch"],
        &["reload", "--dry-run"],
        &["doctor"],
        &["offboard", "--account", "cmsprod", "--dry-run"],
    ] {
        let mut command = host.command("c.yaml");
        let output = command.args(arguments).stdout(full()).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {error}");
        let said = "standard output cannot be written: No space left on device";
        assert!(error.contains(said), "{arguments:?} {error}");
    }
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_reader_that_takes_the_first_lines_ends_watching() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    let mut shell = Command::new("sh");
    let command = "\"$0\" --config \"$1\" status --watch | head -n 3";
    shell
        .args(["-c", command, env!("CARGO_BIN_EXE_token-bastion")])
        .arg(host.path("c.yaml"))
        .stdout(Stdio::piped());
    let mut shell = Service(shell.spawn().unwrap());
    let lines = BufReader::new(shell.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.count(), 3);
    until("the shell and both programs end", || {
        shell.0.try_wait().unwrap().is_some()
    });
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn watching_reads_the_configuration_once() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    let mut command = host.command("c.yaml");
    command.args(["status", "--watch"]).stdout(Stdio::piped());
    let mut watching = Service(command.spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    host.configure("c.yaml", "elsewhere", "");
    let headings = lines.filter(|line| line.as_ref().unwrap().starts_with("ACCOUNT"));
    assert_eq!(headings.take(1).count(), 1, "it goes on");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_reader_that_went_away_is_no_failure_and_ends_watching() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    for (arguments, code) in [
        (["completions", "bash"].as_slice(), 0),
        (&["schema"], 0),
        // Not all is good, which is what it says.
        (&["status"], 1),
        (&["status", "--watch"], 0),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = host.command("c.yaml");
        let output = command.args(arguments).stdout(writer).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {error}");
        assert_eq!(error, "", "{arguments:?}");
    }
    assert_eq!(service.stop(), Some(0));
}
