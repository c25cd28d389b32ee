//! A node: its configuration and its process on one address.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::process::Command;

use super::Release;
use crate::address::{self, Protocol};
use crate::ca::{Ca, Issued};
use crate::process::Daemon;
use crate::sandbox;

/// A node: a process on one address.
pub(super) struct Node {
    /// Its name in the sandbox.
    pub(super) host: &'static str,
    pub(super) folder: PathBuf,
    pub(super) daemon: Option<Daemon>,
}

impl Node {
    pub(super) fn url(&self) -> String {
        format!("https://{}:8200", self.host)
    }

    /// Writes the configuration; `first` is the node that it joins.
    pub(super) fn configure(
        &self,
        ca: &Ca,
        certificate: &Issued,
        first: Option<&Self>,
    ) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let join = first.map_or_else(String::new, |first| {
            let (url, ca_file) = (first.url(), ca.file());
            let ca_file = ca_file.display();
            format!(
                "  retry_join {{\n    leader_api_addr = \"{url}\"\n    \
                 leader_ca_cert_file = \"{ca_file}\"\n  }}\n"
            )
        });
        let Self { host, .. } = self;
        let text = format!(
            "storage \"raft\" {{
  path = \"{data}\"
  node_id = \"{host}\"
  # Elections in one or two seconds: five times faster than by default.
  performance_multiplier = 1
  # How often it is looked at who may vote.
  autopilot_reconcile_interval = \"200ms\"
  autopilot_update_interval = \"200ms\"
{join}}}
listener \"tcp\" {{
  address = \"{host}:8200\"
  cluster_address = \"{host}:8201\"
  tls_cert_file = \"{certificate}\"
  tls_key_file = \"{key}\"
}}
api_addr = \"https://{host}:8200\"
cluster_addr = \"https://{host}:8201\"
default_lease_ttl = \"672h\"
max_lease_ttl = \"672h\"
",
            data = data.display(),
            certificate = certificate.certificate.display(),
            key = certificate.key.display(),
        );
        let file = self.folder.join("bao.hcl");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    pub(super) fn start(&mut self, release: Release) -> anyhow::Result<()> {
        let address = (self.host, 8200);
        let address = address
            .to_socket_addrs()
            .with_context(|| format!("the sandbox has no name {}", self.host))?
            .next();
        let address: SocketAddr =
            address.with_context(|| format!("{} has no address", self.host))?;
        address::require_free("bao", Protocol::Tcp, address)?;
        let mut command = Command::new(program(release)?);
        command
            .arg("server")
            .arg(format!("-config={}", self.folder.join("bao.hcl").display()));
        let log = self.folder.join("bao.log");
        let name = format!("bao {} at {}", release.version(), self.host);
        self.daemon = Some(Daemon::spawn(&name, command, &log)?);
        Ok(())
    }

    pub(super) fn daemon(&mut self) -> anyhow::Result<&mut Daemon> {
        (self.daemon.as_mut()).with_context(|| format!("the node at {} does not run", self.host))
    }
}

/// The server's program.
pub(super) fn program(release: Release) -> anyhow::Result<PathBuf> {
    Ok(sandbox::openbao()?.join(release.version()).join("bao"))
}
