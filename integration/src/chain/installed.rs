//! The bastion on a host of a pool: programs and files as an admin would install them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use tokio::process::Command;

use super::{ACCOUNTS, Chain, ISSUER, Places, program};
use crate::pool::{self, Credmon, Mapping, Pool};

const KEYTABS: &str = "/etc/token-bastion/keytabs";
const CONFIG: &str = "/etc/token-bastion/token-bastion.yaml";

/// What a pool must be like to take the deliveries of this chain's accounts.
pub fn pool_options(chain: &Chain) -> anyhow::Result<pool::Options> {
    let users = ACCOUNTS.map(|account| account.name);
    let credmon = Credmon::Program(program("condor_credmon_htvault")?);
    let mut options = pool::Options::new(&users, credmon);
    options.map = users
        .iter()
        .map(|user| Mapping {
            issuer: ISSUER.to_owned(),
            subject: (*user).to_owned(),
            account: (*user).to_owned(),
        })
        .collect();
    options.configuration = vec![format!(
        "CREDMON_OAUTH_TOKEN_MINIMUM = {}",
        chain.lives.access_minimum
    )];
    Ok(options)
}

/// Puts program, keytabs and configuration into the pool's root; gives the command
/// `token-bastion --config CONFIG …` there. Certificate authorities are the system's.
pub fn bastion(chain: &Chain, pool: &Pool) -> anyhow::Result<Command> {
    for folder in ["/etc/token-bastion", KEYTABS] {
        fs::create_dir_all(pool.path(folder))
            .with_context(|| format!("cannot make {folder} in the pool"))?;
    }
    for account in ACCOUNTS {
        let name = format!("{}.keytab", account.name);
        let keytab = pool.path(KEYTABS).join(&name);
        fs::copy(chain.keytabs().join(&name), &keytab)
            .with_context(|| format!("cannot copy {name} into the pool"))?;
        fs::set_permissions(&keytab, fs::Permissions::from_mode(0o600))?;
    }
    for (from, to) in [
        (chain.kdc.krb5_conf(), "/etc/krb5.conf"),
        (program("token-bastion")?, "/usr/sbin/token-bastion"),
    ] {
        fs::copy(&from, pool.path(to))
            .with_context(|| format!("cannot copy {} into the pool", from.display()))?;
    }
    configure(pool, &chain.bastion_yaml(&places(&credds(pool))))?;
    let mut command = pool.command("root", "/usr/sbin/token-bastion");
    command.args(["--config", CONFIG]);
    Ok(command)
}

/// The group of a pool's schedd, as most sites write it.
#[must_use]
pub fn credds(pool: &Pool) -> String {
    format!(
        "credds: [{}], collector: \"{}\"",
        pool.host(),
        pool.collector()
    )
}

/// The places of a bastion in a pool, for the group of schedds that is given in YAML.
#[must_use]
pub fn places(schedd: &str) -> Places {
    Places {
        keytabs: KEYTABS.into(),
        ca_file: None,
        schedd: schedd.to_owned(),
    }
}

/// Writes another configuration for the bastion in a pool.
pub fn configure(pool: &Pool, yaml: &str) -> anyhow::Result<()> {
    fs::write(pool.path(CONFIG), yaml).with_context(|| format!("cannot write {CONFIG} in the pool"))
}
