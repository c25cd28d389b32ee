//! The harness itself: a test that ends leaves nothing behind, a server whose address is taken says
//! who has it, and the sandbox's names are its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use integration::address::{self, Protocol};
use integration::ca::Ca;
use integration::chain::{ADMIN, Chain, Lives};
use integration::kdc::Kdc;
use integration::pool::{Credmon, Options, Pool};
use integration::process::Daemon;
use integration::wait::FAR;
use integration::{ended, sandbox, wait};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const VAULT: &str = "127.83.0.1:8200";
/// In the environment of an owner and of all that it starts: how it is to end.
const END: &str = "TOKEN_BASTION_OWNER_ENDS_BY";

/// One at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A test that starts servers, and ends in the way that it is told to.
#[tokio::test]
#[ignore = "other tests run it, as a process of its own"]
async fn owner() {
    let end = std::env::var(END).unwrap();
    let folder = sandbox::new_folder().unwrap();
    let folder = folder.path();
    if end == "SIGKILL, with a pool" {
        let ca = Ca::create(&folder.join("ca"), "Test CA").unwrap();
        let options = Options::new(&["cmsprod"], Credmon::Absent);
        let pool = Pool::start(&folder.join("pool"), &ca, &options).await;
        let pool = pool.unwrap();
        println!("owns {}", pool.path("/").display());
        return std::future::pending().await;
    }
    let _chain = Chain::start(folder, Lives::CALM).await.unwrap();
    let mut stubborn = Command::new("/bin/sh");
    stubborn.args(["-c", "trap '' TERM INT; sleep 1000 & wait; wait"]);
    let _stubborn = Daemon::spawn("stubborn", stubborn, &folder.join("stubborn.log")).unwrap();
    let mut sleeping = Command::new("sleep");
    sleeping.arg("1001");
    let _command = tokio::spawn(ended::output(sleeping, FAR));
    wait::until("all servers", FAR, async || {
        let names: Vec<String> = owned().into_iter().map(|(_, name)| name).collect();
        let all = ["krb5kdc", "htvault-dev", "sleep 1000", "sleep 1001"]
            .iter()
            .all(|wanted| names.iter().any(|name| name.contains(wanted)));
        all.then_some(()).ok_or(names.join("; "))
    })
    .await
    .unwrap();
    println!("owns servers");
    match end.as_str() {
        "panic" => panic!("as it was told to"),
        "abort" => std::process::abort(),
        _ => std::future::pending().await,
    }
}

/// The processes that an owner has started, and itself, with their commands.
fn owned() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let process = process.path();
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let mark = format!("{END}=");
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(mark.as_bytes()))
        {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push((process, command));
        }
    }
    found
}

/// Starts an owner, and waits until it has its servers; gives what it says of them.
async fn start_owner(end: &str) -> (Child, String) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner", "--ignored", "--nocapture"])
        .env(END, end)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, what)) = line.split_once("owns ") {
                return what.to_owned();
            }
        }
        panic!("the owner did not start its servers");
    };
    let what = tokio::time::timeout(FAR, ready).await.unwrap();
    (owner, what)
}

/// Waits until nothing is left that an owner has started.
async fn nothing_is_left() {
    wait::until("the end of what the owner started", FAR, async || {
        let left = owned();
        left.is_empty().then_some(()).ok_or(format!("{left:?}"))
    })
    .await
    .unwrap();
}

/// Waits until nobody holds the address. The kernel takes a process's environment, by which [`owned`] knows it, before
/// it closes its sockets.
async fn becomes_free(who: &str, address: SocketAddr) {
    wait::until("a free address", FAR, async || {
        address::require_free(who, Protocol::Tcp, address)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_test_leaves_no_process_behind_however_it_ends() {
    let _one = ONE.lock().await;
    for end in ["panic", "abort", "SIGKILL"] {
        let (mut owner, _) = start_owner(end).await;
        if end == "SIGKILL" {
            assert!(owned().len() > 4, "the servers run: {:?}", owned());
            owner.start_kill().unwrap();
        }
        let status = tokio::time::timeout(FAR, owner.wait()).await;
        let status = status.unwrap().unwrap();
        let signal = status
            .signal()
            .map(|signal| Signal::try_from(signal).unwrap());
        match end {
            "panic" => assert_eq!(status.code(), Some(101)),
            "abort" => assert_eq!(signal, Some(Signal::SIGABRT)),
            _ => assert_eq!(signal, Some(Signal::SIGKILL)),
        }
        nothing_is_left().await;
        for address in [VAULT, "127.83.0.10:8443", ADMIN] {
            becomes_free(end, address.parse().unwrap()).await;
        }
    }
}

#[tokio::test]
async fn a_test_that_is_killed_takes_its_pool_along() {
    let _one = ONE.lock().await;
    let (mut owner, root) = start_owner("SIGKILL, with a pool").await;
    let root = PathBuf::from(root.trim_end_matches('/'));
    assert!(living_in(&root) > 5, "the pool's daemons run");
    owner.start_kill().unwrap();
    owner.wait().await.unwrap();
    nothing_is_left().await;
    wait::until("the end of the pool", FAR, async || {
        let count = living_in(&root);
        ensure!(count == 0, "{count} processes live in it");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
        Ok(())
    })
    .await
    .unwrap();
    becomes_free("the next pool", shared_port()).await;
}

/// How many processes have this root directory.
fn living_in(root: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("root")).is_ok_and(|is| is == root))
        .count()
}

fn shared_port() -> SocketAddr {
    let mut addresses = ("ap.test", 9618).to_socket_addrs().unwrap();
    addresses.next().unwrap()
}

#[tokio::test]
async fn a_server_whose_address_is_in_use_says_by_whom() {
    let _one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let folder = folder.path();
    let name = fs::read_to_string("/proc/self/comm").unwrap();
    let myself = format!(
        "is in use by {} (process {})",
        name.trim_end(),
        std::process::id()
    );
    for (address, place) in [
        (VAULT, "vault"),
        ("127.83.0.10:8443", "issuer"),
        (ADMIN, "admin"),
    ] {
        let _taken = TcpListener::bind(address).unwrap();
        let folder = folder.join(place);
        fs::create_dir(&folder).unwrap();
        let started = Chain::start(&folder, Lives::CALM).await;
        let error = format!("{:#}", started.err().unwrap());
        assert!(error.contains(&format!("{address} {myself}")), "{error}");
    }

    let ca = Ca::create(&folder.join("ca"), "Test CA").unwrap();
    let _taken = TcpListener::bind(shared_port()).unwrap();
    let options = Options::new(&[], Credmon::Absent);
    let started = Pool::start(&folder.join("pool"), &ca, &options).await;
    let error = format!("{:#}", started.err().unwrap());
    assert!(error.contains(&format!(":9618 {myself}")), "{error}");

    let mut kdc = Kdc::start(&folder.join("kdc")).await.unwrap();
    let address = kdc.address();
    kdc.stop().await.unwrap();
    let _taken = UdpSocket::bind(address).unwrap();
    let error = format!("{:#}", kdc.resume().await.unwrap_err());
    assert!(error.contains(&format!("{address} {myself}")), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_before_it_is_ready_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo no keys; exit 3"]);
    let daemon = Daemon::spawn("server", command, &folder.path().join("log")).unwrap();
    let never = Duration::MAX;
    let error = daemon.wait_for_line("ready", never).await.unwrap_err();
    let expected = "server ended without printing \"ready\"; it printed last:\nno keys";
    assert_eq!(error.to_string(), expected);
}

/// What `integration/setup/hosts` makes of a machine's file.
fn hosts(machine: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), machine).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/hosts");
    let output = std::process::Command::new(script)
        .env("TOKEN_BASTION_HOSTS_FILE", file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_names_of_the_sandbox_win_over_those_of_the_machine() {
    let own = hosts("");
    assert!(own.contains("127.83.0.1 vault.test\n"), "{own}");
    let machine = "\
127.0.0.1 localhost
10.0.0.7\tVault.TEST other.example  vault2.test # vault.test of mine
10.0.0.8 cluster.test
2001:db8::1 ap ap.test
# 10.0.0.9 vault.test

10.0.0.10   notvault.test  fine # stays as it is
10.0.0.11 last.example ap4";
    let expected = "\
127.0.0.1 localhost
10.0.0.7 other.example
# 10.0.0.9 vault.test

10.0.0.10   notvault.test  fine # stays as it is
10.0.0.11 last.example
";
    assert_eq!(hosts(machine), format!("{own}{expected}"));
}

#[test]
fn in_the_sandbox_each_of_its_names_has_its_own_addresses_alone() {
    sandbox::require().unwrap();
    let own = hosts("");
    let lines = own.lines().map(|line| line.split_once(' ').unwrap());
    for name in lines.flat_map(|(_, names)| names.split(' ')) {
        let mut given: Vec<String> = (name, 0)
            .to_socket_addrs()
            .unwrap()
            .map(|address| address.ip().to_string())
            .collect();
        given.sort_unstable();
        let mut expected: Vec<&str> = own
            .lines()
            .filter(|line| line.split(' ').skip(1).any(|word| word == name))
            .filter_map(|line| line.split(' ').next())
            .collect();
        expected.sort_unstable();
        assert_eq!(given, expected, "{name}");
    }
}
