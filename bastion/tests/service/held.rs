//! Attacks that a review played by hand, and that the service held.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::sys::signal::Signal;

use super::{Host, Service, text, until};

/// Address space in kilobytes: much more than a configuration needs, and much less than an alias bomb.
const MEMORY: &str = "ulimit -v 1000000";

#[test]
fn two_hundred_signals_to_reload_are_one_reload_or_a_few() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    for _ in 0..200 {
        service.signal(Signal::SIGHUP);
    }
    let status = host.run("c.yaml", &["status"]);
    assert!(text(&status.stdout).contains("cmsprod"), "{status:?}");
    let reload = host.run("c.yaml", &["reload"]);
    assert_eq!(reload.status.code(), Some(0), "{reload:?}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn with_sixteen_descriptors_the_service_says_what_it_lacks_and_stops_when_told() {
    let host = Host::new();
    let mut command = host.limited("ulimit -n 16");
    let mut service = Service(command.arg("run").stderr(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(service.0.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let lacks = lines.find(|line| line.contains("Too many open files"));
    assert!(lacks.unwrap().contains("WARN"));
    service.signal(Signal::SIGTERM);
    assert!(lines.last().unwrap().contains("stopped"));
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_configuration_that_is_swapped_halved_and_emptied_ends_as_the_last_one() {
    let host = Host::new();
    // As a mounted ConfigMap has it: the file is a link into `..data`, which is a link that is switched.
    let whole = host.yaml();
    // Commands find the socket in a file that stays.
    host.configure("ask.yaml", "control", "");
    let other = whole.replace("cms_crab", "cms_other");
    for (folder, text) in [("one", &whole), ("two", &other)] {
        fs::create_dir(host.path(folder)).unwrap();
        fs::write(host.path(folder).join("c.yaml"), text).unwrap();
    }
    let switch = |to: &str| {
        symlink(to, host.path("..new")).unwrap();
        fs::rename(host.path("..new"), host.path("..data")).unwrap();
    };
    switch("one");
    fs::remove_file(host.path("c.yaml")).unwrap();
    symlink("..data/c.yaml", host.path("c.yaml")).unwrap();
    let service = host.start(Stdio::null());
    let shows = |name: &str| {
        until(name, || {
            let status = host.run("ask.yaml", &["status"]);
            text(&status.stdout).contains(name)
        });
    };
    for round in 0..100 {
        switch(if round % 2 == 0 { "two" } else { "one" });
    }
    switch("two");
    shows("cms_other");
    // In two halves, and emptied: never less than what was there before.
    let file = host.path("two/c.yaml");
    for length in [0, whole.len() / 2, 7, whole.len() - 1] {
        fs::write(&file, &whole.as_bytes()[..length]).unwrap();
        service.signal(Signal::SIGHUP);
        let status = host.run("ask.yaml", &["status"]);
        let told = text(&status.stdout);
        assert!(
            told.contains("cms_other") || told.contains("cms_crab"),
            "{status:?}"
        );
    }
    fs::write(&file, &whole).unwrap();
    service.signal(Signal::SIGHUP);
    shows("cms_crab");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn alias_bombs_and_deep_nests_are_refused_in_bounded_memory() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        // Writing to a string cannot fail.
        let _ = writeln!(aliases, "a{n}: &a{n} [{before}]");
    }
    let itself = "vault: &a [*a, *a]\n".to_owned();
    let deep = format!("vault: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let keys =
        (0..10_000).fold("vault: {".to_owned(), |text, n| format!("{text}k{n}: 1, ")) + "}\n";
    for (name, bomb) in [
        ("aliases", aliases),
        ("itself", itself),
        ("deep", deep),
        ("keys", keys),
    ] {
        let host = Host::new();
        fs::write(host.path("c.yaml"), bomb).unwrap();
        let check = host.limited(MEMORY).arg("check").output().unwrap();
        let told = text(&check.stderr) + &text(&check.stdout);
        assert_eq!(check.status.code(), Some(2), "{name}: {told:.500}");
        assert!(
            told.contains("c.yaml:1:") || told.contains("c.yaml:"),
            "{name}: {told:.500}"
        );
    }
}

#[test]
fn ten_thousand_accounts_are_a_configuration_like_any_other() {
    let host = Host::new();
    let whole = host.yaml();
    let (head, account) = whole.split_once("accounts: {cmsprod: ").unwrap();
    let account = account.trim_end().strip_suffix('}').unwrap();
    let mut many = format!("{head}accounts:\n");
    for n in 0..10_000 {
        // Writing to a string cannot fail.
        let _ = writeln!(many, "  a{n}: {account}");
    }
    fs::write(host.path("c.yaml"), many).unwrap();
    let check = host
        .limited(MEMORY)
        .args(["check", "--json"])
        .output()
        .unwrap();
    let told = text(&check.stdout);
    let json: serde_json::Value = serde_json::from_str(&told).unwrap();
    println!("{:.300}", json.to_string());
    assert!(told.contains("a9999"), "{told:.500}");
}
