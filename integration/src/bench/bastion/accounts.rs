//! The accounts of a site, with Vault, issuer and KDC for them, and the bastion's configuration.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::chain::{Chain, Lives, Places, VAULT};
use crate::kdc::REALM;
use crate::sandbox;

/// Accounts and what serves them. Everything ends when it is dropped.
pub(crate) struct Site {
    // In the order in which they must be dropped.
    pub(crate) chain: Chain,
    pub(crate) accounts: Vec<String>,
    lives: Lives,
    folder: TempDir,
}

impl Site {
    /// Makes it, with so many accounts, whose tokens have these lives.
    pub(crate) async fn set(count: usize, lives: Lives) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(sandbox::run_folder()?)?;
        // The pool's own users have to get in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let accounts: Vec<String> = (0..count)
            .map(|number| format!("bench{number:02}"))
            .collect();
        let grants = accounts.iter().map(|a| format!("cms:{a}:default"));
        let grants = grants.collect();
        let nodes = ["127.83.0.1:8200"];
        let chain = Chain::start_granted(folder.path(), lives, &nodes, grants).await?;
        chain.kdc.use_here()?;
        for account in &accounts {
            let keytab = chain.keytabs().join(format!("{account}.keytab"));
            let principal = format!("{account}@{REALM}");
            chain
                .kdc
                .add_principal_with_keytab(&principal, &keytab)
                .await?;
        }
        Ok(Self {
            chain,
            accounts,
            lives,
            folder,
        })
    }

    /// A folder that goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The bastion's configuration: each principal logs in for so many accounts, all of which get
    /// `cms` at all schedds. With one, the account has the principal's name.
    pub(crate) fn yaml(&self, places: &Places, each: usize, schedule: &str) -> String {
        self.yaml_of(&self.accounts, places, each, schedule)
    }

    /// The same with some of the principals.
    pub(crate) fn yaml_of(
        &self,
        principals: &[String],
        places: &Places,
        each: usize,
        schedule: &str,
    ) -> String {
        let Places {
            keytabs,
            ca_file,
            schedd,
        } = places;
        let mut yaml = format!("vault:\n  address: {VAULT}\n");
        if let Some(ca_file) = ca_file {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(yaml, "  ca_file: {}", ca_file.display());
        }
        let Lives {
            vault_token,
            renew_below,
            ..
        } = self.lives;
        let _ = write!(
            yaml,
            "tokens: {{lifetime: {vault_token}s, renew_below: {renew_below}s}}\nschedule: {schedule}\n\
             schedds:\n  all: {{{schedd}}}\naccounts:\n"
        );
        for principal in principals {
            let keytab = keytabs.join(format!("{principal}.keytab"));
            for account in names(principal, each) {
                let _ = writeln!(
                    yaml,
                    "  {account}: {{principal: {principal}@{REALM}, keytab: {}, schedds: [all], credentials: {{cms: {{}}}}}}",
                    keytab.display()
                );
            }
        }
        yaml
    }

    /// The accounts, when each principal logs in for so many.
    pub(crate) fn names(&self, each: usize) -> impl Iterator<Item = String> {
        let principals = self.accounts.iter();
        principals.flat_map(move |principal| names(principal, each))
    }
}

/// The accounts that a principal logs in for.
fn names(principal: &str, each: usize) -> impl Iterator<Item = String> {
    (0..each).map(move |number| match each {
        1 => principal.to_owned(),
        _ => format!("{principal}n{number:02}"),
    })
}
