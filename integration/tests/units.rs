//! The systemd unit that is shipped, as systemd reads it: nothing in it is misspelled or unknown,
//! and it is as closed to the rest of the host as the manual says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use integration::chain::program;

const UNIT: &str = include_str!("../../config-examples/systemd/token-bastion.service");
const NAME: &str = "token-bastion.service";
/// The highest exposure that is taken, in tenths: `systemd-analyze security` calls 2.0 and less OK.
const EXPOSURE: &str = "20";

/// `systemd-analyze`, installed or unpacked by `integration/setup/packages`.
fn systemd_analyze() -> Command {
    let unpacked = std::env::var_os("TOKEN_BASTION_SYSTEMD").map(std::path::PathBuf::from);
    let Some(root) = unpacked.filter(|root| root.is_dir()) else {
        return Command::new("systemd-analyze");
    };
    let libraries = fs::read_dir(root.join("usr/lib")).unwrap();
    let libraries = libraries.map(|entry| entry.unwrap().path());
    let libraries = libraries.flat_map(|path| [path.join("systemd"), path]);
    let mut command = Command::new(root.join("usr/bin/systemd-analyze"));
    command
        .env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap())
        // The colon at the end stands for the usual places.
        .env(
            "SYSTEMD_UNIT_PATH",
            format!("{}:", root.join("lib/systemd/system").display()),
        );
    command
}

/// Lays the unit out with the program that was built, and what `systemctl edit` would write.
fn lay_out(unit: &str, drop_in: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let built = program("token-bastion").unwrap();
    let started = unit.replace("/usr/sbin/token-bastion", built.to_str().unwrap());
    assert_ne!(started, unit);
    fs::write(folder.path().join(NAME), started).unwrap();
    let own = folder.path().join(format!("{NAME}.d"));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("override.conf"), drop_in).unwrap();
    folder
}

/// The drop-in for a bastion on the schedd's host, which the unit has as a comment at its end.
fn drop_in() -> String {
    let (_, comment) = UNIT.split_once("# Drop-in for").unwrap();
    let lines = comment
        .lines()
        .skip(1)
        .map(|line| line.trim_start_matches('#').trim());
    lines.collect::<Vec<_>>().join("\n")
}

fn verify(folder: &Path) -> Output {
    let mut command = systemd_analyze();
    command.args(["verify", "--man=no"]).arg(folder.join(NAME));
    command.output().unwrap()
}

#[test]
fn the_unit_is_understood_in_full_with_and_without_its_drop_in() {
    let drop_in = drop_in();
    assert!(drop_in.contains("[Service]\nUser=root\n"), "{drop_in}");
    for drop_in in ["", &drop_in] {
        let output = verify(lay_out(UNIT, drop_in).path());
        // What systemd does not know it warns of, and does without.
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "");
        assert_eq!(output.status.code(), Some(0));
    }
    let slip = UNIT.replace("ProtectHome=", "ProtectHouse=");
    let output = verify(lay_out(&slip, "").path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ProtectHouse"), "a slip is seen: {said}");
}

#[test]
fn the_unit_is_as_closed_as_the_manual_says() {
    let judge = |drop_in: &str| {
        let folder = lay_out(UNIT, drop_in);
        let mut command = systemd_analyze();
        command
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={EXPOSURE}"))
            .arg(folder.path().join(NAME));
        let output = command.output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (closed, told) = judge("");
    assert!(closed, "{told}");
    let (closed, told) = judge("[Service]\nProtectSystem=no\nSystemCallFilter=\n");
    assert!(!closed, "a door that is opened is seen: {told}");
}
