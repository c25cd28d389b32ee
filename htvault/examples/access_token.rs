//! Reads an access token with a vault token.
//!
//! The environment's `CA_FILE` is trusted instead of the system's authorities.
//!
//! `VAULT_TOKEN=… cargo run --example access_token -- https://HOST:8200/v1/secret/oauth/creds/ISSUER/CREDKEY:ROLE`

use htvault::clock::{Clock as _, SystemClock};
use htvault::{AccessTokenRequest, Client, CredentialUrl, Settings, VaultToken};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: access_token URL")?;
    let url: CredentialUrl = url.parse()?;
    let vault_token = VaultToken::from(std::env::var("VAULT_TOKEN")?);
    let mut settings = Settings::new(url.server());
    settings.tls.ca_file = std::env::var_os("CA_FILE").map(Into::into);
    let client = Client::new(&settings)?;
    let request = AccessTokenRequest {
        minimum_seconds: Some(2400),
        ..AccessTokenRequest::default()
    };
    // Vault's cached token is taken where the issuer gives no new one.
    let now = SystemClock.now();
    let best = client.best_access_token(&url, &vault_token, &request, None, now);
    match best.await {
        Ok(best) => {
            if let Some(error) = best.less_because {
                eprintln!("the token may live shorter than asked for: {error}");
            }
            println!("{}", best.answer.token.expose());
            Ok(())
        }
        Err(error) => {
            let next = client.judge(&error, &vault_token).await;
            Err(format!("{error} (next: {next}; scope: {:?})", error.scope()).into())
        }
    }
}
