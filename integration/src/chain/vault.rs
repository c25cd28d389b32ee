//! `htvault-dev` as the chain has it: its command line, its start.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

use super::{ACCOUNTS, ADMIN, Chain, Lives, program};
use crate::ca::{Ca, Issued};
use crate::kdc::Kdc;
use crate::process::Daemon;

/// The file with the secret of the issuer's client.
pub(super) const CLIENT_SECRET: &str = "issuer-client-secret";

/// `htvault-dev` as this chain has it.
pub(super) fn vault_command(
    folder: &Path,
    lives: Lives,
    nodes: &[&str],
    grants: &[String],
    ca: &Ca,
    kdc: &Kdc,
) -> anyhow::Result<Command> {
    let vault = ca.issue(&[
        "vault.test",
        "vault2.test",
        "vault3.test",
        "cluster.test",
        "alias.test",
        "six.test",
        "::1",
    ])?;
    let mut command = dev_server(folder, ca, kdc, &vault)?;
    command
        .args(nodes.iter().flat_map(|node| ["--listen", *node]))
        .args(["--admin-listen", ADMIN])
        .arg("--issuer-client-secret")
        .arg(folder.join(CLIENT_SECRET))
        .arg("--access-token-life")
        .arg(format!("{}s", lives.access_token))
        .args(["--role", Chain::STORAGE_ROLE])
        .args(["--grant", "cms:cmsprod:storage"]);
    for account in ACCOUNTS {
        for service in account.services {
            let (issuer, role) = service.split_once('_').unwrap_or((service, "default"));
            command
                .arg("--grant")
                .arg(format!("{issuer}:{}:{role}", account.name));
        }
    }
    command.args(grants.iter().flat_map(|grant| ["--grant", grant.as_str()]));
    Ok(command)
}

/// `htvault-dev` for these parts, with what it cannot do without: certificates, the keytab
/// `vault.keytab` of the folder, and the log of requests there. It listens where it does by default.
pub fn dev_server(folder: &Path, ca: &Ca, kdc: &Kdc, vault: &Issued) -> anyhow::Result<Command> {
    let issuer = ca.issue(&["issuer.test"])?;
    let mut command = Command::new(program("htvault-dev")?);
    command
        .arg("--cert")
        .arg(&vault.certificate)
        .arg("--key")
        .arg(&vault.key)
        .arg("--issuer-cert")
        .arg(&issuer.certificate)
        .arg("--issuer-key")
        .arg(&issuer.key)
        .arg("--ca-file")
        .arg(ca.file())
        .arg("--keytab")
        .arg(folder.join("vault.keytab"))
        .arg("--log-requests")
        .arg(folder.join("requests.jsonl"))
        .env("KRB5_CONFIG", kdc.krb5_conf());
    Ok(command)
}

/// Starts it, and waits until it is ready.
pub async fn start_dev_server(folder: &Path, command: Command) -> anyhow::Result<Daemon> {
    let daemon = Daemon::spawn("htvault-dev", command, &folder.join("htvault-dev.log"))?;
    daemon
        .wait_for_line("ready vault=", Duration::from_mins(1))
        .await
        .context("htvault-dev does not start")?;
    Ok(daemon)
}
