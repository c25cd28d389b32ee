//! The first login of a person for a credential: what HTVault's clients do, and what the person does
//! at the page of `htvault-dev`'s issuer.

use anyhow::{bail, ensure};
use htvault::{Client, CredentialUrl, Poll};

use crate::conformance::admin::approve;
use crate::conformance::server::Server;
use crate::dev::settings::RoleName;

/// Logs a person in for a role of an issuer at a Vault; stores the refresh token there as the
/// credential `credkey`.
pub async fn onboard(
    client: &Client,
    trust: &Server,
    role: &RoleName,
    person: &str,
    credkey: &str,
) -> anyhow::Result<()> {
    let RoleName { issuer, role } = role;
    let mut flow = client.start_device_flow(issuer, role).await?;
    approve(trust, &flow.url, person).await?;
    // The answer is there: no poll has to wait for it.
    let Poll::Done(login) = client.poll(&mut flow).await? else {
        bail!("the approved flow is not done");
    };
    ensure!(login.credkey == person, "logged in as {}", login.credkey);
    let url = CredentialUrl::creds(client.server(), issuer, credkey, role)?;
    client.store_refresh_token(&url, issuer, &login).await?;
    Ok(())
}
