//! A host with one account, a keytab, and a Vault that nobody is; for tests of commands and of the service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its files: the configuration `c.yaml`, the keytab `kt`, the credential directory `creds`.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new(keytab: &[u8]) -> Self {
        let host = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(host.path("creds")).unwrap();
        fs::write(host.path("kt"), keytab).unwrap();
        host.mode("kt", 0o400);
        host.configure("c.yaml", "control", "");
        host
    }

    /// Writes a configuration with a control socket of its own.
    pub(crate) fn configure(&self, name: &str, socket: &str, more: &str) {
        let dir = self.dir.path().display();
        let yaml = format!(
            "{more}state: {dir}/state\n\
             control: {{socket: {dir}/{socket}}}\n\
             vault: {{address: \"https://127.0.0.1:1\"}}\n\
             schedds: {{here: {{directory: {dir}/creds}}}}\n\
             accounts: {{cmsprod: {{principal: cmsprod@TEST, keytab: {dir}/kt, schedds: [here], credentials: {{cms_crab: {{}}}}}}}}\n"
        );
        fs::write(self.path(name), yaml).unwrap();
    }

    pub(crate) fn yaml(&self) -> String {
        fs::read_to_string(self.path("c.yaml")).unwrap()
    }

    /// Replaces a part of the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let yaml = self.yaml();
        assert!(yaml.contains(from), "{yaml}");
        fs::write(self.path("c.yaml"), yaml.replace(from, to)).unwrap();
    }

    /// Has the account's credentials delivered to schedds that a collector finds, and nowhere else.
    pub(crate) fn deliver_to_found(&self, group: &str, schedds: &str) {
        self.edit(
            "schedds: {here:",
            &format!("schedds: {{crab: {group}, here:"),
        );
        self.edit("schedds: [here]", &format!("schedds: {schedds}"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The program with a configuration, which may be elsewhere.
    pub(crate) fn command(&self, config: impl AsRef<Path>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-bastion"));
        command.arg("--config").arg(self.dir.path().join(config));
        command
    }
}
