//! Logs in by Kerberos with a keytab, and makes a vault token of a week.
//!
//! `cargo run --features kerberos --example kerberos_login -- https://HOST:8200 ISSUER ROLE NAME@REALM KEYTAB`

use std::path::Path;
use std::time::Duration;

use htvault::kerberos::login_token;
use htvault::{Client, Settings};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, issuer, role, principal, keytab] = arguments.as_slice() else {
        return Err("usage: kerberos_login SERVER ISSUER ROLE PRINCIPAL KEYTAB".into());
    };
    let client = Client::new(&Settings::new(server.parse()?))?;
    let host = client.settings().kerberos_host();
    let negotiate = login_token(principal, Path::new(keytab), "host", host, DEADLINE).await?;
    let login = client.login(issuer, role, &negotiate).await?;
    let week = client.create_token(&login.token, 7 * 86_400).await?;
    println!(
        "user {:?}, policies {:?}, accessor {}, lives {} s",
        login.user, week.policies, week.accessor, week.lease_seconds
    );
    // A child dies with its parent.
    client.revoke_self(&login.token).await?;
    Ok(())
}
