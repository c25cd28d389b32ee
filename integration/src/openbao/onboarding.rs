//! The first login of a person for a credential, by the real OIDC mount: what HTVault's clients do,
//! and what the person does at the page of `htvault-dev`'s issuer.

use anyhow::{Context as _, bail, ensure};
use htvault::{Client, CredentialUrl, Poll};
use reqwest::StatusCode;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::dev::settings::RoleName;

/// Logs `credkey` in for a role of an issuer at a Vault; stores the refresh token there.
pub async fn onboard(
    client: &Client,
    browser: &reqwest::Client,
    role: &RoleName,
    credkey: &str,
) -> anyhow::Result<()> {
    let RoleName { issuer, role } = role;
    let mut flow = client.start_device_flow(issuer, role, "a nonce").await?;
    approve(browser, &flow.url, credkey).await?;
    // The answer is there: no poll has to wait for it.
    let Poll::Done(login) = client.poll(&mut flow).await? else {
        bail!("the approved flow is not done");
    };
    ensure!(login.credkey == credkey, "logged in as {}", login.credkey);
    let url = CredentialUrl::creds(client.server(), issuer, credkey, role)?;
    client.store_refresh_token(&url, issuer, &login).await?;
    Ok(())
}

/// Approves a device flow at the page of `htvault-dev`'s issuer.
pub async fn approve(browser: &reqwest::Client, link: &str, credkey: &str) -> anyhow::Result<()> {
    let page = Url::parse(link).context("the link is no URL")?;
    let code = page.query_pairs().find(|(name, _)| name == "user_code");
    let (_, code) = code.context("the link has no user_code")?;
    let form = Serializer::new(String::new())
        .append_pair("user_code", &code)
        .append_pair("credkey", credkey)
        .append_pair("action", "approve")
        .finish();
    let answer = browser
        .post(page.origin().ascii_serialization() + page.path())
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .context("the approval page does not answer")?;
    ensure!(
        answer.status() == StatusCode::OK,
        "the approval page answers {}",
        answer.status()
    );
    Ok(())
}
