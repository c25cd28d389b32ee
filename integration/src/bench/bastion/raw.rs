//! The bare requests to Vault that deliveries take: logins, tokens, access tokens, and nothing else.
//!
//! It tells what the server's answers alone take, asked with the same concurrency, and lets Vault get
//! every access token from the issuer before anything is compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use htvault::kerberos::Ticket;
use htvault::{AccessTokenRequest, Client, CredentialUrl, Settings};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::accounts::Site;
use crate::chain::VAULT;
use crate::kdc::REALM;

/// Requests at a time, as the bastion sends them.
const AT_A_TIME: usize = 8;
/// Seconds that a vault token lives.
const WEEK: u64 = 604_800;

/// Sends what `each` deliveries of every account take: login, token, and an access token as often as
/// `reads` says. How long that took.
pub(in crate::bench) async fn requests(
    site: &Site,
    each: usize,
    reads: usize,
) -> anyhow::Result<Duration> {
    let mut settings = Settings::new(VAULT.parse()?);
    settings.tls.ca_file = Some(site.chain.ca.file());
    let client = Client::new(&settings)?;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for account in &site.accounts {
        let keytab = site.chain.keytabs().join(format!("{account}.keytab"));
        let ticket = Arc::new(ticket(account.clone(), keytab).await?);
        for _ in 0..each {
            let (client, account) = (client.clone(), account.clone());
            let (ticket, places) = (Arc::clone(&ticket), Arc::clone(&places));
            running.spawn(async move {
                let _place = places.acquire().await;
                delivery(&client, &account, ticket, reads).await
            });
        }
    }
    while let Some(done) = running.join_next().await {
        done.context("a request broke off")??;
    }
    Ok(began.elapsed())
}

async fn ticket(account: String, keytab: PathBuf) -> anyhow::Result<Ticket> {
    let fetch = move || Ticket::from_keytab(&format!("{account}@{REALM}"), &keytab);
    let ticket = tokio::task::spawn_blocking(fetch).await;
    Ok(ticket.context("Kerberos stopped")??)
}

async fn delivery(
    client: &Client,
    account: &str,
    ticket: Arc<Ticket>,
    reads: usize,
) -> anyhow::Result<()> {
    let negotiate = tokio::task::spawn_blocking(move || ticket.negotiate("host", "vault.test"));
    let negotiate = negotiate.await.context("Kerberos stopped")??;
    let login = client.login("cms", "default", &negotiate).await?.token;
    let token = client.create_token(&login, WEEK).await?.token;
    let url = CredentialUrl::creds(client.server(), "cms", account, "default")?;
    for _ in 0..reads {
        let request = AccessTokenRequest {
            minimum_seconds: Some(30),
            ..AccessTokenRequest::default()
        };
        client.access_token(&url, &token, &request).await?;
    }
    Ok(())
}
