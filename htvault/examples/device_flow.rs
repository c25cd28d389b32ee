//! Onboards an account: a person logs in by OIDC, and Vault keeps the refresh token.
//!
//! `cargo run --example device_flow -- https://HOST:8200 ISSUER ROLE`

use htvault::{AccessTokenRequest, Client, Poll, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, issuer, role] = arguments.as_slice() else {
        return Err("usage: device_flow SERVER ISSUER ROLE".into());
    };
    let client = Client::new(&Settings::new(server.parse()?))?;
    let mut flow = client.start_device_flow(issuer, role).await?;
    println!("open {}", flow.url);
    if let Some(code) = &flow.user_code {
        println!("code {code}");
    }
    let login = loop {
        tokio::time::sleep(flow.interval).await;
        if let Poll::Done(login) = client.poll(&mut flow).await? {
            break login;
        }
    };
    let url = client.settings().creds_url(issuer, &login.credkey, role)?;
    client.store_refresh_token(&url, issuer, &login).await?;
    let request = AccessTokenRequest::default();
    let answer = client
        .access_token(&url, &login.login.token, &request)
        .await?;
    println!(
        "stored at {url}; the first access token expires {:?}",
        answer.expires()
    );
    Ok(())
}
