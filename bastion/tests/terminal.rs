//! The program on a terminal of 80 columns: lines are broken between words.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};

const COLUMNS: u16 = 80;

/// Everything that the program writes to a terminal.
fn on_terminal(arguments: &[&str]) -> String {
    let size = Winsize {
        ws_row: 24,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-bastion"));
    let (out, err) = (terminal.slave.try_clone().unwrap(), terminal.slave);
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    let mut child = command.spawn().unwrap();
    // The command has copies of its own end of the terminal.
    drop(command);
    let mut bytes = Vec::new();
    // Once nobody has the other end, a terminal gives an error.
    let _ = File::from(terminal.master).read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap().replace('\r', "")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn assert_narrow(text: &str) {
    assert!(text.lines().count() > 3, "{text}");
    for line in text.lines() {
        let is_one_word = words(line).len() == 1;
        assert!(
            line.chars().count() <= usize::from(COLUMNS) || is_one_word,
            "{line}\n{text}"
        );
    }
}

#[test]
fn help_is_broken_between_words() {
    for arguments in [
        ["--help"].as_slice(),
        &["-h"],
        &["status", "--help"],
        &["onboard", "--help"],
        &["revoke", "--help"],
    ] {
        let text = on_terminal(arguments);
        assert_narrow(&text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-bastion"));
        let piped = command.args(arguments).output().unwrap().stdout;
        assert_eq!(words(&text), words(&String::from_utf8(piped).unwrap()));
    }
}

#[test]
fn check_is_broken_between_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let config = file.to_str().unwrap();
    let yaml = "vault: {address: \"https://vault.example.org:8200\"}\n\
         schedds: {far: {credds: [submit-node-with-a-long-name.cluster.example.org]}, none: {directory: /nowhere}}\n\
         accounts: {cmsprod: {principal: cmsprod@EXAMPLE.ORG, keytab: /nowhere/cmsprod.keytab, schedds: [far], \
         credentials: {cms_production: {}}}}\n";
    fs::write(&file, yaml).unwrap();
    let text = on_terminal(&["--config", config, "check"]);
    assert_narrow(&text);
    let said = words(&text).join(" ");
    for part in [
        "account cmsprod, service cms_production",
        "schedd submit-node-with-a-long-name.cluster.example.org",
        "put the keytab there or correct the path",
        "name it in an account's `schedds` or remove it",
    ] {
        assert!(said.contains(part), "{part}: {text}");
    }
    // Faults of the configuration.
    fs::write(&file, yaml.replace("keytab:", "keytap:")).unwrap();
    let text = on_terminal(&["--config", config, "check"]);
    let said = words(&text).join(" ");
    assert!(
        said.contains("unknown key, did you mean \"keytab\"?"),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= usize::from(COLUMNS), "{line}");
    }
}
