//! The command itself: what it says when it cannot start, and that it ends when told.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use integration::ca::Ca;
use integration::process::Daemon;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_htvault-dev");
const A_MINUTE: Duration = Duration::from_mins(1);

/// A keytab with a key that no KDC has: nobody logs in here.
fn keytab() -> Vec<u8> {
    let counted = |text: &[u8]| {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [length.as_slice(), text].concat()
    };
    let entry = [
        // Two components of a principal.
        2_u16.to_be_bytes().as_slice(),
        &counted(b"TEST"),
        &counted(b"host"),
        &counted(b"vault.test"),
        // Name type, time, version of the key, AES-256.
        &3_u32.to_be_bytes(),
        &0_u32.to_be_bytes(),
        &[1],
        &18_u16.to_be_bytes(),
        &counted(&[7; 32]),
    ]
    .concat();
    let size = u32::try_from(entry.len()).unwrap().to_be_bytes();
    [[5, 2].as_slice(), &size, &entry].concat()
}

/// A folder with all the files.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::create(folder.path(), "CA of a test").unwrap();
    ca.issue(&["vault.test"]).unwrap();
    ca.issue(&["issuer.test"]).unwrap();
    fs::write(folder.path().join("host.keytab"), keytab()).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    command_at("127.0.0.1:0", folder)
}

fn command_at(address: &str, folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(["--listen", address, "--issuer-listen", "127.0.0.1:0"])
        .args(["--cert", "vault.test.crt", "--key", "vault.test.key"])
        .args([
            "--issuer-cert",
            "issuer.test.crt",
            "--issuer-key",
            "issuer.test.key",
        ])
        .args(["--ca-file", "ca.pem", "--keytab", "host.keytab"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_missing_file_is_one_message_and_code_2() {
    for file in [
        "vault.test.crt",
        "vault.test.key",
        "issuer.test.crt",
        "ca.pem",
        "host.keytab",
    ] {
        let folder = files();
        fs::remove_file(folder.path().join(file)).unwrap();
        let output = command(folder.path()).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(words.contains(file), "{words}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_named() {
    for (file, text) in [
        ("host.keytab", "no keytab"),
        ("ca.pem", "no certificate"),
        ("vault.test.key", "no key"),
    ] {
        let folder = files();
        fs::write(folder.path().join(file), text).unwrap();
        let output = command(folder.path()).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains(file), "{words}");
    }
}

#[tokio::test]
async fn a_wrong_option_is_code_2() {
    for (option, value, words) in [
        ("--access-token-life", "soon", "write a number with a unit"),
        ("--grant", "cms:cmsprod", "ISSUER:CREDKEY:ROLE"),
        ("--grant", "cms:cmsprod:nope", "roles are"),
        ("--role", "cms:crab", "ISSUER:ROLE=SCOPES"),
        ("--issuer-url", "http://issuer.test", "no https URL"),
        ("--log-requests", "/nonexistent/log", "/nonexistent/log"),
        ("--state", "/nonexistent/state", "/nonexistent/state"),
        ("--quota", "many", "LIMIT/PERIOD"),
        ("--fault", "slow", "is no effect"),
        ("--condition", "2=sealed", "there is no node 2"),
        ("--condition", "1=tired", "is no condition"),
        ("--vault-clock", "soon", "invalid duration"),
        ("--admin-listen", "0.0.0.0:8199", "loopback"),
    ] {
        let folder = files();
        let output = command(folder.path())
            .args([option, value])
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn it_says_when_it_is_ready_serves_and_ends_when_told() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = files();
        let mut command = command(folder.path());
        command.args([
            "--log-requests",
            "requests.jsonl",
            "--grant",
            "cms:cmsprod:crab",
        ]);
        let log = folder.path().join("log");
        let mut daemon = Daemon::spawn("htvault-dev", command, &log).unwrap();
        let line = daemon
            .wait_for_line("ready vault=", A_MINUTE)
            .await
            .unwrap();
        let port = line.split("vault.test:").nth(1).unwrap();
        let port: u16 = port.split(' ').next().unwrap().parse().unwrap();
        let tls = integration::dev::tls::client(&folder.path().join("ca.pem")).unwrap();
        let address = ([127, 0, 0, 1], port).into();
        let mut connection = crate::wire::Connection::open(address, "vault.test", tls.into()).await;
        let ask = |path: &str, ticket: &str| crate::wire::Request {
            method: "GET".into(),
            path: path.into(),
            headers: vec![("Authorization".into(), format!("Negotiate {ticket}"))],
            body: String::new(),
        };
        let health = connection.send(&ask("/v1/sys/health", "")).await;
        assert_eq!(health.status, 200);
        let login = connection
            .send(&ask("/v1/auth/kerberos-cms_crab/login?a=b", "YII="))
            .await;
        assert_eq!(login.status, 401);
        daemon.signal(signal).unwrap();
        let status = daemon.wait(A_MINUTE).await.unwrap();
        assert_eq!(status.code(), Some(0), "{signal}: {}", daemon.tail(20));
        let requests = fs::read_to_string(folder.path().join("requests.jsonl")).unwrap();
        let last: serde_json::Value =
            serde_json::from_str(requests.lines().last().unwrap()).unwrap();
        assert_eq!(last["path"], "/v1/auth/kerberos-cms_crab/login");
        assert_eq!(
            (&last["query"], &last["status"]),
            (&"a=b".into(), &401.into())
        );
        assert!(!requests.contains("YII="), "no ticket is in the log");
    }
}

#[tokio::test]
async fn a_broken_state_is_code_2_and_left_as_it_is() {
    let folder = files();
    let state = folder.path().join("state.json");
    fs::write(&state, "{\"form\": 1, ").unwrap();
    let output = command(folder.path())
        .args(["--state", "state.json"])
        .output()
        .await
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("state.json cannot be used"), "{words}");
    assert!(words.contains("Move it away"), "{words}");
    assert_eq!(fs::read_to_string(&state).unwrap(), "{\"form\": 1, ");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let world = World::new().await;
    let folder = files();
    let address = world.address().to_string();
    let mut command = command_at(&address, folder.path());
    let output = command.output().await.unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(&address), "{words}");
}
