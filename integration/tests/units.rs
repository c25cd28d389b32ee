//! The systemd unit that is shipped, as systemd reads it: nothing in it is misspelled or unknown,
//! and it is as closed to the rest of the host as the manual says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

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

/// Names of the directories that the unit asks systemd for under a setting.
fn directories(setting: &str) -> impl Iterator<Item = &'static str> {
    UNIT.lines()
        .filter_map(move |line| line.strip_prefix(setting)?.strip_prefix('='))
        .flat_map(str::split_whitespace)
}

/// The service with the mounts that systemd makes of the unit: everything can be read only, but for the
/// directories of `StateDirectory=` and `RuntimeDirectory=`, which are `state` and `run` here.
fn start_with_mounts(folder: &Path, config: &Path) -> Child {
    assert!(UNIT.contains("\nProtectSystem=strict\n"));
    let mut lines = vec!["set -e".to_owned(), "mount --make-rprivate /".to_owned()];
    for (setting, base, at) in [
        ("StateDirectory", "/var/lib", folder.join("state")),
        ("RuntimeDirectory", "/run", folder.join("run")),
    ] {
        lines.push(format!("mount -t tmpfs tmpfs {base}"));
        for name in directories(setting) {
            lines.push(format!("mkdir {base}/{name}"));
            lines.push(format!("mount --bind {} {base}/{name}", at.display()));
        }
    }
    lines.push(
        "for at in $(awk '{print $2}' /proc/self/mounts | sort -u); do\n\
         case $at in /proc* | /sys* | /dev* | /var/lib/* | /run/*) continue ;; esac\n\
         mount -o remount,bind,ro $at\n\
         done"
            .to_owned(),
    );
    let (program, config) = (program("token-bastion").unwrap(), config.display());
    lines.push(format!("exec {} --config {config} run", program.display()));
    let script = lines.join("\n");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .spawn()
        .unwrap()
}

#[test]
fn the_unit_keeps_what_a_person_ordered_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["state", "run", "creds"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("kt"), "").unwrap();
    let dir = folder.path().display();
    // Nobody is at that Vault. State and socket are where they are by default.
    let yaml = format!(
        "vault: {{address: \"https://127.0.0.1:1\"}}\n\
         schedds: {{here: {{directory: {dir}/creds}}}}\n\
         accounts: {{a: {{principal: a@TEST, keytab: {dir}/kt, schedds: [here], credentials: {{cms: {{}}}}}}}}\n"
    );
    fs::write(path("config.yaml"), &yaml).unwrap();
    // From outside of the mounts the socket has another name.
    let outside = format!("{yaml}control: {{socket: {dir}/run/control}}\n");
    fs::write(path("outside.yaml"), outside).unwrap();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(program("token-bastion").unwrap());
        command.arg("--config").arg(path("outside.yaml"));
        command.args(arguments).output().unwrap()
    };
    let state = || {
        let output = ask(&["status", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(json["deliveries"][0]["state"].as_str()?.to_owned())
    };
    for start in 0..2 {
        let mut service = start_with_mounts(folder.path(), &path("config.yaml"));
        let deadline = Instant::now() + Duration::from_mins(2);
        while state().is_none() {
            assert!(Instant::now() < deadline, "the service does not answer");
            assert_eq!(service.try_wait().unwrap(), None, "the service ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        if start == 0 {
            assert_ne!(state().as_deref(), Some("cut_off"));
            ask(&["revoke", "--account", "a", "--schedd", "here"]);
        }
        assert_eq!(state().as_deref(), Some("cut_off"));
        let report = String::from_utf8(ask(&["status"]).stderr).unwrap();
        assert!(!report.contains("cannot be written"), "{report}");
        Command::new("kill")
            .arg(service.id().to_string())
            .status()
            .unwrap();
        assert!(service.wait().unwrap().success());
    }
}
