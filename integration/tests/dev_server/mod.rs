//! A KDC and an `htvault-dev` of its own settings, for tests of programs that use them.
//!
//! What always holds: one at a time in a test program, since they share the sandbox's addresses;
//! all that was started ends with [`DevServer`].

use std::path::PathBuf;

use integration::ca::Ca;
use integration::kdc::Kdc;
use integration::process::Daemon;
use integration::{chain, sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

static ONE: Mutex<()> = Mutex::const_new(());

/// The server's URL.
pub const URL: &str = "https://vault.test:8200";
/// The URL of a second node, where there is one: with [`TWO_NODES`].
pub const SECOND_URL: &str = "https://vault2.test:8200";
/// Options for two nodes, of which the first leads.
pub const TWO_NODES: [&str; 4] = ["--listen", "127.83.0.1:8200", "--listen", "127.83.0.2:8200"];
/// A robot's principal, without realm.
pub const ROBOT: &str = "cmsprod/bastion/ap.test";

pub struct DevServer {
    pub kdc: Kdc,
    pub ca_file: PathBuf,
    pub folder: TempDir,
    _daemon: Daemon,
    _one: MutexGuard<'static, ()>,
}

impl DevServer {
    /// Starts all; `more` are further options of `htvault-dev`.
    pub async fn start(more: &[&str]) -> Self {
        let one = ONE.lock().await;
        let folder = tempfile::tempdir_in(sandbox::run_folder().unwrap()).unwrap();
        let path = folder.path();
        let ca = Ca::create(&path.join("ca"), "Test CA").unwrap();
        let kdc = Kdc::start(&path.join("kdc")).await.unwrap();
        for (principal, keytab) in [
            ("cmsprod", "cmsprod.keytab"),
            ("crabtw", "crabtw.keytab"),
            (ROBOT, "robot.keytab"),
            ("host/vault.test", "vault.keytab"),
        ] {
            let principal = format!("{principal}@TEST");
            let keytab = path.join(keytab);
            (kdc.add_principal_with_keytab(&principal, &keytab).await).unwrap();
        }
        let vault = ca.issue(&["vault.test", "vault2.test"]).unwrap();
        let mut command = chain::dev_server(path, &ca, &kdc, &vault).unwrap();
        command.args(more);
        let daemon = chain::start_dev_server(path, command).await.unwrap();
        Self {
            kdc,
            ca_file: ca.file(),
            folder,
            _daemon: daemon,
            _one: one,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What both halves of the server were asked so far.
    pub fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("requests.jsonl")).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }
}
