//! The real OpenBao, as `integration/setup/openbao` has it, in place of `htvault-dev`: the same
//! clients, policies and paths as at a site. The oauthapp plugin is not to be had: what it would
//! answer comes from a key-value store that `openbao::refresher` fills.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod tokens;

use std::time::Duration;

use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, Client, IssuedToken};
use integration::chain::Lives;
use integration::openbao::site::Site;
use integration::sandbox;

const FAR: Duration = Duration::from_mins(2);

/// One site at a time: they share the sandbox's addresses.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Parts {
    site: Site,
    client: Client,
    _folder: tempfile::TempDir,
    _one: tokio::sync::MutexGuard<'static, ()>,
}

async fn parts(lives: Lives) -> Parts {
    let one = ONE.lock().await;
    let folder = sandbox::new_folder().unwrap();
    let site = Site::start(folder.path(), lives).await.unwrap();
    site.chain.kdc.use_here().unwrap();
    let client = site.client().unwrap();
    Parts {
        site,
        client,
        _folder: folder,
        _one: one,
    }
}

impl Parts {
    /// A login by keytab for a role.
    async fn login(&self, account: &str, role: &str) -> IssuedToken {
        let login = self.try_login(account, role).await;
        login.unwrap()
    }

    async fn try_login(&self, account: &str, role: &str) -> Result<IssuedToken, htvault::Error> {
        let keytab = self.site.chain.keytabs().join(format!("{account}.keytab"));
        let ticket = Ticket::from_keytab(&format!("{account}@TEST"), &keytab).unwrap();
        let host = self.client.settings().kerberos_host();
        let negotiate = ticket.negotiate("host", host).unwrap();
        self.client.login("cms", role, &negotiate).await
    }
}

fn minimum(seconds: u64) -> AccessTokenRequest {
    AccessTokenRequest {
        minimum_seconds: Some(seconds),
        ..AccessTokenRequest::default()
    }
}
